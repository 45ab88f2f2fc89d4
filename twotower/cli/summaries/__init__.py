"""What commands print about what they made."""
