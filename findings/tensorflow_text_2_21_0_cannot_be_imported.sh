#!/usr/bin/env bash
# tensorflow-text 2.21.0 installs beside TensorFlow 2.21.0, and cannot be imported.
#
# Expected. tensorflow-text is released with each minor version of TensorFlow;
# 2.21.0 asks for `tensorflow>=2.21.0,<2.22`, has wheels for Python 3.10 to 3.13 on
# Linux, and pip installs it without a word. The pair with equal
# version numbers is the natural one to pin.
#
# What happens. `import tensorflow_text` ends with "undefined symbol: icudt77_dat".
# The libraries in the wheels refer to ICU's data by that name and define
# `icudt77l_dat`, with the letter of little-endian machines; so it is in the wheels
# of all four Pythons. 2.21.1, and 2.20.0 and 2.20.1 before, define what they refer
# to. Libraries that import it only if it is there hide the cause: KerasHub 0.32
# takes any ImportError for "not installed", and a tokenizer in a `tf.data` pipeline
# ends with "'NoneType' object has no attribute 'FastWordpieceTokenizer'".
#
# Who meets it. Whoever pins both packages to 2.21.0, or has a constraints file
# that was written before 2.21.1.
#
# What to do. Pin tensorflow-text==2.21.1, or exclude the release:
# `tensorflow-text>=2.20,!=2.21.0`.
#
# Versions: tensorflow-text 2.21.0 and 2.21.1, TensorFlow 2.21.0, keras-hub 0.32.0,
# Python 3.11, Linux x86-64. Takes a few minutes, some 3 GB.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
install() {
    "$folder/venv/bin/pip" install --quiet --disable-pip-version-check "$@"
}
install keras-hub==0.32.0 keras==3.15.1 tensorflow==2.21.0 \
    tensorflow-text==2.21.0

cd "$folder"
export TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES=-1
cat > texts.py <<'PYTHON'
import keras_hub
import tensorflow as tf

tokenizer = keras_hub.tokenizers.WordPieceTokenizer(
    vocabulary=["[PAD]", "[UNK]", "a", "fine", "film"]
)
data = tf.data.Dataset.from_tensor_slices(["a fine film"]).map(tokenizer)
print("tokens", next(iter(data)).numpy().tolist())
PYTHON

run() {  # prints the last line that names the fault, or the output
    "$folder/venv/bin/python" "$@" 2>&1 |
        grep -o -e "undefined symbol: .*" -e "'NoneType' object has no.*'" \
            -e "^version .*" -e "^tokens .*" | tail -n 1
}
report() {
    echo "tensorflow-text $1"
    echo "  import: $(run -c 'import tensorflow_text as text
print("version", text.__version__)')"
    echo "  KerasHub: $(run texts.py)"
}
{
    report 2.21.0
    install tensorflow-text==2.21.1
    report 2.21.1
} | tee seen.txt
cat > expected.txt <<'TEXT'
tensorflow-text 2.21.0
  import: undefined symbol: icudt77_dat
  KerasHub: 'NoneType' object has no attribute 'FastWordpieceTokenizer'
tensorflow-text 2.21.1
  import: version 2.21.1
  KerasHub: tokens [2, 3, 4]
TEXT
diff expected.txt seen.txt
echo "seen: 2.21.0 cannot be imported, 2.21.1 can"
