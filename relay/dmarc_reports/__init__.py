"""Aggregate reports for the domains whose name mail bears: counted by workers, kept, sent once a day."""
