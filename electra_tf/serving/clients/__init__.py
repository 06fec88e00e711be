"""Asking a server, without TensorFlow."""
