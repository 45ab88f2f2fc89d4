"""User and title vectors, where a log brings none."""
