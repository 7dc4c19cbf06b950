"""Words that more than one place writes: header fields, metric prefixes, products.

One name per thing everywhere: what stands here is spelled nowhere else.
"""

from __future__ import annotations

PRODUCT = "Gatepost"
"""The word in the banner, without a version: a scanner learns nothing."""

IDENTITY_HEADER = "Gatepost-Identity"
"""The header field that tells the upstream who sent the message. Stripped from what comes in."""

ENVIRONMENT_PREFIX = "GATEPOST_"
"""Environment variables that override the configuration file."""
