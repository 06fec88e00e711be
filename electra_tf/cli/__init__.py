"""Runs `electra-tf COMMAND`: flags from recipes, errors in one line."""
