"""Computes predictions of texts in operations of TensorFlow alone."""
