"""Finds answers that stand in a text."""
