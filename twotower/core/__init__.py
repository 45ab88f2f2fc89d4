"""The ground floor: configuration, errors, storage, formatting. It imports no other floor."""
