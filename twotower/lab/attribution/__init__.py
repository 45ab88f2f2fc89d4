"""Whose rows moved which weight: the gradient of one batch taken apart."""
