"""Wrong input through the real command: one line with file, line and remedy, exit code 2, no traceback."""

import os
import re
import shutil
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)

from relay.cli.new_site import create_site
from tests.kit.pki import Authority

ROOT = Path(__file__).parents[2]
PIN = "spki:sha256:" + "ab" * 32


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    create_site(folder, "edge.example.com", listen="127.0.0.1:0")
    return folder


@pytest.fixture
def site(template, tmp_path):
    return shutil.copytree(template, tmp_path / "site")


def gatepost(site, *arguments, environ=None):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GATEPOST_")}
    return subprocess.run(
        [sys.executable, "-m", "relay.cli.main", *arguments, "--config", "gatepost.toml"],
        cwd=site,
        env={**clean, "PYTHONPATH": str(ROOT), **(environ or {})},
        capture_output=True,
        text=True,
        timeout=30,
    )


def assert_refused(outcome, pattern):
    assert outcome.returncode == 2, outcome
    assert outcome.stdout == ""
    (line,) = outcome.stderr.splitlines()
    assert re.match(pattern, line), line
    problem, _, remedy = line.partition("; ")
    assert problem
    assert remedy


# --- how to spoil a site ------------------------------------------------------------------------


def replace(old, new):
    """Change the configuration."""

    def spoil(site):
        path = site / "gatepost.toml"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return spoil


def append(text):
    def spoil(site):
        with (site / "gatepost.toml").open("a") as file:
            file.write(text)

    return spoil


def allow(text):
    def spoil(site):
        with (site / "allowlist.toml").open("a") as file:
            file.write(f"\n{text}\n")

    return spoil


def write(name, content):
    def spoil(site):
        (site / name).parent.mkdir(exist_ok=True)
        (site / name).write_bytes(content)

    return spoil


def remove(name):
    return lambda site: (site / name).unlink()


def route(*lines):
    """Replace the default route by one with these lines."""

    def spoil(site):
        path = site / "gatepost.toml"
        before, _, after = path.read_text().partition("hosts = [")
        limits = after[after.index("[limits]") :]
        path.write_text(before + "\n".join(lines) + "\n" + limits)

    return spoil


def second_listener(name, address):
    return append(
        f'[[listener]]\nname = "{name}"\naddress = "{address}"\n'
        'certificate = [{ chain = "tls/edge.pem", key = "tls/edge.key" }]\n'
    )


def open_signing_key(site):
    path = site / "s1.pem"
    path.write_bytes(Authority().issue("x").key_pem)
    path.chmod(0o644)
    append('[[dkim.key]]\ndomain = "example.org"\nselector = "s1"\nkey = "s1.pem"\n')(site)


def foreign_key(site):
    (site / "tls/edge.key").write_bytes(Authority().issue("x").key_pem)


def encrypted_key(site):
    pem = (
        Authority()
        .issue("x")
        .key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    )
    (site / "tls/edge.key").write_bytes(pem)


def expired_certificate(site):
    issued = Authority().issue(
        "edge", usages=("server",), not_before=datetime(2020, 1, 1, tzinfo=UTC), days=31
    )
    (site / "tls/edge.key").unlink()
    issued.write(site / "tls", "edge")


def leaf_as_ca(site):
    shutil.copy(site / "tls/edge.pem", site / "ca/root.pem")


def overlapping_pin(site):
    text = (site / "allowlist.toml").read_text()
    pins = re.search(r"^pins = .*$", text, re.MULTILINE)[0]
    allow(f'[[identity]]\nname = "second"\n{pins}')(site)


def directory_instead_of(name):
    def spoil(site):
        (site / name).unlink()
        (site / name).mkdir()

    return spoil


def dangling_link(name):
    def spoil(site):
        (site / name).unlink()
        (site / name).symlink_to("nowhere")

    return spoil


CONFIG = r"gatepost\.toml:\d+: "
ALLOWLIST = r"allowlist\.toml:\d+: "

