"""Simple rivals of the network: what counting, neighbours and linear models make of the same knowledge."""
