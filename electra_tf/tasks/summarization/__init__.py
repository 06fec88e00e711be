"""Summarises a text by sentences of its own."""
