"""What a model is served with."""
