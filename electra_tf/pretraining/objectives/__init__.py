"""Says what pre-training trains: one class for each objective."""
