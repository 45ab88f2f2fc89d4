"""What an experiment shows: terminal tables, CSV, one HTML page."""
