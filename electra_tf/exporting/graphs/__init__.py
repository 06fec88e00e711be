"""Computes predictions for texts with TensorFlow operations only."""
