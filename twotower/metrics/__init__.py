"""What a model is worth: pure functions of arrays."""
