"""Turns token ids into examples, sharded TFRecords and batches."""
