"""The synthetic world, whose truth is known: territories, catalogue, tastes, watching."""
