"""Every day: a run that learns each day's log after it was evaluated on it, and serves what it learned last."""
