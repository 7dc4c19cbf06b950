"""What workers and nodes remember together: one file an implementation of `ports.Store`."""
