"""Training: from a dataset to a finished run."""
