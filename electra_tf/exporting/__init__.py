"""A model as a SavedModel, and what lies beside it."""
