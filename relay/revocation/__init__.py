"""Revocation at work: one process fetches, checks and keeps the lists, the workers look into them."""
