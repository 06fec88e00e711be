"""Pre-trains ELECTRA in PyTorch on the modules of `transformers`.

A training step as a careful user writes it: `ElectraModel` with attention by
SDPA, the language-model head at the masked positions alone, all embeddings
shared, as in the paper, no Python loops, the fused AdamW. Optionally the
forward pass runs under bf16 autocast, and forward and backward are compiled.
An accelerator is used where PyTorch sees one.

With `masked_head` false `ElectraForMaskedLM` and `ElectraForPreTraining` are
used unchanged: the head runs at every position.

Settings: size, shape (hidden, embedding, layers, heads), generator (hidden,
layers, heads), batch_size, seq_length, vocab_size, masked, precision ("float32"
or "bf16"), attention ("sdpa" or "eager"), masked_head, compiled, cores.
Requests: {"do": "steps", "count": n}.
"""

import time

from serve import serve

CLS, SEP, MASK = 101, 102, 103


def build(settings):
    """Returns (generator, discriminator) with shared embeddings."""
    from transformers import (
        ElectraConfig,
        ElectraForMaskedLM,
        ElectraForPreTraining,
    )

    def config(shape):
        return ElectraConfig(
            vocab_size=settings["vocab_size"],
            embedding_size=settings["shape"]["embedding_size"],
            hidden_size=shape["hidden_size"],
            num_hidden_layers=shape["num_layers"],
            num_attention_heads=shape["num_heads"],
            intermediate_size=shape["intermediate_size"],
            attn_implementation=settings.get("attention", "sdpa"),
        )

    generator = ElectraForMaskedLM(config(settings["generator"]))
    discriminator = ElectraForPreTraining(config(settings["shape"]))
    generator.electra.embeddings = discriminator.electra.embeddings
    generator.tie_weights()
    return generator, discriminator


class Trainer:
    """Trains both networks with one optimizer, step by step."""

    def __init__(self, settings):
        import torch

        self.torch = torch
        torch.manual_seed(0)
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        networks = torch.nn.ModuleList(build(settings)).to(self.device)
        self.networks = networks.train()
        self.generator, self.discriminator = networks
        self.masked = settings["masked"]
        self.bf16 = settings.get("precision") == "bf16"
        masked_head = settings.get("masked_head", True)
        self.losses = self.at_masked if masked_head else self.everywhere
        if settings.get("compiled"):
            self.losses = torch.compile(self.losses)
        kept, decayed = [], []
        for name, parameter in networks.named_parameters():
            plain = "LayerNorm" in name or name.endswith("bias")
            (kept if plain else decayed).append(parameter)
        self.optimizer = torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": 0.01},
                {"params": kept, "weight_decay": 0.0},
            ],
            lr=5e-4,
            eps=1e-6,
            fused=True,
        )
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer,
            lambda step: min(1.0, (step + 1) / 10_000) * (1 - step / 1_000_000),
        )
        rows, length = settings["batch_size"], settings["seq_length"]
        shape = (8, rows, length)
        ids = torch.randint(1000, settings["vocab_size"], shape)
        ids[..., 0], ids[..., -1] = CLS, SEP
        self.batches = ids.to(self.device)
        self.count = 0

    def mask(self, ids):
        """Returns (masked ids, positions [rows, masked]); 85 % are [MASK]."""
        torch = self.torch
        order = torch.rand(ids.shape, device=self.device)
        order[:, 0] = order[:, -1] = -1.0  # [CLS] and [SEP] stay
        positions = order.topk(self.masked, dim=1).indices
        hidden = torch.rand(positions.shape, device=self.device) < 0.85
        shown = torch.where(hidden, MASK, ids.gather(1, positions))
        return ids.scatter(1, positions, shown), positions

    def at_masked(self, ids):
        """Returns the joint loss; the head runs at masked positions only."""
        torch = self.torch
        functional = torch.nn.functional
        masked_ids, positions = self.mask(ids)
        attention_mask = torch.ones_like(ids)
        hidden = self.generator.electra(
            input_ids=masked_ids, attention_mask=attention_mask
        ).last_hidden_state
        at = positions.unsqueeze(-1).expand(-1, -1, hidden.shape[-1])
        logits = self.generator.generator_lm_head(
            self.generator.generator_predictions(hidden.gather(1, at))
        ).flatten(0, 1)
        mlm = functional.cross_entropy(
            logits.float(), ids.gather(1, positions).flatten()
        )
        with torch.no_grad():
            probabilities = logits.detach().float().softmax(-1)
            sampled = torch.multinomial(probabilities, 1).view_as(positions)
            corrupted = ids.scatter(1, positions, sampled)
            replaced = (corrupted != ids).float()
        hidden = self.discriminator.electra(
            input_ids=corrupted, attention_mask=attention_mask
        ).last_hidden_state
        scores = self.discriminator.discriminator_predictions(hidden)
        rtd = functional.binary_cross_entropy_with_logits(
            scores.float(), replaced
        )
        return mlm + 50.0 * rtd

    def everywhere(self, ids):
        """Returns the joint loss; the head runs at every position."""
        torch = self.torch
        masked_ids, positions = self.mask(ids)
        chosen = torch.zeros_like(ids, dtype=torch.bool)
        chosen.scatter_(1, positions, True)
        attention_mask = torch.ones_like(ids)
        mlm = self.generator(
            input_ids=masked_ids,
            attention_mask=attention_mask,
            labels=torch.where(chosen, ids, -100),
        )
        with torch.no_grad():
            probabilities = mlm.logits[chosen].softmax(-1)
            sampled = torch.multinomial(probabilities, 1).squeeze(1)
            corrupted = ids.masked_scatter(chosen, sampled)
            replaced = (corrupted != ids).long()
        rtd = self.discriminator(
            input_ids=corrupted, attention_mask=attention_mask, labels=replaced
        )
        return mlm.loss + 50.0 * rtd.loss

    def step(self):
        """Runs one update; returns the loss (a tensor)."""
        torch = self.torch
        ids = self.batches[self.count % len(self.batches)]
        self.count += 1
        with torch.autocast(self.device, torch.bfloat16, enabled=self.bf16):
            loss = self.losses(ids)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.networks.parameters(), 1.0)
        self.optimizer.step()
        self.schedule.step()
        return loss.detach()


def prepare(settings):
    """Builds the Trainer and runs two steps; returns facts and the handler."""
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    trainer = Trainer(settings)
    start = time.perf_counter()
    trainer.step().item()
    first = time.perf_counter() - start
    trainer.step().item()

    def handle_request(request):
        for _ in range(request["count"]):
            loss = trainer.step()
        value = loss.item()
        if value != value:
            raise RuntimeError("the loss is not finite")
        return {"loss": value}

    parameters = sum(p.numel() for p in trainer.networks.parameters())
    return {
        "version": (
            f"transformers {transformers.__version__}, "
            f"torch {torch.__version__} on {trainer.device}"
        ),
        "first_step_seconds": first,
        "parameters": parameters,
    }, handle_request


if __name__ == "__main__":
    serve(prepare)
