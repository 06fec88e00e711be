"""Reads text: vocabulary, tokenizer, corpora, clean-up.

Start at `tokenizer.py`, which `normalize.py` (text before) and
`detokenize.py` (text after) serve.
"""
