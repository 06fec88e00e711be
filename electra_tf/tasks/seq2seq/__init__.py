"""Texts out of texts: translation, summaries in words of one's own."""
