"""The networks' way in and out, for programs of one's own.

settings.py    what can be set about pre-training; needs no TensorFlow
pretrainer.py  ElectraPretrainer: from a size, settings or a checkpoint; saved
data.py        pretraining_dataset: built examples as batches
start.py       what pre-training starts from, where it is not from scratch
"""
