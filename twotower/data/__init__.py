"""From logs to batches. This package knows nothing of the network."""
