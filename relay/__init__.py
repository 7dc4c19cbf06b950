"""Gatepost: an authenticating SMTP relay for the edge of a mail system."""

__version__ = "0.1.0"
