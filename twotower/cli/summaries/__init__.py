"""What the commands that make data print when they are done: a table per territory, and a few lines."""
