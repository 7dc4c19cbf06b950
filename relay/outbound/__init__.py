"""The next hop: routes, the pool of connections, one delivery."""
