#!/bin/sh
# Measures pre-training steps on an NVIDIA GPU, in mixed_bfloat16 with XLA.
#
#   tools/benchmarks/gpu.sh [FOLDER]
#
# Prints tokens/s of the sizes small, base and large, and their share of the
# GPU's measured speed at bfloat16 matrix products. Writes FOLDER/SIZE.json
# (FOLDER: benchmark-gpu if not given). It takes about five minutes.
# PYTHON names an interpreter with this package and a TensorFlow for GPUs;
# without it an environment with .[gpu] is made in a temporary folder.
#
# Not run on a GPU yet. Without a GPU it prints an error and exits with 1.
set -eu
here=$(cd "$(dirname "$0")/../.." && pwd)
folder=${1:-benchmark-gpu}

if ! command -v nvidia-smi >/dev/null || ! nvidia-smi -L; then
    echo "gpu.sh: nvidia-smi finds no GPU; this script needs one" >&2
    exit 1
fi
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader

if [ -z "${PYTHON:-}" ]; then
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    python3 -m venv "$scratch/environment"
    PYTHON=$scratch/environment/bin/python
    "$PYTHON" -m pip install --quiet "$here[gpu]"
fi
if ! "$PYTHON" -c '
import tensorflow as tf
raise SystemExit(not tf.config.list_physical_devices("GPU"))
'; then
    echo "gpu.sh: $PYTHON's TensorFlow finds no GPU; install $here[gpu]" >&2
    exit 1
fi

mkdir -p "$folder"
measure() {  # SIZE ROWS LENGTH STEPS
    PYTHONPATH=$here "$PYTHON" "$here/tools/benchmark.py" pretrain \
        --size="$1" --batch_size="$2" --seq_length="$3" --steps="$4" \
        --precision=mixed_bfloat16 --jit_compile --rounds=3 \
        --json="$folder/$1.json"
}
# The original's settings (paper, table 6), with smaller batches.
measure small 128 128 50
measure base 128 512 20
measure large 32 512 10
