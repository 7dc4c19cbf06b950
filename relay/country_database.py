"""Which country an address is of, by a database file in MaxMind's format.

The operator brings the file (GeoLite2-Country, DB-IP Lite and their like); reading it needs the
package `maxminddb`, which the extra `gatepost[country]` installs. It is read whole before the workers
are forked, so they share it and need not care what becomes of the file. Decides nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from relay.errors import ConfigurationError, Unavailable

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address
    from pathlib import Path

__all__ = ["CountryDatabase", "open_country_database"]


class CountryDatabase:
    """An open database (`policy.check.CountryOf`)."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader

    def __call__(self, address: IPv4Address | IPv6Address) -> str:
        """Return the ISO 3166 code, "" where the database knows none. Raises Unavailable if it is broken."""
        import maxminddb  # noqa: PLC0415  only where the package is installed

        try:
            return _code(self._reader.get(address))
        except (maxminddb.InvalidDatabaseError, ValueError) as error:
            raise Unavailable(f"country database: {error}") from error


def open_country_database(path: Path) -> CountryDatabase:
    """Read a database.

    Raises:
        ConfigurationError: it is not there, is none, or the package is not installed; without a place.
    """
    try:
        import maxminddb  # noqa: PLC0415
    except ImportError:
        raise ConfigurationError(
            "a country database needs the package maxminddb",
            remedy='install it: pip install "gatepost[country]"',
        ) from None
    try:
        return CountryDatabase(maxminddb.open_database(path, maxminddb.MODE_MEMORY))
    except (OSError, maxminddb.InvalidDatabaseError):
        raise ConfigurationError(
            f"{path} can't be read as a country database",
            remedy="use a file in MaxMind's format (.mmdb), as GeoLite2-Country.mmdb",
        ) from None


def _code(record: object) -> str:
    """Find the code in a record, as MaxMind and DB-IP, or IPinfo write it."""
    if not isinstance(record, dict):
        return ""
    country = record.get("country") or record.get("registered_country")
    if isinstance(country, dict):
        country = country.get("iso_code")
    code = record.get("country_code") or country
    return code.upper() if isinstance(code, str) and len(code) == 2 else ""
