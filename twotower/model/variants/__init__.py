"""What the main path does not need."""
