#!/usr/bin/env bash
# transformers: a seed for the masks and DataLoader workers: the same masks in
# every epoch.
#
# Expected. `DataCollatorForLanguageModeling` masks while a batch is made, so
# that each epoch masks other tokens (dynamic masking, RoBERTa, section 4.1).
# Its `seed` is documented as the seed of "the random number generator for
# masking": repeatable from run to run. For DataLoader workers the collator has
# a case of its own, which adds the worker's number to the seed; so one expects
# that the two go together.
#
# What happens in 5.23.0. The generator is made by the first batch that a
# worker makes. A DataLoader starts new workers for each epoch, each with a copy
# of the collator that has no generator yet: so each epoch begins with the same
# seed. Of rows that keep their order (a stream, an IterableDataset, rows
# grouped by length or packed beforehand) the very same tokens are masked in
# all epochs, and the others never. Of shuffled rows of one length, batch k
# has the same places masked in each epoch. Without workers, without a seed, or
# with persistent_workers=True, the masks differ, as they should.
#
# Who meets it. Whoever pre-trains or adapts a masked language model for more
# than one epoch, repeatably, with `dataloader_num_workers` above 0. The Trainer
# does not turn persistent workers on by itself. The loss just falls faster than
# it should: the model sees the same blanks again and learns them by heart.
#
# What to do. persistent_workers=True (dataloader_persistent_workers=True), or
# no seed in the collator and `torch.manual_seed` in front of the training.
#
# Versions: transformers 5.23.0, torch 2.13.0, Python 3.10 to 3.13. Takes a
# minute or two, some 1 GB, more where pip takes the build for GPUs.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    transformers==5.23.0 torch==2.13.0

cd "$folder"
HF_HUB_OFFLINE=1 CUDA_VISIBLE_DEVICES="" "$folder/venv/bin/python" - <<'PYTHON'
import torch
import transformers
from torch.utils.data import DataLoader

transformers.logging.set_verbosity_error()
print("transformers", transformers.__version__, "torch", torch.__version__)

names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
names += [f"word{i}" for i in range(200)]
tokenizer = transformers.BertTokenizer(
    vocab={name: i for i, name in enumerate(names)}
)
rows = [
    tokenizer(
        " ".join(f"word{(11 * row + place) % 200}" for place in range(30)),
        return_special_tokens_mask=True,
    )
    for row in range(80)
]


def masked(seed, epochs=4, **settings):
    """Which places are masked in each epoch: [epoch, row, place]."""
    torch.manual_seed(3)
    collator = transformers.DataCollatorForLanguageModeling(
        tokenizer, seed=seed
    )
    loader = DataLoader(rows, batch_size=8, collate_fn=collator, **settings)
    return torch.stack(
        [
            torch.cat([batch["labels"] != -100 for batch in loader])
            for _ in range(epochs)
        ]
    )


def report(what, places):
    alike = bool((places == places[:1]).all())
    ever = places.any(0).sum() / (places.shape[1] * 30)
    print(f"{what}: same in all epochs: {alike}; ever masked: {ever:.0%}")
    return alike, float(ever)


assert "seed to use for the random number generator for masking" in " ".join(
    transformers.DataCollatorForLanguageModeling.__doc__.split()
)
print("documented: masks anew for each batch; 4 epochs of 15 %: some 48 %")
for what, places in (
    ("seed, no workers", masked(1)),
    ("no seed, 2 workers", masked(None, num_workers=2)),
    (
        "seed, 2 persistent workers",
        masked(1, num_workers=2, persistent_workers=True),
    ),
):
    alike, ever = report(what, places)
    assert not alike and 0.40 < ever < 0.56

first = masked(1, num_workers=2)
alike, ever = report("seed, 2 workers", first)
assert alike and 0.10 < ever < 0.20
alike, ever = report("seed, 2 workers, again", masked(1, num_workers=2))
assert alike

shuffled = masked(1, num_workers=2, shuffle=True)
alike, _ = report("seed, 2 workers, shuffled, by place in the epoch", shuffled)
assert alike and torch.equal(shuffled, first)
print("seen: a seed makes masking static as soon as there are workers")
PYTHON