CASES = {
    "unknown key": (replace("hostname =", "hostnam ="), CONFIG + "unknown key `hostnam`; did you mean `hostname`"),
    "unknown table": (append("[greylisting]\nenabled = true\n"), CONFIG + "unknown table `greylisting`; known here: "),
    "key in the wrong table": (append("[log]\nmax_errors = 5\n"), CONFIG + r"unknown key `log\.max_errors`; it belongs to \[limits\]"),
    "TOML syntax": (replace('hostname = "', "hostname = "), CONFIG + "no valid TOML at column"),
    "unclosed list": (append('[log]\nlevel = [ "x"\n'), CONFIG + "no valid TOML: "),
    "key twice in a file": (append("max_connections = 5\n"), CONFIG + "no valid TOML at column .*second time"),
    "not UTF-8": (write("gatepost.toml", b"hostname = '\xff'"), r"gatepost\.toml: not UTF-8 text"),
    "no configuration": (remove("gatepost.toml"), r"gatepost\.toml is not there; check the path, or make "),
    "configuration is a folder": (directory_instead_of("gatepost.toml"), r"gatepost\.toml is a folder; "),
    "configuration is a dangling link": (dangling_link("gatepost.toml"), r"gatepost\.toml is a dangling link; "),
    "wrong type": (append('max_errors = "many"\n'), CONFIG + r'`limits\.max_errors` = "many" is not a whole number; '),
    "out of range": (append("max_recipients = 5\n"), CONFIG + r"`limits\.max_recipients` = 5 is too small; use at least 100"),
    "bad duration": (append('[timeouts]\ncommand = "5 minutes"\n'), CONFIG + r"`timeouts\.command`: '5 minutes' is no duration; "),
    "bad size": (append('max_message_bytes = "25 Mb"\n'), CONFIG + r"`limits\.max_message_bytes`: '25 Mb' is no size; "),
    "budget below a message": (append('memory_budget = "1MB"\n'), CONFIG + "the largest message .* does not fit"),
    "bad network": (replace('tls = "starttls"', 'proxy_protocol_from = ["10.0.0.1/8"]'), CONFIG + r"`listener\.proxy_protocol_from`: '10\.0\.0\.1/8' is no network; "),
    "missing hostname": (replace("hostname =", "#"), r"gatepost\.toml: `hostname` is missing; add "),
    "hostname with a blank": (replace('"edge.example.com"', '"edge example"'), CONFIG + "`hostname` = "),
    "no listener": (write("gatepost.toml", b'hostname = "a.example"\n[route."*"]\nhosts = ["b"]\n'), r"gatepost\.toml: `listener` is missing; add "),
    "no route": (write("gatepost.toml", b'hostname="a.example"\n[[listener]]\nname="x"\naddress="127.0.0.1:0"\ncertificate=[{chain="c",key="k"}]\n'), r"gatepost\.toml: `route` is missing; add "),
    "route that is no domain": (replace('[route."*"]', '[route."@example.org"]'), CONFIG + 'route "@example.org" is no domain; '),
    "host without a number for its port": (route('hosts = ["mx:smtp"]'), CONFIG + r'`route\.hosts`: "mx:smtp" is no address with a port; '),
    "listener on a name": (replace("127.0.0.1:0", "localhost:2525"), CONFIG + r'`listener\.address`: "localhost" is a name; '),
    "listener without a port": (replace("127.0.0.1:0", "127.0.0.1"), CONFIG + r"`listener\.address`: .* names no port; "),
    "listener on an address of another machine": (replace("127.0.0.1:0", "192.0.2.1:2525"), CONFIG + r"cannot listen on 192\.0\.2\.1:2525"),
    "duplicate listener": (second_listener("edge", "127.0.0.1:2526"), CONFIG + 'two listeners are named "edge"; '),
    "two listeners on one address": (second_listener("more", "127.0.0.1:2526"), None),
    "country database that is not there": (append('[checks]\ncountry_database = "c.mmdb"\n'), CONFIG + r".*c\.mmdb can't be read as a country database; use "),
    "signing key that is not there": (append('[[dkim.key]]\ndomain = "example.org"\nselector = "s1"\nkey = "gone.pem"\n'), CONFIG + r".*gone\.pem is not there; check the path"),
    "signing key that others can read": (open_signing_key, CONFIG + r".*s1\.pem is open to other users \(mode 0644\); close it"),
    "signing key of no domain": (append('[[dkim.key]]\ndomain = "exa mple"\nselector = "s1"\nkey = "k.pem"\n'), CONFIG + r'`dkim\.key`: "exa mple" is no domain; write '),
    "selector that is none": (append('[[dkim.key]]\ndomain = "example.org"\nselector = "a/b"\nkey = "k.pem"\n'), CONFIG + r'`dkim\.key`: "a/b" is no selector; use '),
    "reports of nobody": (append("[dmarc_reports]\nenabled = true\n"), CONFIG + r'reports need somebody who sends them; add `sender = "dmarc@example\.org"`'),
    "reports of no mailbox": (append('[dmarc_reports]\nsender = "nobody"\n'), CONFIG + r'`dmarc_reports\.sender` = "nobody" is not allowed; write a mailbox'),
    "results of no name": (append('[authentication_results]\nauthserv_id = "a b"\n'), CONFIG + r'`authentication_results\.authserv_id` = "a b" is not allowed; write a name'),
    "two keys of one name": (append('[[dkim.key]]\ndomain = "example.org"\nselector = "a"\nkey = "k.pem"\n[[dkim.key]]\ndomain = "EXAMPLE.org"\nselector = "A"\nkey = "k.pem"\n'), CONFIG + r'two keys are "A" of EXAMPLE\.org; give each its own selector'),
    "removal of From": (replace('client_certificate = "required"', 'client_certificate = "required"\nremove_headers = ["From"]'), CONFIG + r"`remove_headers`: mail can't do without \"From\"; leave it out"),
    "removal of what is no field": (replace('client_certificate = "required"', 'client_certificate = "required"\nremove_headers = ["X-A: b"]'), CONFIG + r'`remove_headers`: "X-A: b" is no header field; write '),
    "watched domain that is none": (append('[doctor]\ndomains = ["a b"]\n'), CONFIG + r'`doctor\.domains`: "a b" is no domain; write '),
    "watched key that is none": (append('[doctor]\ndkim_keys = ["s1.example.org"]\n'), CONFIG + r'`doctor\.dkim_keys`: "s1\.example\.org" is no key; write '),
    "alert to nobody": (append('[doctor]\nmail_to = "postmaster"\n'), CONFIG + r'`doctor\.mail_to`: "postmaster" is no address; write '),
    "webhook that is none": (append('[doctor]\nwebhook = "ftp://x"\n'), CONFIG + r'`doctor\.webhook`: "ftp://x": .*; write '),
    "doctor who never rests": (append('[doctor]\nevery = "0s"\n'), CONFIG + r"`every` = 0 leaves no time at all; "),
    "list in the DNS without a zone": (append('[[checks.dnsbl.list]]\nzone = "zen"\n'), CONFIG + r"`checks\.dnsbl\.list\.zone`: 'zen' is no zone of a list; write it as "),
    "answer of a list": (append('[[checks.uri.list]]\nzone = "a.example"\nanswers = ["127.0.0"]\n'), CONFIG + r"`checks\.uri\.list\.answers`: '127\.0\.0' is no answer of a list; write it as "),
    "unknown tls word": (replace('tls = "starttls"', 'tls = "ssl"'), CONFIG + r'`listener\.tls` = "ssl" is not known; use starttls or implicit'),
    "plaintext listener": (replace('tls = "starttls"', 'tls = "off"'), CONFIG + r"`listener\.tls` = .* never taken in clear"),
    "dane, which comes later": (replace('tls = "verify"', 'tls = "dane"'), CONFIG + ".*comes with a later version"),
    "mta-sts, which comes later": (replace('tls = "verify"', 'tls = "mta-sts"'), CONFIG + ".*comes with a later version"),
    "plaintext to another machine": (route('hosts = ["10.0.0.1:25"]', 'tls = "off"'), CONFIG + '`tls` = "off" would send mail in clear to 10'),
    "fingerprint without pins": (route('hosts = ["a"]', 'tls = "fingerprint"'), CONFIG + ".*needs `pins`, and there are none; "),
    "pins without fingerprint": (route('hosts = ["a"]', f'pins = ["{PIN}"]', 'ca = ["ca/root.pem"]'), CONFIG + "`pins` say nothing with"),
    "bad pin of a route": (route('hosts = ["a"]', 'tls = "fingerprint"', 'pins = ["spki:sha256:abc"]'), CONFIG + r"`route\.pins`: .* is no SHA-256 digest; "),
    "missing key file": (remove("tls/edge.key"), None),
    "missing certificate file": (remove("tls/edge.pem"), None),
    "key that does not match": (foreign_key, None),
    "encrypted key": (encrypted_key, None),
    "key file is a folder": (directory_instead_of("tls/edge.key"), None),
    "key file is a dangling link": (dangling_link("tls/edge.key"), None),
    "certificate file without a certificate": (write("tls/edge.pem", b"hello"), None),
    "expired server certificate": (expired_certificate, CONFIG + r"the certificate in tls/edge\.pem expired on 2020-02-01; renew it"),
    "CA file that is a leaf": (leaf_as_ca, None),
    "missing CA file": (remove("ca/root.pem"), None),
    "missing allowlist": (remove("allowlist.toml"), CONFIG + r"the allowlist allowlist\.toml is not there; "),
    "allowlist with an unknown key": (allow('[[identity]]\nname = "x"\npin = ["x"]'), ALLOWLIST),
    "bad pin": (allow('[[identity]]\nname = "x"\npins = ["spki:sha256:xyz"]'), ALLOWLIST + ".* is no SHA-256 digest; "),
    "pin that does not say of what": (allow(f'[[identity]]\nname = "x"\npins = ["{PIN[5:]}"]'), ALLOWLIST + ".* does not say what was hashed; "),
    "overlapping pin": (overlapping_pin, ALLOWLIST),
    "duplicate identity": (allow(f'[[identity]]\nname = "first"\npins = ["{PIN}"]'), ALLOWLIST),
    "identity without pins or names": (allow('[[identity]]\nname = "x"'), ALLOWLIST),
    "bad sender pattern": (allow(f'[[identity]]\nname = "x"\npins = ["{PIN}"]\nsenders = ["example.org"]'), ALLOWLIST),
    "identity with a bad date": (allow(f'[[identity]]\nname = "x"\npins = ["{PIN}"]\nnot_after = "soon"'), ALLOWLIST),
    "allowlist that is no TOML": (allow("[[identity]"), ALLOWLIST),
    "conflict with conf.d": (write("conf.d/10.toml", b'\nhostname = "x.example"\n'), r"conf\.d/10\.toml:2: `hostname` is set in gatepost\.toml:5 too; "),
    "mistake in conf.d": (write("conf.d/10.toml", b"[limits]\nmax_error = 1\n"), r"conf\.d/10\.toml:2: unknown key `limits\.max_error`; did you mean `max_errors`"),
    "unknown user": (replace("state_dir =", 'user = "no-such-user"\nstate_dir ='), CONFIG + "there is no user 'no-such-user'; "),
    "state folder that is a file": (write("state", b""), CONFIG + "the state folder state can't be used"),
}  # fmt: skip

