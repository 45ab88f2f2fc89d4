"""Whether the gradients are right: finite differences, textbook and engine, and known bugs that can be planted."""
