"""Defines masking, objectives and the model that trains both networks."""
