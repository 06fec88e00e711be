"""Trains on a task: settings, batches, trials, reports."""
