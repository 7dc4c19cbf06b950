"""Facts in, verdict out: what may pass."""
