"""Which groups' rows moved which weight: the gradient of one batch, split by block and group."""
