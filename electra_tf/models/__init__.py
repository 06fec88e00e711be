"""Defines Keras layers and networks; imports nothing of the other rooms."""
