"""Text: vocabulary, tokenizer, and reading corpora.

Start at `tokenizer.py`, which `normalize.py` (text before) and
`detokenize.py` (text after) serve.
"""
