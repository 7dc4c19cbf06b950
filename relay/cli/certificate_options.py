"""The options that describe a certificate to be, for every command that can have one made.

Knows nothing of who makes it, and of the identity it is for: `identity_options.py` does.
"""

from typing import Annotated

import typer

from relay.key_files import KeyType
from relay.pki.names import parse_name

__all__ = ["DnsOption", "KeyTypeOption", "NameArgument", "UriOption", "names_of"]

NameArgument = Annotated[
    str, typer.Argument(help="Short name, as acme-billing.", show_default=False)
]
DnsOption = Annotated[list[str] | None, typer.Option(help="DNS name in it. Again for more.")]
UriOption = Annotated[list[str] | None, typer.Option(help="URI in it, as spiffe://acme/billing.")]
KeyTypeOption = Annotated[KeyType, typer.Option(help="ec is P-256, rsa has 3072 bits.")]


def names_of(dns: list[str] | None, uri: list[str] | None) -> tuple[str, ...]:
    """Return the names that were given, in canonical spelling. Raises ConfigurationError."""
    texts = [f"dns:{each}" for each in dns or ()] + [f"uri:{each}" for each in uri or ()]
    return tuple(map(parse_name, texts))
