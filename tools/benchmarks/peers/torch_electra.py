"""ELECTRA pre-training in PyTorch on the modules of `transformers`.

`ElectraForMaskedLM` and `ElectraForPreTraining`, used as they come: the
language-model head runs at every position. All embeddings are shared, as in
the paper; masking, sampling and the update are written for PyTorch: no Python
loops, the fused AdamW. An accelerator is used where PyTorch sees one.

Settings: size, shape (hidden, embedding, layers, heads), generator (hidden,
layers, heads), batch_size, seq_length, vocab_size, masked, cores.
Requests: {"do": "steps", "count": n}.
"""

import time

from serve import serve

CLS, SEP, MASK = 101, 102, 103


def build(settings):
    """(generator, discriminator) with shared embeddings."""
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
        )

    generator = ElectraForMaskedLM(config(settings["generator"]))
    discriminator = ElectraForPreTraining(config(settings["shape"]))
    generator.electra.embeddings = discriminator.electra.embeddings
    generator.tie_weights()
    return generator, discriminator


class Trainer:
    """One optimizer over both networks, and one step of it."""

    def __init__(self, settings):
        import torch

        self.torch = torch
        torch.manual_seed(0)
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        networks = torch.nn.ModuleList(build(settings)).to(self.device)
        self.networks = networks.train()
        self.generator, self.discriminator = networks
        self.masked = settings["masked"]
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
        """(masked ids, labels, which positions): 15 %, 85 % of them [MASK]."""
        torch = self.torch
        order = torch.rand(ids.shape, device=self.device)
        order[:, 0] = order[:, -1] = -1.0  # [CLS] and [SEP] stay
        chosen = torch.zeros_like(ids, dtype=torch.bool).scatter_(
            1, order.topk(self.masked, dim=1).indices, True
        )
        labels = torch.where(chosen, ids, -100)
        hidden = chosen & (torch.rand(ids.shape, device=self.device) < 0.85)
        return torch.where(hidden, MASK, ids), labels, chosen

    def step(self):
        """One update; returns the loss (a tensor)."""
        torch = self.torch
        ids = self.batches[self.count % len(self.batches)]
        self.count += 1
        attention_mask = torch.ones_like(ids)
        masked_ids, labels, chosen = self.mask(ids)
        mlm = self.generator(
            input_ids=masked_ids, attention_mask=attention_mask, labels=labels
        )
        with torch.no_grad():
            probabilities = mlm.logits[chosen].softmax(-1)
            sampled = torch.multinomial(probabilities, 1).squeeze(1)
            corrupted = ids.masked_scatter(chosen, sampled)
            replaced = (corrupted != ids).long()
        rtd = self.discriminator(
            input_ids=corrupted, attention_mask=attention_mask, labels=replaced
        )
        loss = mlm.loss + 50.0 * rtd.loss
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.networks.parameters(), 1.0)
        self.optimizer.step()
        self.schedule.step()
        return loss.detach()


def prepare(settings):
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
