"""Summarizes a text by sentences taken from it."""
