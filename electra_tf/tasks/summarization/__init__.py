"""Summaries out of a text's own sentences."""
