"""A private Exim: an instance of its own in a folder of its own, on a loopback port.

As an MX it takes mail over TLS (GnuTLS here, where Postfix has OpenSSL) into a Maildir; as a client
it hands on what `submit` gives it, with a client certificate. Needs root.
"""

from __future__ import annotations

import shutil
import signal
import smtplib
import subprocess
import tempfile
from pathlib import Path
from typing import Self

from tests.kit.apt import EXIM_USER, need_root
from tests.kit.relay_process import answers, children, free_port, wait_until

_COMMON = """\
exim_path = {binary}
primary_hostname = exim.example
spool_directory = {folder}/spool
log_file_path = {folder}/log/%slog
pid_file_path = {folder}/spool/pid
local_interfaces = 127.0.0.1
disable_ipv6 = true
keep_environment =
daemon_smtp_ports = {port}
host_lookup =
rfc1413_query_timeout = 0s
message_size_limit = 100M
accept_8bitmime = true
acl_smtp_rcpt = rcpt
{main}
begin acl
rcpt:
  {acl}
begin routers
only:
{router}
begin transports
only:
{transport}
begin retry
* * F,1h,5s
"""

_MX = {
    "main": "tls_advertise_hosts = *\ntls_certificate = {folder}/tls.pem\n"
    "tls_privatekey = {folder}/tls.key",
    "acl": "require domains = {domain}\n  accept encrypted = *",
    "router": "  driver = accept\n  transport = only",
    "transport": "  driver = appendfile\n  directory = {folder}/mail/box\n"
    "  maildir_format\n  user = " + EXIM_USER,
}

_CLIENT = {
    "main": "tls_advertise_hosts =",
    "acl": "accept",
    "router": "  driver = manualroute\n  route_list = * localhost byname\n  self = send\n"
    "  transport = only",
    "transport": "  driver = smtp\n  port = {relay_port}\n  hosts_require_tls = *\n"
    "  hosts_try_dane =\n  tls_certificate = {folder}/tls.pem\n"
    "  tls_privatekey = {folder}/tls.key\n  tls_verify_certificates = {folder}/ca.pem\n"
    "  tls_verify_hosts = *\n  tls_verify_cert_hostnames = *",
}


class Exim:
    """One instance; use `Exim.mx` or `Exim.client`, then as a context."""

    def __init__(self, chain: Path, key: Path) -> None:
        self._binary = need_root("exim")
        self.folder = Path(tempfile.mkdtemp(prefix="gatepost-exim-"))
        self.folder.chmod(0o755)
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        for name in ("spool", "log", "mail"):
            (self.folder / name).mkdir()
            shutil.chown(self.folder / name, EXIM_USER, EXIM_USER)
        for source, name in ((chain, "tls.pem"), (key, "tls.key")):
            shutil.copy(source, self.folder / name)
            shutil.chown(self.folder / name, EXIM_USER)

    @classmethod
    def mx(cls, chain: Path, key: Path, domain: str) -> Self:
        """Make the MX of a domain: all its mail goes into one box."""
        made = cls(chain, key)
        made._configure(_MX, domain=domain)
        return made

    @classmethod
    def client(cls, chain: Path, key: Path, ca: Path, relay_port: int) -> Self:
        """Make a sender that hands everything to the relay."""
        made = cls(chain, key)
        shutil.copy(ca, made.folder / "ca.pem")
        made._configure(_CLIENT, relay_port=relay_port)
        return made

    def _configure(self, parts: dict[str, str], **values: object) -> None:
        values |= {"folder": self.folder, "port": self.port, "binary": self._binary}
        filled = {name: text.format(**values) for name, text in parts.items()}
        (self.folder / "exim.conf").write_text(_COMMON.format(**values, **filled))

    def __enter__(self) -> Self:
        with (self.folder / "stderr").open("wb") as stderr:
            self._process = subprocess.Popen(
                [self._binary, "-C", str(self.folder / "exim.conf"), "-bdf", "-q5s"],
                stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr, cwd="/",
            )  # fmt: skip
        try:
            wait_until(lambda: f"Exim answers: {self.log()}", lambda: answers(self.port))
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.folder)

    def stop(self) -> None:
        """Stop the daemon; its deliveries end by themselves."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(15)
        wait_until("no Exim child left", lambda: not children(self._process_id), 10)

    @property
    def _process_id(self) -> int:
        assert self._process is not None
        return self._process.pid

    def log(self) -> str:
        """Return what it has logged."""
        paths = [self.folder / "stderr", *sorted((self.folder / "log").iterdir())]
        return "".join(path.read_text(errors="replace") for path in paths if path.exists())

    def wait_for_mail(self) -> bytes:
        """Return the first mail that lies in its box, with CRLF line ends as on the wire."""
        new = self.folder / "mail/box/new"
        path: Path = wait_until(
            lambda: f"a mail in the box: {self.log()}",
            lambda: new.exists() and next(new.iterdir(), None),
        )
        return path.read_bytes().replace(b"\n", b"\r\n")

    def submit(self, sender: str, recipient: str, content: bytes) -> None:
        """Put a message into its queue."""
        with smtplib.SMTP("127.0.0.1", self.port, timeout=30) as smtp:
            smtp.sendmail(sender, [recipient], content, mail_options=["BODY=8BITMIME"])

    def wait_for_log(self, *words: str) -> str:
        """Return the first log line that has all these words."""
        found: str = wait_until(
            lambda: f"{words} in Exim's log: {self.log()}",
            lambda: next(
                (line for line in self.log().splitlines() if all(w in line for w in words)), ""
            ),
        )
        return found
