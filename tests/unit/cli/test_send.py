"""`gatepost send` against a foreign server: every reply shown, the outcome in the exit code."""

from __future__ import annotations

import contextlib
import json
import ssl
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from aiosmtpd.controller import Controller
from typer.testing import CliRunner

from relay.cli.main import app
from relay.cli.send import _host_and_port, _target
from relay.errors import ConfigurationError
from tests.kit.pki import Authority
from tests.kit.relay_process import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from click.testing import Result

CA = Authority("Test CA")
SERVER = CA.issue("localhost", dns=("localhost",), usages=("server",))
CLIENT = CA.issue("client")


class Handler:
    """Takes everything but what it is told to refuse; keeps what it took."""

    def __init__(self, refused: str = "", reply: str = "") -> None:
        self.refused = refused
        self.reply = reply
        self.taken: list[tuple[str, list[str], bytes]] = []
        self.certificates: list[object] = []

    async def handle_RCPT(
        self, server: Any, session: Any, envelope: Any, address: str, options: Any
    ) -> str:
        if address == self.refused:
            return self.reply
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 Ok"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        if self.refused == "DATA":
            return self.reply
        self.certificates.append(session.ssl and session.ssl.get("peercert"))
        self.taken.append((envelope.mail_from, envelope.rcpt_tos, envelope.original_content))
        return "250 2.0.0 Ok"


class Place(NamedTuple):
    folder: Path
    server: str
    handler: Handler

    def send(self, *arguments: str) -> Result:
        known = {
            "--server": self.server, "--server-name": "localhost", "--to": "you@example.org",
            "--from": "me@acme.example", "--ca": str(self.folder / "ca.pem"),
            "--cert": str(self.folder / "client.pem"), "--key": str(self.folder / "client.key"),
        }  # fmt: skip
        options = [part for pair in known.items() if pair[0] not in arguments for part in pair]
        return CliRunner().invoke(app, ["send", *arguments, *options])


@contextlib.contextmanager
def server(
    folder: Path, handler: Handler | None = None, *, implicit: bool = False
) -> Iterator[Place]:
    (folder / "ca.pem").write_bytes(CA.pem)
    CLIENT.write(folder, "client")
    chain, key = SERVER.write(folder, "server")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=folder / "ca.pem")
    context.verify_mode = ssl.CERT_OPTIONAL
    context.load_cert_chain(chain, key)
    tls = (
        {"ssl_context": context} if implicit else {"tls_context": context, "require_starttls": True}
    )
    used, port = handler or Handler(), free_port()
    controller = Controller(used, hostname="127.0.0.1", port=port, ready_timeout=20, **tls)
    controller.start()
    try:
        yield Place(folder, f"127.0.0.1:{port}", used)
    finally:
        controller.stop()


def test_a_message_made_here_is_sent_and_every_reply_shown(tmp_path: Path) -> None:
    with server(tmp_path) as place:
        result = place.send("--subject", "Grüße", "--body", ".dots\n..and more")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].startswith("< 220 ")
    assert "> STARTTLS" in lines
    assert lines[-2:] == ["< 250 2.0.0 Ok", "delivered"]
    ((sender, recipients, content),) = place.handler.taken
    assert (sender, recipients) == ("me@acme.example", ["you@example.org"])
    assert b"Subject: =?utf-8?" in content
    assert b"Date: " in content
    assert b"Message-ID: " in content
    assert content.endswith(b"\r\n\r\n.dots\r\n..and more\r\n")


def test_a_file_is_sent_as_it_is(tmp_path: Path) -> None:
    message = b"Subject: raw\r\n\r\n.\r\n8-bit: \xff\r\n"
    (tmp_path / "message.eml").write_bytes(message)
    with server(tmp_path) as place:
        assert place.send("--file", str(tmp_path / "message.eml")).exit_code == 0
    assert place.handler.taken[0][2] == message


def test_implicit_tls(tmp_path: Path) -> None:
    with server(tmp_path, implicit=True) as place:
        result = place.send("--tls", "implicit")
    assert result.exit_code == 0, result.output
    assert "STARTTLS" not in result.stdout


def test_the_certificate_is_shown_to_the_server(tmp_path: Path) -> None:
    with server(tmp_path) as place:
        place.send()
    (certificate,) = place.handler.certificates
    assert certificate
    assert "client" in str(certificate)


