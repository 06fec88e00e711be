"""Fills masked positions: one class for each kind of generator."""
