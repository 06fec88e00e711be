#!/usr/bin/env bash
# KerasHub: a classifier that gives probabilities is trained as if logits.
#
# Expected. `activation="softmax"` of a text classifier is documented to make
# it return probabilities. A classifier compiles itself when it is made, and
# `compile(loss="auto")` chooses the cross entropy that fits its activation:
# `from_logits=False` after a softmax. So `fit` right away is the documented
# way, and the loss of answers that are all right and certain goes to 0.
#
# What happens. The constructor compiles before it notes its activation, so
# that "auto" sees none and chooses `from_logits=True`. On JAX a second softmax is
# applied in the loss, in silence. With two classes the loss of PERFECT answers
# is log(1 + 1/e) = 0.3133; the reported validation loss, and everything that
# watches it, are wrong, and the gradients are those of another loss.
# `classifier.compile()`, without any argument, mends it: the same model, on
# the same data, then reports almost 0. On TensorFlow, Keras finds the softmax
# in the graph, undoes it and warns: a model moved to JAX trains otherwise.
#
# Who meets it. Whoever fine-tunes `BertTextClassifier`, `RobertaTextClassifier`
# or another of KerasHub's text classifiers with `activation="softmax"` and
# does not compile it once more.
#
# What to do. Call `classifier.compile()` (or with one's optimizer and
# `loss="auto"`) before `fit`; or train on logits and add the softmax later.
#
# Versions: KerasHub 0.32.0, Keras 3.15.1, JAX 0.10.2 (TensorFlow comes with
# KerasHub). Takes a few minutes, some 3 GB.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    keras-hub==0.32.0 keras==3.15.1 jax==0.10.2 tensorflow==2.21.0 \
    tensorflow-text==2.21.1

cd "$folder"
KERAS_BACKEND=jax JAX_PLATFORMS=cpu TF_CPP_MIN_LOG_LEVEL=3 \
    CUDA_VISIBLE_DEVICES=-1 "$folder/venv/bin/python" - <<'PYTHON'
import math

import keras
import keras_hub
import numpy as np

print(
    "KerasHub", keras_hub.__version__, "Keras", keras.__version__, "on",
    keras.backend.backend(),
)
models = keras_hub.models
assert '`activation="softmax"` to return output probabilities' in " ".join(
    models.BertTextClassifier.__doc__.split()
)

words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "warm", "cold", "tea"]
texts = ["warm tea", "cold tea", "tea warm", "tea cold"]
labels = np.array([1, 0, 1, 0])

keras.utils.set_random_seed(3)
classifier = models.BertTextClassifier(
    models.BertBackbone(
        vocabulary_size=len(words),
        num_layers=1,
        num_heads=2,
        hidden_dim=16,
        intermediate_dim=32,
        max_sequence_length=8,
        dropout=0.0,
    ),
    num_classes=2,
    activation="softmax",
    dropout=0.0,
    preprocessor=models.BertTextClassifierPreprocessor(
        models.BertTokenizer(vocabulary=words), sequence_length=8
    ),
)
classifier.optimizer.learning_rate = 0.01
made = classifier.loss.get_config()["from_logits"]
reported = classifier.fit(texts, labels, epochs=120, verbose=0).history["loss"]
chances = classifier.predict(texts, verbose=0)
assert np.allclose(chances.sum(-1), 1.0, atol=1e-5), "probabilities"
right = chances[np.arange(4), labels]
true = float(-np.log(right).mean())
watched = classifier.evaluate(texts, labels, verbose=0)[0]

classifier.compile()
compiled = classifier.loss.get_config()["from_logits"]
mended = classifier.evaluate(texts, labels, verbose=0)[0]

floor = math.log(1 + math.exp(-1))
print(f"documented: probabilities; smallest of a right answer {right.min():.5f}")
print(f"cross entropy of these, by hand:          {true:.4f}")
print(f"as made:         from_logits={made}:  loss {watched:.4f}")
print(f"after compile(): from_logits={compiled}: loss {mended:.4f}")
print(f"last of fit {reported[-1]:.4f}; no less than {floor:.4f} can be reached")
assert right.min() > 0.99
assert made is True and compiled is False
assert abs(watched - floor) < 0.01 and min(reported) > floor - 1e-3
assert abs(mended - true) < 1e-3 and mended < 0.02
PYTHON
