"""Reads text: vocabulary, tokenizer, corpora, clean-up.

Start at `tokenizer.py`, which uses `normalize.py`; `detokenize.py` does the
reverse.
"""
