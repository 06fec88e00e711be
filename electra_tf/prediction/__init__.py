"""What a fine-tuned model answers: to Python, to files, to tests."""
