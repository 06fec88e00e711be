"""Generates parts of the docs for `tools/write_docs.py` and page tests."""
