"""Predicts classes, sets of labels or numbers for texts and pairs."""
