"""The date and time of header fields, as text and as a moment.

Knows nothing of which field it reads. RFC 5322 3.3, with the obsolete years and zones of 4.3.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

__all__ = ["parse_date"]

_MONTHS: Final = {
    name: number
    for number, name in enumerate(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), 1
    )
}
_ZONES: Final = {
    "": 0, "ut": 0, "gmt": 0, "utc": 0,
    "est": -500, "edt": -400, "cst": -600, "cdt": -500,
    "mst": -700, "mdt": -600, "pst": -800, "pdt": -700,
}  # fmt: skip
_DATE: Final = re.compile(
    r"""\s*(?:[A-Za-z]{3}\s*,)?\s*
    (?P<day>\d{1,2})\s+(?P<month>[A-Za-z]{3})\s+(?P<year>\d{2,4})\s+
    (?P<hour>\d{1,2})\s*:\s*(?P<minute>\d{2})(?:\s*:\s*(?P<second>\d{2}))?\s*
    (?:(?P<sign>[+-])(?P<offset>\d{4})|(?P<zone>[A-Za-z]{0,5}))\s*""",
    re.VERBOSE | re.ASCII,
)
_COMMENT: Final = re.compile(r"\([^()\\]*+\)")
_MAX_CHARACTERS: Final = 256


def parse_date(text: str) -> datetime | None:
    """Return the moment that an unfolded date-time names; None if it names none.

    Comments may stand anywhere, but not in one another.
    """
    if len(text) > _MAX_CHARACTERS:
        return None
    if "(" in text:
        text = _COMMENT.sub(" ", text)
    found = _DATE.fullmatch(text)
    if found is None:
        return None
    month = _MONTHS.get(found["month"].lower())
    offset = _offset(found)
    if month is None or offset is None:
        return None
    # RFC 5322 3.3 allows a leap second, which datetime does not know.
    second = min(int(found["second"] or 0), 60)
    try:
        minute = datetime(
            _year(found["year"]),
            month,
            int(found["day"]),
            int(found["hour"]),
            int(found["minute"]),
            tzinfo=UTC,
        )
        return minute + timedelta(seconds=second) - offset
    except (ValueError, OverflowError):
        return None


def _year(digits: str) -> int:
    year = int(digits)
    if len(digits) == 4:
        return year
    return year + (2000 if len(digits) == 2 and year < 50 else 1900)  # RFC 5322 4.3


def _offset(found: re.Match[str]) -> timedelta | None:
    if found["sign"]:
        hours, minutes = divmod(int(found["offset"]), 100)
        if minutes > 59:
            return None
        offset = timedelta(hours=hours, minutes=minutes)
        return -offset if found["sign"] == "-" else offset
    zone = found["zone"].lower()
    if len(zone) == 1 and zone != "j":
        return timedelta()  # RFC 5322 4.3: the military zones say nothing
    known = _ZONES.get(zone)
    return None if known is None else timedelta(hours=known / 100)
