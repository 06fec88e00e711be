"""Reads and scores the GLUE benchmark."""
