"""Passages of one's documents, found by the words of a question."""
