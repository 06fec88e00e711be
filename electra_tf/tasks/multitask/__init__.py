"""Trains several tasks over one encoder."""
