"""Texts in, answers out, in operations of TensorFlow alone."""
