"""Memory: what is known of a user and a title from who watched what before, without a network."""
