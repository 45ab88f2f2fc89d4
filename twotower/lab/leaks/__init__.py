"""What rows outside a group change in the head of that group."""
