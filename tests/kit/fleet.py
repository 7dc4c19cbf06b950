"""Two relays that share a state: same rules, same clients, each with its own files and workers.

Knows how to start them and how to hold sessions open on them; nothing of the package's inside.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.kit import clients
from tests.kit.relay_process import RelayProcess
from tests.kit.site import with_public_listener

if TYPE_CHECKING:
    import smtplib
    import ssl
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from tests.kit.site import Site

__all__ = ["Node", "ended", "fleet", "sessions_from", "sessions_of"]


class Node(RelayProcess):
    """One relay, with two listeners.

    The first is for partners; `public` is behind a load balancer, and asks nobody for a certificate.
    """

    @property
    def public(self) -> int:
        """The port of the public listener."""
        return self.ports["public"]


@contextlib.contextmanager
def fleet(
    site: Site,
    folder: Path,
    upstream_port: int,
    *,
    state: Mapping[str, Any],
    rules: str,
) -> Iterator[tuple[Node, Node]]:
    """Run two nodes in subfolders.

    Args:
        site: certificates and usual settings.
        folder: gets a folder for each node.
        upstream_port: where the next hop listens.
        state: the table `[state]`.
        rules: a policy file of both, over the defaults.
    """
    with contextlib.ExitStack() as stack:
        nodes = []
        for name in ("one", "other"):
            own = folder / name
            own.mkdir()
            (own / "rules.toml").write_text(rules)
            settings = _settings(site, upstream_port, state, f"{name}.edge.example")
            node = Node(own, settings, site.allowlist())
            nodes.append(stack.enter_context(node))
        yield nodes[0], nodes[1]


def _settings(
    site: Site, upstream_port: int, state: Mapping[str, Any], hostname: str
) -> dict[str, Any]:
    listener = {"policy": ["defaults", "rules.toml"]}
    settings = site.settings(upstream_port, listener=listener, state=dict(state))
    settings["hostname"] = hostname
    return with_public_listener(settings, client_certificate="off")


@contextlib.contextmanager
def sessions_of(port: int, context: ssl.SSLContext, number: int) -> Iterator[list[smtplib.SMTP]]:
    """Hold sessions open under TLS, greeted; so many that each worker has some."""
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(clients.session(port, context)) for _ in range(number)]
        for each in held:
            assert each.ehlo("client.example")[0] == 250
        yield held


@contextlib.contextmanager
def sessions_from(port: int, address: str, number: int) -> Iterator[list[smtplib.SMTP]]:
    """Hold sessions open from an address that the load balancer tells, greeted in the clear."""
    with contextlib.ExitStack() as stack:
        held: list[smtplib.SMTP] = []
        for _ in range(number):
            held.append(clients.Proxied(port, address))
            stack.callback(held[-1].close)
        for each in held:
            assert each.ehlo("client.example")[0] == 250
        yield held


class End(NamedTuple):
    """How sessions ended: what each was told, and how long after the act the last one was."""

    told: set[str]
    seconds: float


def ended(sessions: Sequence[smtplib.SMTP], act: Callable[[], object]) -> End:
    """Do something, and wait for the last words of all sessions; the seconds count from its end."""
    act()
    begun = time.monotonic()
    told = set()
    for each in sessions:
        code, text = each.getreply()
        told.add(f"{code} {text.decode().partition(' (ref ')[0]}")
    return End(told, time.monotonic() - begun)
