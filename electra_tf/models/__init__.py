"""Defines Keras layers and networks; imports no other package of ours."""
