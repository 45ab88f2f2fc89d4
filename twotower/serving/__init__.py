"""Serving: a finished run, opened for a dataset; recommendations and embeddings."""
