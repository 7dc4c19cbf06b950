"""Who is this? Certificates, the allowlist, the trust decision, issuing."""
