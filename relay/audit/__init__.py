"""The append-only evidence: records, the log, queries."""
