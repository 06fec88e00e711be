"""What `tools/write_docs.py` writes, and what the tests of the pages read."""
