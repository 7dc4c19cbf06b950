"""SMTP as pure computation (RFC 5321): bytes in, events and bytes out; no I/O."""
