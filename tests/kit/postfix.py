"""A private Postfix: an instance of its own in a folder of its own, on loopback ports.

As an MX it takes mail over TLS and keeps it in a Maildir; as a client it sends what it is given by
`submit` to a relay, with a client certificate. Needs root, because Postfix changes its user.
"""

from __future__ import annotations

import shutil
import smtplib
import subprocess
import tempfile
from pathlib import Path
from typing import Self

from tests.kit.apt import need_root
from tests.kit.relay_process import answers, free_port, wait_until

_MAIN = """\
compatibility_level = 3.6
queue_directory = {folder}/spool
data_directory = {folder}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
maillog_file = {folder}/maillog
maillog_file_prefixes = {folder}
myhostname = postfix.example
mydestination =
mynetworks = 127.0.0.0/8
alias_maps =
alias_database =
local_recipient_maps =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtp_host_lookup = native
disable_dns_lookups = yes
message_size_limit = 104857600
mailbox_size_limit = 0
virtual_mailbox_limit = 0
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
smtputf8_enable = yes
"""

_MX = """\
smtpd_tls_security_level = encrypt
smtpd_tls_chain_files = {folder}/tls.key, {folder}/tls.pem
virtual_mailbox_domains = {domain}
virtual_mailbox_base = {folder}/mail
virtual_mailbox_maps = inline:{{ {mailboxes} }}
virtual_minimum_uid = 1
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
"""

_CLIENT = """\
relayhost = [localhost]:{relay_port}
smtp_tls_security_level = secure
smtp_tls_secure_cert_match = hostname
smtp_tls_CAfile = {folder}/ca.pem
smtp_tls_chain_files = {folder}/tls.key, {folder}/tls.pem
smtp_tls_loglevel = 1
maximal_backoff_time = 10s
minimal_backoff_time = 5s
queue_run_delay = 5s
"""

_MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


class Postfix:
    """One instance; use `Postfix.mx` or `Postfix.client`, then as a context."""

    def __init__(self, chain: Path, key: Path) -> None:
        self._postfix = need_root("postfix")
        # Not below pytest's folders: those are closed to Postfix's own user.
        self.folder = Path(tempfile.mkdtemp(prefix="gatepost-postfix-"))
        self.folder.chmod(0o755)
        self.port = free_port()
        for name in ("etc", "spool", "data", "mail"):
            (self.folder / name).mkdir()
        shutil.copy(chain, self.folder / "tls.pem")
        shutil.copy(key, self.folder / "tls.key")
        shutil.chown(self.folder / "data", "postfix")
        shutil.chown(self.folder / "mail", "postfix", "postfix")

    @classmethod
    def mx(
        cls, chain: Path, key: Path, domain: str, mailboxes: tuple[str, ...] = ("user",)
    ) -> Self:
        """Make the MX of a domain; other recipients are refused with its own 550 5.1.1."""
        made = cls(chain, key)
        boxes = ", ".join(f"{box}@{domain}={box}/" for box in mailboxes)
        status = (made.folder / "mail").stat()
        made._configure(_MX, domain=domain, mailboxes=boxes, uid=status.st_uid, gid=status.st_gid)
        return made

    @classmethod
    def client(cls, chain: Path, key: Path, ca: Path, relay_port: int) -> Self:
        """Make a sender that hands everything to the relay."""
        made = cls(chain, key)
        shutil.copy(ca, made.folder / "ca.pem")
        made._configure(_CLIENT, relay_port=relay_port)
        return made

    def _configure(self, extra: str, **values: object) -> None:
        etc = self.folder / "etc"
        text = (_MAIN + extra).format(folder=self.folder, **values)
        (etc / "main.cf").write_text(text)
        (etc / "master.cf").write_text(_MASTER.format(port=self.port))

    def _control(self, *words: str) -> None:
        command = [self._postfix, "-c", str(self.folder / "etc"), *words]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=30, check=False, cwd="/"
        )
        assert done.returncode == 0, done.stderr + self.log()

    def __enter__(self) -> Self:
        self._control("start")
        try:
            wait_until("Postfix answers", lambda: answers(self.port))
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.folder)

    def stop(self) -> None:
        """Stop it; `postfix stop` returns when the master is gone."""
        self._control("stop")

    def log(self) -> str:
        """Return its mail log."""
        path = self.folder / "maillog"
        return path.read_text(errors="replace") if path.exists() else ""

    def mails(self, mailbox: str) -> list[bytes]:
        """Return what lies in a mailbox, with CRLF line ends as on the wire."""
        new = self.folder / "mail" / mailbox / "new"
        found = sorted(new.iterdir()) if new.exists() else []
        return [path.read_bytes().replace(b"\n", b"\r\n") for path in found]

    def wait_for_mail(self, mailbox: str, count: int = 1) -> list[bytes]:
        """Return the mails of a mailbox once there are that many."""
        found: list[bytes] = wait_until(
            f"{count} in {mailbox}", lambda: len(m := self.mails(mailbox)) >= count and m
        )
        return found

    def submit(self, sender: str, recipient: str, content: bytes) -> None:
        """Put a message into its queue."""
        with smtplib.SMTP("127.0.0.1", self.port, timeout=30) as smtp:
            smtp.sendmail(sender, [recipient], content, mail_options=["BODY=8BITMIME"])

    def wait_for_status(self, recipient: str, status: str) -> str:
        """Return the log line of a delivery attempt: status is sent, deferred or bounced."""
        found: str = wait_until(
            lambda: f"status={status} for {recipient} in {self.log()}",
            lambda: next(
                (
                    line
                    for line in self.log().splitlines()
                    if f"to=<{recipient}>" in line and f"status={status}" in line
                ),
                "",
            ),
        )
        return found
