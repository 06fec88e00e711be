"""Tags each word of a sentence."""
