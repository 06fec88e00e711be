"""Generates texts from texts: translation, abstractive summaries."""
