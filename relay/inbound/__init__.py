"""One client connection, from the banner to the close, over a Stream."""
