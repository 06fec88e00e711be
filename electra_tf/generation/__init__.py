"""Scoring, filling and generating text with the two pre-trained networks."""
