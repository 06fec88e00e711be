"""What a pre-training run trains: one class an objective."""
