"""One batch looked into: whose rows moved which weight, what would leak, and whether the gradients are right."""
