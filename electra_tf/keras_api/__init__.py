"""Provides the networks and tasks as Keras models, for your own programs.

settings.py    the settings of pre-training; needs no TensorFlow pretrainer.py
ElectraPretrainer: from a size, settings or a checkpoint; saved data.py
pretraining_dataset: built examples as batches start.py       what pre-training
starts from, where it is not from scratch
"""
