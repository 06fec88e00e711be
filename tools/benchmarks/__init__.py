"""The modules of `tools/benchmark.py`: one for each benchmark."""
