"""What a model is fine-tuned for: features, losses, answers."""
