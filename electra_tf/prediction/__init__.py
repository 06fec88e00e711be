"""Predicts with fine-tuned models, in Python, for files and for scores."""
