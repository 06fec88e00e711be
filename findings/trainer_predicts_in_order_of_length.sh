#!/usr/bin/env bash
# transformers: trained with group_by_length, the Trainer's predictions belong
# to other rows.
#
# Expected. `TrainingArguments.train_sampling_strategy` names how *training*
# examples are sampled; "group_by_length" puts rows of like length into one
# batch. `Trainer.predict(dataset)` gives row i's prediction at place i.
#
# What happens in 5.23.0. The setting rules evaluation too: `predict` reads the
# data through the sampler of lengths and never puts its outputs back in order.
# The result has the right shape and type, and is a permutation of the right
# answers. `label_ids`, where the data have labels, are permuted alike, so
# `evaluate` and `compute_metrics` give the right scores and nothing looks
# wrong; whoever joins predictions to the texts (a submission, a file of
# answers, metrics from gold labels of one's own, offsets of question
# answering) gets chance level.
#
# Who meets it. Fine-tuning on a CPU or GPU with padding by batch, where
# grouping by length is the usual way to be fast, then predicting a test set.
#
# What to do. Before `predict`:
#   trainer.args.train_sampling_strategy = "random"
#
# Versions: transformers 5.23.0, accelerate 1.15.0, torch 2.13.0. Takes a few
# minutes, some 2 GB.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    transformers==5.23.0 accelerate==1.15.0 torch==2.13.0

cd "$folder"
HF_HUB_OFFLINE=1 "$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import torch
import transformers

print("transformers", transformers.__version__, "torch", torch.__version__)
transformers.set_seed(1)
config = transformers.BertConfig(
    vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
    intermediate_size=32, num_labels=2, initializer_range=1.0,
)
model = transformers.BertForSequenceClassification(config).eval()

# Sixteen rows of 3 to 18 tokens; no two alike.
rng = np.random.default_rng(1)
lengths = rng.permutation(np.arange(3, 19))
rows = [{"input_ids": rng.integers(5, 50, n).tolist()} for n in lengths]
for row in rows:
    row["attention_mask"] = [1] * len(row["input_ids"])
with torch.no_grad():
    right = np.concatenate([
        model(input_ids=torch.tensor([row["input_ids"]])).logits.numpy()
        for row in rows
    ])


def collate(features):
    width = max(len(row["input_ids"]) for row in features)
    return {
        key: torch.tensor([row[key] + [0] * (width - len(row[key])) for row in features])
        for key in ("input_ids", "attention_mask")
    }


def predicted(strategy):
    arguments = transformers.TrainingArguments(
        "out", per_device_eval_batch_size=4, use_cpu=True, report_to=[],
        disable_tqdm=True, train_sampling_strategy=strategy, seed=1,
    )
    trainer = transformers.Trainer(model, arguments, data_collator=collate)
    return trainer, trainer.predict(rows).predictions


def places(found):
    """For each prediction, the row whose right answer it is."""
    gaps = np.abs(found[:, None] - right[None]).max(-1)
    assert (gaps.min(1) < 1e-4).all()
    return gaps.argmin(1).tolist()


order = list(range(len(rows)))
_, found = predicted("random")
print('"random":          prediction i is of row', places(found))
assert places(found) == order

trainer, found = predicted("group_by_length")
seen = places(found)
print('"group_by_length": prediction i is of row', seen)
assert sorted(seen) == order
assert seen != order, "changed: predictions are in the order of the rows"
print("lengths in that order:                   ", lengths[seen].tolist())

trainer.args.train_sampling_strategy = "random"
assert places(trainer.predict(rows).predictions) == order
print('set back to "random" before predict:     in order again')
PYTHON
