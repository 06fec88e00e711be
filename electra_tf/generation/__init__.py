"""Scores, fills and generates text with the two pre-trained networks."""
