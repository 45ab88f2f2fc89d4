"""Which pairs are learned from and judged: random and active users, discoveries, negatives."""
