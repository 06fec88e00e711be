"""Writes models as SavedModels and in other forms that are served."""
