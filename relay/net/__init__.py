"""The outside world: sockets, OpenSSL, clocks. Decides nothing."""