# What one broken file does in all places that name it: as many lines as places.
SHARED_FILES = {
    "missing key file": r"tls/edge\.key is not there; check the path",
    "missing certificate file": r"tls/edge\.pem is not there; check the path",
    "key that does not match": r"tls/edge\.key is not the key of tls/edge\.pem; name the key",
    "encrypted key": r"tls/edge\.key is encrypted; decrypt it",
    "key file is a folder": r"tls/edge\.key is a folder; name a file in it",
    "key file is a dangling link": r"tls/edge\.key is a dangling link; check the path",
    "certificate file without a certificate": r"tls/edge\.pem has no PEM certificate in it; it should",
    "CA file that is a leaf": r"ca/root\.pem holds a certificate that is no CA \(CN=edge\.example\.com\); name",
    "missing CA file": r"ca/root\.pem is not there; check the path",
}


def only_one_use(site):
    """Make the listener the only one to name the files that it shares with the route."""
    route('hosts = ["127.0.0.1:2526"]', 'tls = "off"')(site)


@pytest.mark.parametrize("case", CASES)
def test_run_refuses_to_start(site, case):
    spoil, pattern = CASES[case]
    spoil(site)
    if case in SHARED_FILES:
        only_one_use(site)
        pattern = CONFIG + SHARED_FILES[case]
    elif case == "two listeners on one address":
        second_listener("third", "0.0.0.0:2526")(site)
        pattern = CONFIG + r'listener "more" and listener "third" both listen on 0\.0\.0\.0:2526; '
    assert_refused(gatepost(site, "run"), pattern)


