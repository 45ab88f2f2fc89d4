"""What makes the network fast: products, kernels, flat arrays, threads, top-k."""
