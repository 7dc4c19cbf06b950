"""A message as bytes: header fields, trace fields."""
