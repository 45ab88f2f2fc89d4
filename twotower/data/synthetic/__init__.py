"""A synthetic world with known truth: territories, catalogue, tastes, watching."""
