"""Training and test pairs: random and active users, their first streams, negatives."""
