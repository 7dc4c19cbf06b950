"""The HTTP side: what is published, asked and measured; run beside the workers."""
