"""Training on a task: settings, batches, trials, reports."""
