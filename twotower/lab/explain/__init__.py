"""Why one user gets one title with this score."""
