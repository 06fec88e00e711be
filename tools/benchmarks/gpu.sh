#!/bin/sh
# Measures pre-training steps on an NVIDIA GPU, in mixed_bfloat16 with XLA.
#
#   tools/benchmarks/gpu.sh [FOLDER]
#
# Prints tokens/s of the sizes small, base and large, with the share that they
# reach of the GPU's own speed at products of matrices in bfloat16, and writes
# FOLDER/SIZE.json (benchmark-gpu if not given). It takes some five minutes.
# PYTHON names an interpreter with this package and a TensorFlow for GPUs;
# without it an environment with .[gpu] is made in a temporary folder.
#
# Nobody has run this on a GPU yet; without one it says so, and ends with 1.
set -eu
here=$(cd "$(dirname "$0")/../.." && pwd)
folder=${1:-benchmark-gpu}

if ! command -v nvidia-smi >/dev/null || ! nvidia-smi -L; then
    echo "gpu.sh: nvidia-smi finds no GPU; this measures one" >&2
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
    echo "gpu.sh: TensorFlow of $PYTHON finds no GPU; install $here[gpu]" >&2
    exit 1
fi

mkdir -p "$folder"
measure() {  # SIZE ROWS LENGTH STEPS
    PYTHONPATH=$here "$PYTHON" "$here/tools/benchmark.py" pretrain \
        --size="$1" --batch_size="$2" --seq_length="$3" --steps="$4" \
        --precision=mixed_bfloat16 --jit_compile --rounds=3 \
        --json="$folder/$1.json"
}
# As the original trains them (paper, table 6), with fewer rows.
measure small 128 128 50
measure base 128 512 20
measure large 32 512 10
