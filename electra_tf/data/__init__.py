"""Token ids -> two-segment examples -> sharded TFRecords -> batches."""
