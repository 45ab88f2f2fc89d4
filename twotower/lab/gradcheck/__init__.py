"""Are the gradients right? Finite differences, textbook and engine compared, and known bugs that can be planted."""
