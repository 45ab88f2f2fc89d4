"""User and title vectors, made of histories, territories, profiles and texts."""
