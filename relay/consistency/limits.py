"""Limits that no message fits, and times that leave none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.mistakes import Mistake

if TYPE_CHECKING:
    from collections.abc import Iterator

    from relay.settings import Settings
    from relay.toml_lines import KeyPath

__all__ = ["check_limits"]


def check_limits(settings: Settings) -> Iterator[Mistake]:
    """Look at `[limits]`, and at every duration that must not be 0."""
    limits = settings.limits
    if limits.max_message_bytes == 0:
        yield Mistake(
            ("limits", "max_message_bytes"), "no message would be small enough", 'use "64MiB"'
        )
    if limits.memory_budget < limits.max_message_bytes:
        yield Mistake(
            ("limits", "memory_budget"),
            f"the largest message ({limits.max_message_bytes} bytes) does not fit into "
            f"`memory_budget` ({limits.memory_budget} bytes)",
            "raise it, or lower `max_message_bytes`",
        )
    yield from _check_durations(settings)


def _check_durations(settings: Settings) -> Iterator[Mistake]:
    phases: list[tuple[KeyPath, object]] = [
        (("timeouts", name), getattr(settings.timeouts, name))
        for name in ("handshake", "greeting", "command", "data")
    ]
    phases += [
        (("route", domain, name), getattr(route, name))
        for domain, route in settings.route.items()
        for name in ("connect_timeout", "command_timeout", "data_timeout", "final_timeout")
    ]
    phases += [
        (("revocation", name), getattr(settings.revocation, name))
        for name in ("timeout", "ocsp_timeout", "refresh", "retry")
    ]
    phases.append((("est", "lifetime"), settings.est.lifetime))
    phases.append((("dns", "timeout"), settings.dns.timeout))
    phases.append((("doctor", "every"), settings.doctor.every))
    phases.append((("state", "timeout"), settings.state.timeout))
    for key, duration in phases:
        if not duration:
            yield Mistake(key, f"`{key[-1]}` = 0 leaves no time at all", 'use "30s" or more')
