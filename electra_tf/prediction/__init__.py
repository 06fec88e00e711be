"""Predicts with fine-tuned models: for Python, for files, for scores."""