@pytest.mark.parametrize("refused", ["you@example.org", "DATA"])
def test_a_refusal_is_shown_with_the_way_to_its_reason(tmp_path: Path, refused: str) -> None:
    reply = "550 5.7.1 Not you (ref 7K3M9QX2WZ4A)"
    with server(tmp_path, Handler(refused, reply)) as place:
        result = place.send()
        in_json = json.loads(place.send("--json").stdout)
    assert result.exit_code == 1
    assert f"< {reply}" in result.stdout
    assert "why: gatepost explain 7K3M9QX2WZ4A" in result.stdout
    assert (in_json["delivered"], in_json["reply"]) == (False, reply)
    assert in_json["reference"] == "7K3M9QX2WZ4A"


def test_several_recipients(tmp_path: Path) -> None:
    with server(tmp_path) as place:
        assert place.send("--to", "a@example.org", "--to", "b@example.org").exit_code == 0
    assert place.handler.taken[0][1] == ["a@example.org", "b@example.org"]


def test_plaintext_shows_the_servers_refusal(tmp_path: Path) -> None:
    with server(tmp_path) as place:
        result = place.send("--tls", "off")
    assert result.exit_code == 1
    assert "< 530 " in result.stdout


def test_a_server_that_is_not_who_it_should_be_gets_nothing(tmp_path: Path) -> None:
    with server(tmp_path) as place:
        result = place.send("--server-name", "mx.example.org")
    assert result.exit_code == 1
    assert "no reply:" in result.stdout
    assert "MAIL FROM" not in result.stdout
    assert not place.handler.taken


def test_nobody_there(tmp_path: Path) -> None:
    with server(tmp_path) as place:
        pass
    result = place.send()
    assert result.exit_code == 1
    assert "no reply:" in result.stdout


def test_a_key_that_does_not_belong_is_the_users_mistake(tmp_path: Path) -> None:
    CA.issue("other").write(tmp_path, "other")
    with server(tmp_path) as place:
        result = place.send("--key", str(tmp_path / "other.key"))
    assert isinstance(result.exception, ConfigurationError)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("mx.example.org", "mx.example.org", 25),
        ("mx.example.org:2525", "mx.example.org", 2525),
        ("192.0.2.1:465", "192.0.2.1", 465),
        ("[2001:db8::1]:2525", "2001:db8::1", 2525),
        ("[2001:db8::1]", "2001:db8::1", 25),
        ("2001:db8::1", "2001:db8::1", 25),
    ],
)
def test_servers_in_every_spelling(text: str, host: str, port: int) -> None:
    assert _host_and_port(text, 25) == (host, port)


@pytest.mark.parametrize("text", ["mx:", "mx:smtp", "mx:0", "mx:65536", "[::1]:x"])
def test_what_is_no_server(text: str) -> None:
    with pytest.raises(ConfigurationError, match="no server"):
        _host_and_port(text, 25)


@pytest.mark.parametrize(
    ("address", "tls", "expected"),
    [
        ("0.0.0.0:25", "starttls", ("127.0.0.1", 25, "edge.example.org", "starttls")),
        ("[::]:465", "implicit", ("::1", 465, "edge.example.org", "implicit")),
    ],
)
def test_without_a_server_it_is_the_first_listener_with_our_own_ca(
    tmp_path: Path, address: str, tls: str, expected: tuple[object, ...]
) -> None:
    config = tmp_path / "gatepost.toml"
    config.write_text(
        'hostname = "edge.example.org"\n'
        f'[[listener]]\nname = "a"\naddress = "{address}"\ntls = "{tls}"\n'
        'certificate = [{ chain = "a.pem", key = "a.key" }]\n'
        '[route."*"]\nhosts = ["127.0.0.1:2526"]\n'
    )
    assert _target("", "", None, config) == (expected, None)
    (tmp_path / "ca").mkdir()
    (tmp_path / "ca" / "root.pem").touch()
    assert _target("", "", None, config)[1] == tmp_path / "ca" / "root.pem"


def test_a_listener_on_a_unix_socket_can_not_be_reached(tmp_path: Path) -> None:
    config = tmp_path / "gatepost.toml"
    config.write_text(
        'hostname = "edge.example.org"\n'
        '[[listener]]\nname = "a"\naddress = "unix:/run/gatepost.sock"\n'
        'certificate = [{ chain = "a.pem", key = "a.key" }]\n'
        '[route."*"]\nhosts = ["127.0.0.1:2526"]\n'
    )
    with pytest.raises(ConfigurationError, match="Unix socket"):
        _target("", "", None, config)
