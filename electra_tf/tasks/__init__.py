"""Defines what a model is fine-tuned for: features, losses, predictions."""
