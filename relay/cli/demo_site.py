"""What the demonstration needs on disk and as a process: a CA, certificates, a configuration, the relay.

Everything lies in one folder and on loopback ports; nothing outside is read or written.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from relay.allowlist_file import add_identity
from relay.ca_folder import CaFolder, IssuedFiles, create_ca, issue_to_files
from relay.cli.control import ask
from relay.cli.demo_upstream import Upstream
from relay.errors import Unavailable
from relay.names import ENVIRONMENT_PREFIX
from relay.pki.issuing import Subject

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["IDENTITY", "Site", "running_site"]

IDENTITY = "acme-billing"

_START_SECONDS = 60
_STOP_SECONDS = 35  # the drain, and a little more

_CONFIGURATION = """\
hostname = "localhost"
state_dir = "state"
workers = 2
allowlist = "allowlist.toml"

[[listener]]
name = "demo"
address = "127.0.0.1:{port}"
tls = "starttls"
client_certificate = "required"
certificate = [{{ chain = "tls/edge.pem", key = "tls/edge.key" }}]

[route."*"]                             # all recipients; only identified senders may use it
hosts = ["127.0.0.1:{upstream_port}"]   # the embedded upstream
tls = "verify"
ca = ["ca/root.pem"]
server_name = "localhost"

[limits]
max_connections = 100                   # so that any limit of file descriptors will do
"""


class Site(NamedTuple):
    """The demonstration as it runs."""

    folder: Path
    port: int
    ca: CaFolder
    pinned: IssuedFiles
    stranger: IssuedFiles
    upstream: Upstream
    upstream_port: int
    relay: subprocess.Popen[bytes]

    @property
    def audit_path(self) -> Path:
        """The audit trail."""
        return self.folder / "state" / "audit.jsonl"


@contextlib.contextmanager
def running_site(*, stays: bool = False) -> Iterator[Site]:
    """Make and start everything; at the end stop everything and remove the folder.

    Args:
        stays: for a user to try by hand: on ports that can be remembered, if they are free, and
            the relay logs to standard error instead of into its folder.

    Raises:
        Unavailable: the relay does not start; its log is in the text.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="gatepost-demo-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        port, upstream_port = (_free_port(each if stays else 0) for each in (2525, 2526))
        ca = create_ca(folder / "ca", "Gatepost demo CA")
        files = _issue(ca, folder)
        _configure(folder, files["pinned"], port, upstream_port)
        upstream = Upstream(upstream_port, files["upstream"], folder / "maildir")
        upstream.start()
        stack.callback(upstream.stop)
        log = None if stays else folder / "relay.log"
        relay = _start_relay(folder, log)
        stack.callback(_stop, relay)
        _wait_until_ready(relay, folder, log)
        yield Site(
            folder, port, ca, files["pinned"], files["stranger"], upstream, upstream_port, relay
        )


def _issue(ca: CaFolder, folder: Path) -> dict[str, IssuedFiles]:
    server = Subject("localhost", ("dns:localhost",), "server")
    return {
        "edge": issue_to_files(ca, server, folder / "tls", file_name="edge"),
        "upstream": issue_to_files(ca, server, folder / "tls", file_name="upstream"),
        "pinned": issue_to_files(ca, Subject(IDENTITY), folder / "clients"),
        "stranger": issue_to_files(ca, Subject("stranger"), folder / "clients"),
    }


def _configure(folder: Path, pinned: IssuedFiles, port: int, upstream_port: int) -> None:
    text = _CONFIGURATION.format(port=port, upstream_port=upstream_port)
    (folder / "gatepost.toml").write_text(text)
    (folder / "state").mkdir()
    values = {
        "name": IDENTITY,
        "pins": [f"spki:sha256:{pinned.certificate.spki_sha256}"],
        "senders": ["@acme.example"],
        "contact": "postmaster@acme.example",
    }
    add_identity(folder / "allowlist.toml", values)


def _free_port(preferred: int) -> int:
    for port in (preferred, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found: int = probe.getsockname()[1]
            return found
    raise Unavailable("no free port on 127.0.0.1")


def _start_relay(folder: Path, log: Path | None) -> subprocess.Popen[bytes]:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(ENVIRONMENT_PREFIX)
    }
    configuration = str(folder / "gatepost.toml")
    command = [sys.executable, "-m", "relay.cli.main", "run", "--config", configuration]
    with contextlib.ExitStack() as stack:
        output = None if log is None else stack.enter_context(log.open("wb"))
        return subprocess.Popen(  # noqa: S603  our own interpreter and our own command
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment
        )


def _wait_until_ready(relay: subprocess.Popen[bytes], folder: Path, log: Path | None) -> None:
    end = time.monotonic() + _START_SECONDS
    while relay.poll() is None and time.monotonic() < end:
        with contextlib.suppress(Unavailable):
            workers = ask(folder / "state", "status", timeout=5).get("workers", [])
            if workers and all(worker["is_ready"] for worker in workers):
                return
        time.sleep(0.05)
    said = log.read_text(errors="replace").strip() if log is not None else "see its log above"
    raise Unavailable(f"the relay did not start: {said}")


def _stop(relay: subprocess.Popen[bytes]) -> None:
    relay.terminate()
    try:
        relay.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        relay.kill()
        relay.wait()
