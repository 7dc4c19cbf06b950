"""One file a check, one check a fact prefix: what rules may ask about a connection and its mail."""
