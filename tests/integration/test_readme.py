"""README.md's ten minutes, as they stand there: Gatepost in front of Postfix, a partner's Postfix in front.

The blocks are cut from README.md; only host names, ports and folders are put for the test's own.
"""

import re
import subprocess

import pytest

from tests.kit.apt import need_root
from tests.kit.postfix import Postfix
from tests.kit.relay_process import COMMAND, REPOSITORY, RelayProcess, free_port

README = (REPOSITORY / "README.md").read_text()
CONTENT = b"From: billing@acme.example\r\nSubject: Invoice\r\n\r\nPlease pay.\r\n"


def block(mark):
    """The fenced block behind `<!-- mark -->`."""
    found = re.search(rf"<!-- {re.escape(mark)} -->\n```\w*\n(.*?)```", README, re.DOTALL)
    assert found, mark
    return found[1]


def gatepost(*words):
    done = subprocess.run(
        [*COMMAND, *map(str, words)], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def edge(tmp_path_factory):
    """What `gatepost init` makes, with the README's route to a port of Postfix."""
    folder = tmp_path_factory.mktemp("edge")
    port, behind = free_port(), free_port()
    gatepost("init", folder, "--hostname", "localhost", "--listen", f"127.0.0.1:{port}",
             "--upstream", f"127.0.0.1:{behind}")  # fmt: skip
    made = (folder / "gatepost.toml").read_text()
    route = block("route").replace("127.0.0.1:10025", f"127.0.0.1:{behind}")
    settings = re.sub(r'\[route\."\*"\].*?(?=\n\[)', route, made, flags=re.DOTALL)
    assert settings != made
    gatepost("cert", "issue", "acme-billing", "--pin", "--senders", "@acme.example",
             "--config", folder / "gatepost.toml")  # fmt: skip
    relay = RelayProcess(folder, settings, (folder / "allowlist.toml").read_text())
    with relay:
        yield relay, behind


@pytest.fixture(scope="module")
def mx(edge):
    """The Postfix behind it, moved away by the README's line of master.cf."""
    relay, port = edge
    need_root("postfix")
    moved = Postfix.mx(
        relay.folder / "tls/edge.pem", relay.folder / "tls/edge.key", "example.org", ("postmaster",)
    )
    etc = moved.folder / "etc"
    main = (etc / "main.cf").read_text()
    (etc / "main.cf").write_text(re.sub(r"smtpd_tls_.*\n", "", main))
    master = (etc / "master.cf").read_text()
    line = block("master.cf").replace("127.0.0.1:10025 inet n - y", f"127.0.0.1:{port} inet n - n")
    (etc / "master.cf").write_text(re.sub(r"127\.0\.0\.1:\d+ inet .*\n", line, master))
    moved.port = port
    with moved as running:
        yield running


@pytest.fixture
def partner(edge):
    """Acme's Postfix, with the README's lines of main.cf."""
    relay, _ = edge
    clients, ca = relay.folder / "clients", relay.folder / "ca" / "root.pem"
    files = (clients / "acme-billing.pem", clients / "acme-billing.key")
    made = Postfix.client(*files, ca, relay.port)
    (made.folder / "acme-billing.pem").write_bytes(files[0].read_bytes())
    (made.folder / "acme-billing.key").write_bytes(files[1].read_bytes())
    (made.folder / "gatepost-root.pem").write_bytes(ca.read_bytes())
    path = made.folder / "etc" / "main.cf"
    lines = block("main.cf").replace("[edge.example.org]:25", f"[localhost]:{relay.port}")
    lines = lines.replace("edge.example.org", "localhost")
    lines = lines.replace("/etc/postfix", str(made.folder))
    before, _, _ = path.read_text().partition("relayhost")
    path.write_text(before + lines)
    with made as running:
        yield running


def test_a_partners_mail_arrives_as_its_identity(edge, mx, partner):
    partner.submit("billing@acme.example", "postmaster@example.org", CONTENT)
    line = partner.wait_for_status("postmaster@example.org", "sent")
    assert "queued as" in line  # the reply of the Postfix behind
    (mail,) = mx.wait_for_mail("postmaster")
    assert b"Gatepost-Identity: acme-billing; status=pinned" in mail
    assert mail.endswith(b"Please pay.\r\n")
    assert "client=" in mx.log()
    assert "127.0.0.1" in mx.log()


def test_a_partner_may_not_write_as_somebody_else(edge, mx, partner):
    partner.submit("ceo@bank.example", "postmaster@example.org", CONTENT)
    line = partner.wait_for_status("postmaster@example.org", "bounced")
    assert "550 5.7.1 acme-billing may not send as <ceo@bank.example> (ref" in line


def test_postfix_decides_about_recipients(edge, mx, partner):
    partner.submit("billing@acme.example", "nobody@example.org", CONTENT)
    line = partner.wait_for_status("nobody@example.org", "bounced")
    assert "550 5.1.1" in line


def test_gatepost_send_goes_the_same_way(edge, mx):
    relay, _ = edge
    clients = relay.folder / "clients"
    done = relay.command(
        "send", "--cert", str(clients / "acme-billing.pem"), "--key", str(clients / "acme-billing.key"),
        "--from", "billing@acme.example", "--to", "postmaster@example.org",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("delivered\n")
