"""TLS as data: the ClientHello and the profiles; no OpenSSL objects."""
