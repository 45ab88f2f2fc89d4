"""The network: every operation forward and backward. It knows nothing of files, users or territories."""
