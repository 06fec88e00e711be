"""Serves models on one machine, with TensorFlow Serving's interfaces."""
