"""Fine-tunes a classifier with the Trainer of `transformers`, on PyTorch.

`ElectraForSequenceClassification` from random weights and `Trainer` with its
defaults: AdamW and linear decay; no evaluation, nothing saved. The collator
pads each batch to its longest row, or all to `pad_to`. The Trainer receives
`bf16` and `torch_compile` as the settings request.

Settings: shape (embedding, hidden, layers, heads, intermediate), rows (an
.npz: row_splits, input_ids, labels), vocab_file, vocab_size, batch_size,
pad_to (null: the batch's longest), precision ("float32" or "bf16"), compiled,
steps (an epoch of the rows), cores.
Requests: {"do": "steps", "count": n}.
"""

import tempfile
import threading
import time

import numpy as np
from serve import serve


class Pace:
    """Makes a thread run a given number of steps, and waits for them."""

    def __init__(self):
        self.allowed = threading.Semaphore(0)
        self.done = threading.Semaphore(0)
        self.error = None

    def ask(self, count):
        """Runs `count` steps."""
        self.allowed.release(count)
        for _ in range(count):
            self.done.acquire()
            if self.error is not None:
                raise self.error


def trainer_of(settings, pace, folder):
    """Returns the Trainer, with a callback that follows `pace`."""
    import torch
    import transformers

    shape = settings["shape"]
    torch.manual_seed(0)
    model = transformers.ElectraForSequenceClassification(
        transformers.ElectraConfig(
            vocab_size=settings["vocab_size"],
            embedding_size=shape["embedding_size"],
            hidden_size=shape["hidden_size"],
            num_hidden_layers=shape["num_layers"],
            num_attention_heads=shape["num_heads"],
            intermediate_size=shape["intermediate_size"],
            num_labels=2,
        )
    )
    found = np.load(settings["rows"])
    ids = np.split(found["input_ids"], found["row_splits"][1:-1])
    rows = [
        {"input_ids": i.tolist(), "attention_mask": [1] * len(i), "labels": y}
        for i, y in zip(ids, found["labels"].tolist())
    ]
    tokenizer = transformers.BertTokenizer(settings["vocab_file"])
    padding = {"padding": "longest"}
    if settings["pad_to"]:
        padding = {"padding": "max_length", "max_length": settings["pad_to"]}

    class Paced(transformers.TrainerCallback):
        def on_step_begin(self, *_, **__):
            pace.allowed.acquire()

        def on_step_end(self, *_, **__):
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            pace.done.release()

    return transformers.Trainer(
        model=model,
        args=transformers.TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=settings["batch_size"],
            max_steps=1_000_000,
            learning_rate=3e-4,
            warmup_steps=100_000,
            save_strategy="no",
            eval_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
            dataloader_pin_memory=torch.cuda.is_available(),
            use_cpu=not torch.cuda.is_available(),
            bf16=settings["precision"] == "bf16",
            torch_compile=settings["compiled"],
            seed=0,
        ),
        train_dataset=rows,
        data_collator=transformers.DataCollatorWithPadding(
            tokenizer, **padding
        ),
        callbacks=[Paced()],
    )


def prepare(settings):
    """Starts the Trainer and warms it up; returns facts and the handler."""
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    folder = tempfile.TemporaryDirectory()
    pace = Pace()
    trainer = trainer_of(settings, pace, folder.name)

    def run():
        try:
            trainer.train()
        except BaseException as error:
            pace.error = error
            pace.done.release()

    threading.Thread(target=run, daemon=True).start()
    start = time.perf_counter()
    pace.ask(1)
    first = time.perf_counter() - start
    # A whole epoch, as for ours: it compiles when lengths change.
    pace.ask(settings["steps"] - 1)

    def handle_request(request):
        pace.ask(request["count"])
        return {"folder": folder.name}

    device = trainer.args.device
    return {
        "version": (
            f"transformers {transformers.__version__}, "
            f"torch {torch.__version__} on {device}"
        ),
        "first_step_seconds": first,
        "parameters": sum(p.numel() for p in trainer.model.parameters()),
    }, handle_request


if __name__ == "__main__":
    serve(prepare)
