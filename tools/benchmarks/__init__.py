"""What `tools/benchmark.py` is made of: one module a benchmark."""
