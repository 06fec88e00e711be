"""Ranks passages by how well they answer a query."""
