#!/usr/bin/env bash
# KerasHub: of a sentence pair, the documented call keeps the first sentence.
#
# Expected. The docstrings of KerasHub's text preprocessors (BERT, RoBERTa,
# ALBERT, DeBERTa-v3, ...: classifiers and masked language models) show, as the
# way to pack sentence pairs, `preprocessor((first, second))`. That gives one
# sequence [CLS] first [SEP] second [SEP] with segments 0 and 1, and did so up
# to KerasHub 0.31.1.
#
# What happens in 0.32.0. A single tuple of two is now read as (x, y): only
# `first` is tokenized, and `second` comes back unread as a label. A masked
# language model's preprocessor, which has no use for labels, drops it without
# a trace: its result has the usual three parts with the usual shapes, all
# segments are 0. A tuple of three texts is read as (x, y, sample_weight).
# The same pair given by name, `preprocessor(x=(first, second))`, or beside
# labels, `preprocessor((first, second), labels)`, is packed as ever, and so
# is `classifier.predict((first, second))`: training is right, and features
# made by hand for prediction or export are of half the text.
#
# Who meets it. Whoever prepares pairs (entailment, paraphrases, questions
# with passages) by the documented call, above all with code from before.
#
# What to do. Always name the argument: `preprocessor(x=(first, second))`.
#
# Versions: KerasHub 0.32.0, Keras 3.15.1, TensorFlow 2.21.0. Takes a few
# minutes, some 2.5 GB.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    keras-hub==0.32.0 keras==3.15.1 tensorflow==2.21.0 tensorflow-text==2.21.1

cd "$folder"
KERAS_BACKEND=tensorflow TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES=-1 \
    "$folder/venv/bin/python" - <<'PYTHON'
import keras
import keras_hub
import numpy as np

print("KerasHub", keras_hub.__version__, "Keras", keras.__version__)
models = keras_hub.models
words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "is", "it", "late", "yes"]
tokenizer = models.BertTokenizer(vocabulary=words)
first, second = ["is it late"], ["yes it is"]


def array(tensor):
    return keras.ops.convert_to_numpy(tensor)


def text(features):
    return " ".join(
        words[i] for i in array(features["token_ids"])[0] if words[i] != "[PAD]"
    )


pair = "[CLS] is it late [SEP] yes it is [SEP]"
half = "[CLS] is it late [SEP]"

cls = models.BertTextClassifierPreprocessor
assert "preprocessor((first, second))" in cls.__doc__
classify = cls(tokenizer, sequence_length=12)
print("documented: preprocessor((first, second)) packs", pair)

named = classify(x=(first, second))
print("x=(first, second):      ", text(named))
assert text(named) == pair
labelled, labels = classify((first, second), [1])
print("(first, second), labels:", text(labelled))
assert text(labelled) == pair and list(np.asarray(labels)) == [1]

seen = classify((first, second))
assert isinstance(seen, tuple) and len(seen) == 2, "changed: no label"
print("(first, second):        ", text(seen[0]), "and the label", seen[1])
assert text(seen[0]) == half
assert seen[1] == second
assert not array(seen[0]["segment_ids"]).any()

cls = models.BertMaskedLMPreprocessor
assert "preprocessor((first, second))" in models.MaskedLMPreprocessor.__doc__
masked = cls(tokenizer, sequence_length=12, mask_selection_rate=0.0)
features, _, _ = masked(x=(first, second))
assert text(features) == pair
result = masked((first, second))
assert len(result) == 3
print("masked LM, (first, second):", text(result[0]), "and no second anywhere")
assert text(result[0]) == half
PYTHON
