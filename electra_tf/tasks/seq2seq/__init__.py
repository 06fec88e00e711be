"""Writes texts from texts: translation, abstractive summaries."""
