"""Reads and writes models on disk: our directories and other formats."""