def test_a_port_in_use(site):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        replace("127.0.0.1:0", f"127.0.0.1:{port}")(site)
        outcome = gatepost(site, "run")
    assert_refused(outcome, CONFIG + rf"cannot listen on 127\.0\.0\.1:{port}: .*in use; ")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("command", ["run", "check"])
def test_a_user_who_cannot_read_the_program(site, command):
    """Modules are loaded when they are needed: each process would die of it, one later than the other."""
    replace("state_dir =", 'user = "nobody"\nstate_dir =')(site)
    (site / "relay").symlink_to(ROOT / "relay")  # this is where it is loaded from
    site.chmod(0o700)
    outcome = gatepost(site, command)
    assert_refused(
        outcome, CONFIG + "the user 'nobody' cannot read .*, which is part of the program; "
    )


@pytest.mark.parametrize(
    ("environ", "pattern"),
    [
        ({"GATEPOST_WORKERS": "many"}, r'\$GATEPOST_WORKERS: `workers` = "many" is not a whole number; '),
        ({"GATEPOST_HOST_NAME": "a.example"}, r"\$GATEPOST_HOST_NAME: unknown key `host_name`; did you mean `hostname`"),
        ({"GATEPOST_HOSTNAME_FILE": "/nowhere/at/all"}, r"\$GATEPOST_HOSTNAME_FILE: cannot read /nowhere/at/all: .*; check the path"),
    ],
)  # fmt: skip
def test_a_bad_override_in_the_environment(site, environ, pattern):
    assert_refused(gatepost(site, "run", environ=environ), pattern)


@pytest.mark.parametrize("case", ["unknown key", "bad pin", "expired server certificate"])
def test_check_refuses_in_the_same_words(site, case):
    spoil, pattern = CASES[case]
    spoil(site)
    assert_refused(gatepost(site, "check"), pattern)


def test_several_mistakes_are_a_line_each(site):
    append('max_errors = "many"\n[log]\nlevel = "loud"\n')(site)
    outcome = gatepost(site, "run")
    assert outcome.returncode == 2
    assert len(outcome.stderr.splitlines()) == 2
