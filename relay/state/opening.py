"""Opens the store that the settings ask for. Knows the kinds of stores, and nothing of their work."""
