"""The options that describe an identity, for every command that can make one.

Values are checked before anything is done, as the allowlist will check them; what they become is
TOML values, for `relay.allowlist_file`.
"""

from datetime import date
from typing import Annotated, Any, Literal

import typer

from relay.errors import ConfigurationError
from relay.pki.identity_fields import FIELDS

__all__ = [
    "ChainOption",
    "ContactOption",
    "NetworksOption",
    "NotAfterOption",
    "RecipientsOption",
    "SendersOption",
    "TierOption",
    "check_name",
    "identity_values",
]

SendersOption = Annotated[
    list[str] | None,
    typer.Option(
        help='Senders it may use: "@acme.example", "@.acme.example", "user@...". Again for more.'
    ),
]
RecipientsOption = Annotated[
    list[str] | None, typer.Option(help="Recipients it may reach, the same way.")
]
NetworksOption = Annotated[
    list[str] | None, typer.Option(help="Networks it may come from: 192.0.2.0/24.")
]
TierOption = Annotated[
    Literal["new", "verified", "trusted"] | None, typer.Option(help="What its limits hang on.")
]
NotAfterOption = Annotated[
    str, typer.Option(help="Last day on which it counts (UTC): 2027-01-31.", show_default=False)
]
ChainOption = Annotated[
    Literal["required", "pin-only"] | None,
    typer.Option(help="required: a trusted CA has to vouch for the certificate too."),
]
ContactOption = Annotated[
    str, typer.Option(help="Whom to ask, for your notes.", show_default=False)
]


def check_name(name: str) -> str:
    """Return a name that may name an identity and its files. Raises ConfigurationError."""
    return str(FIELDS["name"](name))


def identity_values(
    *,
    names: list[str] | None = None,
    senders: list[str] | None = None,
    recipients: list[str] | None = None,
    networks: list[str] | None = None,
    tier: str | None = None,
    chain: str | None = None,
    not_after: str = "",
    contact: str = "",
) -> dict[str, Any]:
    """Gather the keys that were given, each checked.

    Raises:
        ConfigurationError: one is wrong; the problem names its option.
    """
    values: dict[str, Any] = {
        "names": names,
        "chain": chain,
        "senders": senders,
        "recipients": recipients,
        "networks": networks,
        "tier": tier,
        "not_after": _parse_date(not_after),
        "contact": contact,
    }
    given = {key: value for key, value in values.items() if value}
    for key, value in given.items():
        try:
            FIELDS[key](value)
        except ConfigurationError as error:
            option = f"--{key.replace('_', '-')}"
            raise ConfigurationError(f"{option}: {error.problem}", remedy=error.remedy) from None
    return given


def _parse_date(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        remedy = "write it as 2027-01-31"
        raise ConfigurationError(f"--not-after: {text!r} is no date", remedy=remedy) from None
