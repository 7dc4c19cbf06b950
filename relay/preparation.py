"""What a host has to give before there are workers: descriptors, listening sockets, the state folder.

Each mistake names the key that is to blame. Knows nothing of processes. Raises ConfigurationError only.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import resource
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from relay.http_process import http_addresses
from relay.net.listener import open_sockets
from relay.revocation.stapling import unmet_demands
from relay.rights import withheld_from
from relay.state.sqlite_file import open_file

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from relay.config import Configuration
    from relay.control import ControlServer
    from relay.material import Material
    from relay.revocation.stapling import Presented
    from relay.settings import Settings
    from relay.toml_lines import KeyPath

__all__ = [
    "check_staples",
    "check_user",
    "close_all",
    "open_listeners",
    "prepare_state",
    "prepare_store",
    "raise_descriptor_limit",
    "worker_count",
]

log = structlog.get_logger("gatepost")

SPARE_DESCRIPTORS = 512
"""For next hops, files and pipes, besides one a connection."""


def raise_descriptor_limit(configuration: Configuration) -> None:
    """A relay out of file descriptors can't even refuse: ask for enough before the start."""
    connections = configuration.settings.limits.max_connections
    needed = connections + SPARE_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= needed or soft == resource.RLIM_INFINITY:
        return
    for limits in ((needed, max(needed, hard)), (hard, hard)):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            break
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < needed:
        raise configuration.mistake(
            f"limits.max_connections = {connections} needs {needed} "
            f"file descriptors, the limit is {soft}",
            remedy="raise it (ulimit -n, LimitNOFILE=) or lower limits.max_connections",
            at=("limits", "max_connections"),
        )


def worker_count(settings: Settings) -> int:
    """Say how many workers there shall be."""
    if hasattr(os, "sched_getaffinity"):  # Linux: the cores we may use, not all there are
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return settings.workers or cores


def check_user(configuration: Configuration) -> None:
    """See that workers, once they are not root any more, can load what Python loads when it is needed."""
    user = configuration.settings.user
    paths = sysconfig.get_paths()
    modules = (*(Path(paths[each]) for each in ("stdlib", "platlib")), Path(__file__))
    for path in withheld_from(user, ((each, os.R_OK) for each in modules)):
        raise configuration.mistake(
            f"the user {user!r} cannot read {path}, which is part of the program",
            remedy="install Python and Gatepost where all can read them, or leave `user` out",
            at=("user",),
        )


def open_listeners(
    configuration: Configuration, known: Mapping[str, list[socket.socket]]
) -> dict[str, list[socket.socket]]:
    """Open what is new, by address; keep what is open; on failure close what was opened here."""
    opened: dict[str, list[socket.socket]] = {}
    for key, address in _addresses(configuration.settings):
        kept = known.get(address)
        try:
            opened[address] = open_sockets(address) if kept is None else kept
        except OSError as error:
            close_all(each for place in opened.keys() - known.keys() for each in opened[place])
            raise configuration.mistake(
                f"cannot listen on {address}: {error.strerror or error}",
                remedy="stop what uses the address, choose another, or allow low ports "
                "(AmbientCapabilities=CAP_NET_BIND_SERVICE)",
                at=key,
            ) from error
    return opened


def _addresses(settings: Settings) -> Iterator[tuple[KeyPath, str]]:
    """All that is listened on, and the keys that say so."""
    for position, listener in enumerate(settings.listener):
        yield ("listener", position, "address"), listener.address
    yield from http_addresses(settings)


def prepare_state(
    configuration: Configuration, open_control: Callable[[Path], ControlServer]
) -> ControlServer:
    """Make the state folder, for the workers' user, and the control socket in it."""
    settings = configuration.settings
    state = settings.state_dir
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        if settings.user and os.geteuid() == 0:
            account = pwd.getpwnam(settings.user)
            os.chown(state, account.pw_uid, account.pw_gid)
        return open_control(state / "control.sock")
    except BlockingIOError:
        raise configuration.mistake(
            f"another gatepost uses the state folder {state}",
            remedy="stop it first, or give this one its own `state_dir`",
            at=("state_dir",),
        ) from None
    except KeyError:
        raise configuration.mistake(
            f"there is no user {settings.user!r}",
            remedy="create it (useradd --system) or leave `user` out",
            at=("user",),
        ) from None
    except OSError as error:
        raise configuration.mistake(
            f"the state folder {state} can't be used: {error.strerror or error}",
            remedy="make it writable, or set `state_dir`",
            at=("state_dir",),
        ) from error


def prepare_store(configuration: Configuration) -> None:
    """Make the state's file, or see that it can be used; it is not kept open, for workers are forked later."""
    settings = configuration.settings
    if settings.state.kind == "sqlite":
        open_file(settings.state_dir).close()


def close_all(sockets: Iterable[socket.socket]) -> None:
    """Let go of sockets."""
    for listening in sockets:
        listening.close()


def check_staples(
    configuration: Configuration,
    material: Material,
    shown_until: Mapping[str, float],
    now: float,
) -> None:
    """See that certificates which demand an OCSP answer have one; say so, or refuse where asked to.

    Args:
        configuration: for the place of a mistake.
        material: what the listeners present.
        shown_until: until when there is an answer, by the certificate's SHA-256.
        now: seconds since 1970.
    """
    for presented in unmet_demands(material, shown_until, now):
        position = int(presented.key[1])
        problem = "it demands a stapled OCSP answer, and " + _why_no_staple(presented)
        if configuration.settings.listener[position].must_staple == "refuse":
            raise configuration.mistake(
                f"the certificate {presented.certificate.subject}: {problem}",
                remedy='mend that (the log says more), or set `must_staple = "warn"`',
                at=presented.key,
            )
        log.warning(
            "certificate without a staple",
            certificate=presented.certificate.subject,
            problem=problem,
        )


def _why_no_staple(presented: Presented) -> str:
    if presented.issuer is None:
        return "its CA's certificate is not in its chain"
    return "none has come" if presented.urls else "it names no OCSP responder"
