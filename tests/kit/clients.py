"""SMTP clients of other people's making, each as one call that says how it ended.

Knows no more of the relay than its port and the files of a `Site`.
"""

from __future__ import annotations

import smtplib
import socket
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from tests.kit.apt import need
from tests.kit.site import RECIPIENT, SENDER

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.kit.site import Files, Site

MESSAGE = (
    b"From: Billing <billing@acme.example>\r\nTo: user@dest.example\r\n"
    b"Subject: Invoice 4711\r\nMessage-ID: <4711@acme.example>\r\n"
    b"Date: Sat, 21 Nov 2026 12:00:00 +0000\r\n\r\nPlease find 4711 enclosed.\r\n"
)


class Answer(NamedTuple):
    """The reply that decided: the first refusal, or the one to the whole message."""

    code: int
    text: str

    @property
    def reference(self) -> str:
        """The reference id at the end of a refusal."""
        return self.text.rpartition("(ref ")[2].rstrip(")")


class Proxied(smtplib.SMTP):
    """A client behind a load balancer that tells its address (PROXY protocol, version 1)."""

    def __init__(self, port: int, address: str) -> None:
        self._address = address
        super().__init__("127.0.0.1", port, timeout=60, local_hostname="client.example")

    def _get_socket(self, host: str, port: int, timeout: float | None) -> socket.socket:
        made = socket.create_connection((host, port), timeout)
        family, end = ("TCP6", "2001:db8::25") if ":" in self._address else ("TCP4", "192.0.2.25")
        made.sendall(f"PROXY {family} {self._address} {end} 40000 25\r\n".encode())
        return made


class Ended(NamedTuple):
    """How a client program ended."""

    code: int
    output: str


@contextmanager
def session(
    port: int, context: ssl.SSLContext | None, *, implicit: bool = False
) -> Iterator[smtplib.SMTP]:
    """Open a session up to the EHLO under TLS; smtplib notices for itself if it is refused."""
    smtp: smtplib.SMTP
    if implicit:
        smtp = smtplib.SMTP_SSL("127.0.0.1", port, timeout=60, context=context)
    else:
        smtp = smtplib.SMTP("127.0.0.1", port, timeout=60)
    try:
        if context is not None and not implicit:
            smtp.ehlo("client.example")
            smtp.starttls(context=context)
        yield smtp
    finally:
        smtp.close()


def transact(
    smtp: smtplib.SMTP,
    content: bytes = MESSAGE,
    sender: str = SENDER,
    recipients: Sequence[str] = (RECIPIENT,),
) -> Answer:
    """Send one message on an open session; recipients that are refused decide only if all are."""
    options = ["BODY=8BITMIME"] if smtp.has_extn("8bitmime") else []
    answer = Answer(*_text(smtp.mail(sender, options)))
    if answer.code != 250:
        return answer
    accepted = False
    for recipient in recipients:
        answer = Answer(*_text(smtp.rcpt(recipient)))
        accepted = accepted or answer.code == 250
    if not accepted:
        return answer
    try:
        return Answer(*_text(smtp.data(content)))
    except smtplib.SMTPDataError as refused:
        return Answer(*_text((refused.smtp_code, refused.smtp_error)))


def send(
    port: int,
    context: ssl.SSLContext | None,
    content: bytes = MESSAGE,
    sender: str = SENDER,
    recipients: Sequence[str] = (RECIPIENT,),
    *,
    implicit: bool = False,
) -> Answer:
    """Connect, send one message and leave, with Python's smtplib."""
    with session(port, context, implicit=implicit) as smtp:
        hello = Answer(*_text(smtp.ehlo("client.example")))
        if hello.code != 250:
            return hello
        answer = transact(smtp, content, sender, recipients)
        if answer.code != 421:
            smtp.quit()
        return answer


def _text(reply: tuple[int, bytes | str]) -> tuple[int, str]:
    code, text = reply
    return code, text.decode("utf-8", "replace") if isinstance(text, bytes) else text


def swaks(
    site: Site, port: int, client: Files | None, message: Path, *, sender: str = SENDER
) -> Ended:
    """Send a message with swaks over STARTTLS."""
    return _run([
        need("swaks"), "--server", "127.0.0.1", "--port", str(port), "--helo", "swaks.example",
        "--from", sender, "--to", RECIPIENT, "--data", f"@{message}", "--tls", "--tls-verify",
        "--tls-ca-path", str(site.ca),
        *(("--tls-cert", str(client.chain), "--tls-key", str(client.key)) if client else ()),
    ])  # fmt: skip


def curl(site: Site, port: int, client: Files | None, message: Path) -> Ended:
    """Send a message with curl over STARTTLS."""
    return _run([
        need("curl"), "-v", "--ssl-reqd", f"smtp://127.0.0.1:{port}/curl.example", "--mail-from",
        SENDER, "--mail-rcpt", RECIPIENT, "--upload-file", str(message), "--cacert", str(site.ca),
        *(("--cert", str(client.chain), "--key", str(client.key)) if client else ()),
    ])  # fmt: skip


def msmtp(site: Site, port: int, client: Files | None, message: Path) -> Ended:
    """Send a message with msmtp over STARTTLS (GnuTLS)."""
    identity = [f"--tls-cert-file={client.chain}", f"--tls-key-file={client.key}"] if client else []
    command = [
        need("msmtp"), "--host=localhost", f"--port={port}", "--tls=on", "--tls-starttls=on",
        f"--tls-trust-file={site.ca}", f"--from={SENDER}", "--debug", *identity, RECIPIENT,
    ]  # fmt: skip
    return _run(command, message.read_bytes().replace(b"\r\n", b"\n"))


def s_client(site: Site, port: int, client: Files | None, *options: str) -> Ended:
    """Do a handshake with openssl s_client over STARTTLS, and QUIT."""
    identity = ("-cert", str(client.chain), "-key", str(client.key)) if client else ()
    command = [
        need("openssl"), "s_client", "-starttls", "smtp", "-connect", f"127.0.0.1:{port}",
        "-CAfile", str(site.ca), "-verify_return_error", "-crlf", "-ign_eof", *identity, *options,
    ]  # fmt: skip
    return _run(command, b"QUIT\n")


def s_client_dialogue(
    site: Site, port: int, client: Files, lines: Sequence[bytes], *options: str
) -> list[str]:
    """Type lines into openssl s_client, each after the reply to the one before; their replies."""
    command = [
        need("openssl"), "s_client", "-starttls", "smtp", "-connect", f"127.0.0.1:{port}",
        "-CAfile", str(site.ca), "-verify_return_error", "-crlf", "-quiet",
        "-cert", str(client.chain), "-key", str(client.key), *options,
    ]  # fmt: skip
    replies = []
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for line in lines:
            process.stdin.write(line)
            process.stdin.flush()
            while (reply := process.stdout.readline().decode())[3:4] == "-":
                pass
            replies.append(reply.rstrip())
        process.stdin.close()
        process.wait(10)
    return replies


def _run(command: list[str], stdin: bytes = b"") -> Ended:
    done = subprocess.run(
        command, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60,
        check=False,
    )  # fmt: skip
    return Ended(done.returncode, done.stdout.decode("utf-8", "replace"))
