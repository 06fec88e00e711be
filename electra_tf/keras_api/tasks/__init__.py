"""Provides tasks on strings: Keras models that take texts and predict.

compiled.py  the network as a Keras model: called, compiled, its steps
saved.py     from_pretrained, save_pretrained, `.keras` files
base.py      fit, evaluate and predict on strings, for all of them
texts.py     TextClassifier, TextRegressor
tagging.py   TokenClassifier
qa.py        QuestionAnswerer
ranking.py   CrossEncoder
tokens.py    what MaskedLM (masked_lm.py) and ReplacedTokenDetector
             (detector.py) share
inputs.py    lists, arrays, tensors and datasets of strings, as Python values
streams.py   batches for Keras' loops
"""
