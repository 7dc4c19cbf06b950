"""From files and environment to settings; every mistake with its place and a remedy."""

from datetime import timedelta
from pathlib import Path

import pytest

from relay.config import load
from relay.errors import ConfigurationError

GOOD = """\
hostname = "edge.example.org"

[[listener]]
name = "partners"
address = "127.0.0.1:2525"
certificate = [{ chain = "tls/edge.pem", key = "tls/edge.key" }]

[route."*"]
hosts = ["127.0.0.1:2526"]
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "gatepost.toml").write_text(GOOD)
    return tmp_path


def read(folder, environ=None):
    return load(folder / "gatepost.toml", environ or {})


def mistakes(folder, environ=None):
    with pytest.raises(ConfigurationError) as caught:
        read(folder, environ)
    lines = [str(each) for each in (caught.value, *caught.value.others)]
    assert all("\n" not in line and "; " in line for line in lines)
    return [line.removeprefix(f"{folder}/") for line in lines]


def change(folder, old, new):
    assert old in GOOD
    (folder / "gatepost.toml").write_text(GOOD.replace(old, new))


def append(folder, text):
    (folder / "gatepost.toml").write_text(GOOD + text)


def drop_in(folder, name, text):
    (folder / "conf.d").mkdir(exist_ok=True)
    (folder / "conf.d" / name).write_text(text)


# --- what is read -----------------------------------------------------------------------------


def test_paths_are_relative_to_the_file_that_names_them(folder):
    drop_in(
        folder,
        "10-more.toml",
        'allowlist = "list.toml"\n[[listener]]\nname = "more"\naddress = "127.0.0.1:2527"\n'
        'certificate = [{ chain = "/abs/c.pem", key = "k.pem" }]\n',
    )
    settings = read(folder).settings
    assert settings.state_dir == folder / "state"
    assert settings.allowlist == folder / "conf.d/list.toml"
    assert settings.audit.path == folder / "state/audit.jsonl"
    assert settings.listener[0].certificate[0].chain == folder / "tls/edge.pem"
    assert settings.listener[1].certificate[0].chain == Path("/abs/c.pem")
    assert settings.listener[1].certificate[0].key == folder / "conf.d/k.pem"


def test_an_absolute_audit_path_stays(folder):
    append(folder, '[audit]\npath = "/var/log/gatepost/audit.jsonl"\n')
    assert read(folder).settings.audit.path == Path("/var/log/gatepost/audit.jsonl")


def test_drop_ins_are_merged_in_the_order_of_their_names(folder):
    drop_in(folder, "20.toml", "[limits]\nmax_errors = 3\n")
    drop_in(folder, "10.toml", '[limits]\nmax_recipients = 200\n[route."b.example"]\nhosts=["b"]\n')
    drop_in(folder, ".30.toml", "nonsense")
    drop_in(folder, "notes.txt", "nonsense")
    configuration = read(folder)
    limits = configuration.settings.limits
    assert (limits.max_errors, limits.max_recipients) == (3, 200)
    assert set(configuration.settings.route) == {"*", "b.example"}
    assert [path.name for path in configuration.sources] == ["gatepost.toml", "10.toml", "20.toml"]


def test_every_key_knows_where_it_was_set(folder):
    drop_in(folder, "10.toml", '\n[[listener]]\nname = "Wrong"\n')
    assert mistakes(folder) == [
        'conf.d/10.toml:2: `listener.address` is missing; add `address = "0.0.0.0:25"`',
        (
            "conf.d/10.toml:2: `listener.certificate` is missing; "
            'add `certificate = [{ chain = "tls/edge.pem", key = "tls/edge.key" }]`'
        ),
        (
            'conf.d/10.toml:3: `listener.name` = "Wrong" is not allowed; '
            'use lower-case letters, digits, "-" and "_", at most 32'
        ),
    ]


def test_origins_for_mistakes_that_are_found_later(folder):
    drop_in(folder, "10.toml", "[limits]\nmax_errors = 3\n")
    configuration = read(folder)
    assert configuration.origin("listener", 0, "address").line == 5
    assert configuration.origin("listener", 0, "banner_delay").line == 3
    assert configuration.origin("timeouts", "data").line is None
    assert str(configuration.origin("limits", "max_errors")) == f"{folder}/conf.d/10.toml:2"
    error = configuration.mistake("bad", remedy="better", at=("route", "*", "hosts", 0))
    assert str(error) == f"{folder}/gatepost.toml:9: bad; better"


def test_all_named_files_are_there_to_be_watched(folder):
    append(folder, 'ca = ["ca/root.pem"]\nclient_certificate = { chain = "c", key = "k" }\n')
    names = {str(path.relative_to(folder)) for path in read(folder).files()}
    assert names == {
        *("gatepost.toml", "conf.d", "allowlist.toml", "tls/edge.pem", "tls/edge.key"),
        *("ca/root.pem", "c", "k"),
    }


# --- the environment --------------------------------------------------------------------------


def test_the_environment_wins_over_files(folder):
    (folder / "name").write_text("secret.example.org\n")
    settings = read(
        folder,
        {
            "GATEPOST_HOSTNAME_FILE": str(folder / "name"),
            "GATEPOST_LIMITS__MAX_RECIPIENTS": "300",
            "GATEPOST_LIMITS__MAX_MESSAGE_BYTES": "25MiB",
            "GATEPOST_TIMEOUTS__COMMAND": "1m30s",
            "GATEPOST_LISTENER__0__ADDRESS": "[::1]:2525",
            "GATEPOST_LISTENER__0__CLIENT_CA": '["ca/root.pem"]',
            "GATEPOST_ROUTE": '{ "*" = { hosts = ["mx:25"], xclient = true } }',
            "GATEPOST_ROUTE__EXAMPLE.ORG__HOSTS": '["mx2:25"]',
        },
    ).settings
    assert settings.hostname == "secret.example.org"
    assert settings.limits.max_recipients == 300
    assert settings.limits.max_message_bytes == 25 * 1024**2
    assert settings.timeouts.command == timedelta(seconds=90)
    assert settings.listener[0].address == "[::1]:2525"
    assert settings.listener[0].client_ca == (folder / "ca/root.pem",)
    assert settings.route["*"].xclient
    assert settings.route["example.org"].hosts == ("mx2:25",)


def test_an_empty_file_and_the_environment_are_enough(folder):
    (folder / "gatepost.toml").write_text("")
    settings = read(
        folder,
        {
            "GATEPOST_HOSTNAME": "edge.example.org",
            "GATEPOST_LISTENER__0__NAME": "in",
            "GATEPOST_LISTENER__0__ADDRESS": "0.0.0.0:25",
            "GATEPOST_LISTENER__0__CERTIFICATE": '[{ chain = "c.pem", key = "k.pem" }]',
            "GATEPOST_ROUTE__EXAMPLE.ORG__HOSTS": '["mx"]',
        },
    ).settings
    assert settings.listener[0].name == "in"


@pytest.mark.parametrize(
    "variable",
    ["GATEPOST_CONFIG", "GATEPOST_CA_PASSPHRASE", "GATEPOST_PORT", "GATEPOST_PORT_25_TCP_ADDR",
     "GATEPOST_SERVICE_HOST", "GATEPOST_SERVICE_PORT_SMTP", "GATEPOST_FUZZ_EXAMPLES"],
)  # fmt: skip
def test_variables_that_are_no_settings_are_let_be(folder, variable):
    assert read(folder, {variable: "tcp://10.0.0.1:25"}).settings.hostname == "edge.example.org"


@pytest.mark.parametrize(
    ("environ", "line"),
    [
        ({"GATEPOST_HOSTNAM": "x"}, "$GATEPOST_HOSTNAM: unknown key `hostnam`; did you mean `hostname`?"),
        ({"GATEPOST_WORKERS": "many"}, '$GATEPOST_WORKERS: `workers` = "many" is not a whole number; write it in digits, without quotes'),
        ({"GATEPOST_HOSTNAME__X": "1"}, '$GATEPOST_HOSTNAME__X: there is nothing that "x" could be a part of; see docs/configuration.md for the tables and their keys'),
        ({"GATEPOST_LISTENER__7__NAME": "x"}, '$GATEPOST_LISTENER__7__NAME: there is nothing that "7" could be a part of; see docs/configuration.md for the tables and their keys'),
        ({"GATEPOST_HOSTNAME": "a", "GATEPOST_HOSTNAME_FILE": "b"}, "$GATEPOST_HOSTNAME_FILE: $GATEPOST_HOSTNAME is set too; keep one of the two"),
        ({"GATEPOST_USER_FILE": "/nowhere"}, "$GATEPOST_USER_FILE: cannot read /nowhere: No such file or directory; check the path and its mode"),
        ({"GATEPOST_LISTENER__0__TLS": "off"}, '$GATEPOST_LISTENER__0__TLS: `listener.tls` = "off" is not known; mail is never taken in clear; use starttls or implicit'),
    ],
)  # fmt: skip
def test_mistakes_in_the_environment_name_the_variable(folder, environ, line):
    assert mistakes(folder, environ) == [line]


# --- mistakes in files ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("hostname =", "hostnam =", "gatepost.toml:1: unknown key `hostnam`; did you mean `hostname`?"),
        ('"*"]', '"*"]\nmax_recipients = 5', 'gatepost.toml:9: unknown key `route."*".max_recipients`; it belongs to [limits]'),
        ('"*"]', '"*"]\ngreylisting = 5', 'gatepost.toml:9: unknown key `route."*".greylisting`; known here: hosts, tls, '),
        ('"*"]', '"*"]\ntls = "dane"', 'gatepost.toml:9: `route."*".tls` = "dane" is not known; it comes with a later version'),
        ('"*"]', '"*"]\ntls = "may"', 'gatepost.toml:9: `route."*".tls` = "may" is not known; use verify, fingerprint or off'),
        ('"*"]', '"*"]\nconnect_timeout = "5 min"', "gatepost.toml:9: `route.\"*\".connect_timeout`: '5 min' is no duration; write it as"),
        ('"*"]', '"*"]\nconnect_timeout = 30', 'gatepost.toml:9: `route."*".connect_timeout`: a duration is text with a unit; write it as'),
        ('"*"]', '"*"]\nconnect_timeout = "0s"', "gatepost.toml:9: `connect_timeout` = 0 leaves no time at all; "),
        ('"*"]', '"*"]\nxclient = "sure"', 'gatepost.toml:9: `route."*".xclient` = "sure" is not true or false; '),
        ('hosts = ["127.0.0.1:2526"]', 'hosts = "127.0.0.1"', 'gatepost.toml:9: `route."*".hosts` = "127.0.0.1" is not a list; put it in brackets'),
        ('hosts = ["127.0.0.1:2526"]', "hosts = []", 'gatepost.toml:9: `route."*".hosts` is empty; add `hosts'),
        ('hosts = ["127.0.0.1:2526"]', "hosts = [25]", 'gatepost.toml:9: `route."*".hosts` = 25 is not text; write it in quotes'),
        ('"127.0.0.1:2526"', '"mx:smtp"', 'gatepost.toml:9: `route.hosts`: "mx:smtp" is no address with a port; write it as'),
        ('"127.0.0.1:2526"', '"mx:0"', 'gatepost.toml:9: `route.hosts`: "mx:0" has port 0; use'),
        ('"127.0.0.1:2526"', '"mx:99999"', "gatepost.toml:9: `route.hosts`: 99999 is no port; use"),
        ('"127.0.0.1:2526"', '"2001:db8::1"', 'gatepost.toml:9: `route.hosts`: "2001:db8::1" is no address with a port; write it as'),
        ('"127.0.0.1:2526"', '"300.1.1.1"', 'gatepost.toml:9: `route.hosts`: "300.1.1.1" is neither a host name nor an IP address; '),
        ('"127.0.0.1:2526"]', '"10.0.0.1:25"]\ntls = "off"', 'gatepost.toml:10: `tls` = "off" would send mail in clear to 10.0.0.1:25; '),
        ('"127.0.0.1:2526"]', '"10.0.0.1:25"]\ntls = "fingerprint"', 'gatepost.toml:10: `tls` = "fingerprint" needs `pins`, and there are none; '),
        ('"127.0.0.1:2526"]', '"mx"]\npins = ["cert:sha256:' + "0" * 64 + '"]', 'gatepost.toml:10: `pins` say nothing with `tls` = "verify"; '),
        ('"127.0.0.1:2526"]', '"mx"]\ntls = "fingerprint"\npins = ["sha256:' + "0" * 64 + '"]', "gatepost.toml:11: `route.pins`: 'sha256:000"),
        ('"127.0.0.1:2526"]', '"localhost"]\ntls = "off"\nclient_certificate = {chain="c",key="k"}', 'gatepost.toml:11: `client_certificate` cannot be shown with `tls` = "off"; '),
        ('"*"]', '"example.org."]', 'gatepost.toml:8: route "example.org." is no domain; leave out the final dot: "example.org"'),
        ('"*"]', '"info@example.org"]', 'gatepost.toml:8: route "info@example.org" is no domain; routes go by domain'),
        ('"*"]', '"*example.org"]', 'gatepost.toml:8: route "*example.org" is no domain; write'),
        ('"edge.example.org"', '"edge_x"', 'gatepost.toml:1: `hostname` = "edge_x" is not allowed; write a host name'),
        ('"edge.example.org"', '"192.0.2.1"', 'gatepost.toml:1: `hostname` = "192.0.2.1" is no host name; write'),
        ('"edge.example.org"', "7", "gatepost.toml:1: `hostname` = 7 is not text; write it in quotes"),
        ('"127.0.0.1:2525"', '"127.0.0.1"', 'gatepost.toml:5: `listener.address`: "127.0.0.1" names no port; write it as'),
        ('"127.0.0.1:2525"', '"localhost:2525"', 'gatepost.toml:5: `listener.address`: "localhost" is a name; write the IP'),
        ('"127.0.0.1:2525"', '"unix:gatepost.sock"', 'gatepost.toml:5: `listener.address`: "unix:gatepost.sock" is no absolute path; '),
        ('"127.0.0.1:2525"', '"127.0.0.1:2525"\nclient_certificate = "off"', 'gatepost.toml:6: listener "partners" identifies nobody'),
        ('"127.0.0.1:2525"', '"127.0.0.1:2525"\nproxy_protocol_from = ["10.0.0.0/8", "10.0.0.1/8"]', "gatepost.toml:6: `listener.proxy_protocol_from`: '10.0.0.1/8' is no network; "),
        ('"127.0.0.1:2525"', '"127.0.0.1:2525"\nmax_connections_per_address = -1', "gatepost.toml:6: `listener.max_connections_per_address` = -1 is too small; use at least 0"),
        ('[{ chain = "tls/edge.pem", key = "tls/edge.key" }]', '{ chain = "tls/edge.pem", key = "k" }', "gatepost.toml:6: `listener.certificate` = "),
        ('key = "tls/edge.key"', 'kee = "x"', "gatepost.toml:6: unknown key `listener.certificate.kee`; did you mean `key`?"),
        ("[[listener]]", "[listener]", "gatepost.toml:3: `listener` = "),
        ("hostname", "workers = 999\nhostname", "gatepost.toml:1: `workers` = 999 is too large; use at most 256"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_with_place_problem_and_remedy(folder, old, new, line):
    change(folder, old, new)
    assert mistakes(folder)[0].startswith(line)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[limits]\nmax_message_bytes = '64 Mb'\n", "gatepost.toml:11: `limits.max_message_bytes`: '64 Mb' is no size; write it as"),
        ("[limits]\nmax_message_bytes = 0\n", "gatepost.toml:11: no message would be small enough; use"),
        ("[limits]\nmemory_budget = 1000\n", "gatepost.toml:11: the largest message (67108864 bytes) does not fit into `memory_budget` (1000 bytes); "),
        ("[limit]\nmax_errors = 1\n", "gatepost.toml:10: unknown table `limit`; did you mean `limits`?"),
        ("[zebra]\nx = 1\n", "gatepost.toml:10: unknown table `zebra`; known here: hostname, "),
        ('[route."EXAMPLE.org"]\nhosts=["a"]\n[route."example.org"]\nhosts=["a"]', 'gatepost.toml:12: routes "EXAMPLE.org" and "example.org" are for the same domain; '),
        ("[timeouts]\ndata = '0s'\n", "gatepost.toml:11: `data` = 0 leaves no time at all; "),
        ("[revocation]\ntimeout = '0s'\n", "gatepost.toml:11: `timeout` = 0 leaves no time at all; "),
        ("[[revocation.authority]]\ncertificate = 'ca.pem'\n", "gatepost.toml:10: this `[[revocation.authority]]` says nothing about its CA; add `mode`, "),
        ("[[revocation.authority]]\ncertificate = 'ca.pem'\ncrl_urls = ['ldap://ca.example']\n", 'gatepost.toml:12: `crl_urls`: "ldap://ca.example": LDAP is not spoken here'),
        ("[revocation]\nfetch = false\n[[revocation.authority]]\ncertificate = 'ca.pem'\ncrl_urls = ['http://ca.example/crl']\n", "gatepost.toml:14: `crl_urls` say nothing with `revocation.fetch = false`; "),
        ("[[revocation.authority]]\ncertificate = 'ca.pem'\nocsp_urls = ['ftp://ca.example']\n", 'gatepost.toml:12: `ocsp_urls`: "ftp://ca.example": only http and https are fetched'),
        ("[revocation]\nsources = ['crl']\n[[revocation.authority]]\ncertificate = 'ca.pem'\nocsp_urls = ['http://ca.example']\n", "gatepost.toml:14: `ocsp_urls` say nothing without `ocsp` in `revocation.sources`; "),
        ("[revocation]\nsources = ['crl', 'crl']\n", "gatepost.toml:11: `sources` names one of them twice; "),
        ("[revocation]\nsources = []\n", "gatepost.toml:11: "),
        ("[ca]\nurl = 'ftp://ca.example'\n", 'gatepost.toml:11: `ca.url` = "ftp://ca.example" is not allowed; write it as "http'),
        ("[ca]\naddress = '0.0.0.0'\n", 'gatepost.toml:11: `ca.address`: "0.0.0.0" names no port; '),
        ("[ca]\naddress = 'ca.example:80'\n", 'gatepost.toml:11: `ca.address`: "ca.example" is a name; '),
        ("[ca]\naddress = '127.0.0.1:2525'\n", 'gatepost.toml:11: listener "partners" and [ca] both listen on 127.0.0.1:2525; '),
        ("[ca]\naddress = '0.0.0.0:80'\n[admin]\naddress = '127.0.0.1:80'\n", "gatepost.toml:13: [ca] and [admin] both listen on 127.0.0.1:80; "),
        ("[est]\naddress = '0.0.0.0:8443'\n", "gatepost.toml:11: `[est]` has no certificate; add `certificate"),
        ("[est]\naddress = 'unix:/est'\ncertificate = { chain = 'c', key = 'k' }\n", "gatepost.toml:11: `[est]` is for other machines"),
        ("[dns]\ntimeout = '0s'\n", "gatepost.toml:11: `timeout` = 0 leaves no time at all; "),
        ("[dns]\nattempts = 0\n", "gatepost.toml:11: `dns.attempts` = 0 "),
        ("[dns]\nmin_ttl = '2d'\n", "gatepost.toml:11: `min_ttl` is longer than `max_ttl`; lower it"),
        ("[dns]\nservers = ['dns.example.org']\n", 'gatepost.toml:11: `dns.servers`: "dns.example.org" is a name, and who would look it up?; write it as'),
        ("[dns]\nservers = ['192.0.2.1', 'tls://192.0.2.2']\n", 'gatepost.toml:11: `dns.servers`: "tls://192.0.2.2" does not say what name the server must prove; write it as'),
        ("[dns]\ntrust_ad = true\nservers = ['192.0.2.1']\n", 'gatepost.toml:12: `trust_ad` believes "192.0.2.1", but anybody on the way could change its answers; use '),
        ("[est]\nlifetime = '0s'\n", "gatepost.toml:11: `lifetime` = 0 leaves no time at all; "),
        ("[admin]\naddress = '0.0.0.0:9025'\n", 'gatepost.toml:11: `admin.address` = "0.0.0.0:9025" is open to other machines; use "127.0.0.1:9025"; if it must be'),
        ("[admin]\naddress = '[2001:db8::1]:9025'\n", 'gatepost.toml:11: `admin.address` = "[2001:db8::1]:9025" is open'),
    ],
)  # fmt: skip
def test_mistakes_further_down(folder, text, line):
    append(folder, text)
    assert [found[: len(line)] for found in mistakes(folder)] == [line]


STATE = "[state]\nkind = 'redis'\n"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[state]\nkind = 'postgres'\n", 'gatepost.toml:11: `state.kind` = "postgres" is not known; use sqlite, redis or memory'),
        ("[state]\nurl = ['redis://a']\n", 'gatepost.toml:11: `state.url` says nothing with `kind` = "sqlite"; '),
        ("[state]\ntimeout = '0s'\n", "gatepost.toml:11: `timeout` = 0 leaves no time at all; "),
        ("[state]\nprefix = 'a{b}'\n", 'gatepost.toml:11: `state.prefix` = "a{b}" is not allowed; use letters'),
        ("[state]\npassword = 12345\n", "gatepost.toml:11: `state.password` = ... is not text; write it in quotes"),
        (STATE, "gatepost.toml:11: `state.url` is missing; add `url = "),
        (STATE + "url = 'redis://a'\n", 'gatepost.toml:12: `state.url` = "redis://a" is not a list; put it in brackets'),
        (STATE + "url = ['http://a']\n", 'gatepost.toml:12: `state.url`: "http://a" is no address of a Valkey or Redis; write it as'),
        (STATE + "url = ['redis://:hunter2@a']\n", "gatepost.toml:12: `state.url`: an address holds no user and no password; use `username`"),
        (STATE + "url = ['redis://a/3']\n", 'gatepost.toml:12: `state.url`: "redis://a/3" has something behind the port; use `database`'),
        (STATE + "url = ['redis://a', 'redis://b']\n", "gatepost.toml:12: `state.url` names 2 servers, and a standalone one is one; set `topology`"),
        (STATE + "url = ['redis://a', 'rediss://b']\ntopology = 'cluster'\n", "gatepost.toml:12: `state.url` mixes redis:// and rediss://; use one"),
        (STATE + "url = ['redis://a']\nca = 'ca.pem'\n", "gatepost.toml:13: `state.ca` says nothing with redis://, which is not encrypted; write rediss://"),
        (STATE + "url = ['redis://a']\ntopology = 'sentinel'\n", "gatepost.toml:13: `state.service` is missing; add `service"),
        (STATE + "url = ['redis://a']\nservice = 'edge'\n", 'gatepost.toml:13: `state.service` says nothing with `topology` = "standalone"; '),
        (STATE + "url = ['redis://a']\ntopology = 'cluster'\ndatabase = 1\n", "gatepost.toml:14: a Cluster has the database 0 only; leave"),
        (STATE + "url = ['redis://a']\npassword = 'x'\npassword_file = 'y'\n", "gatepost.toml:14: `state.password` is set too; keep one"),
    ],
)  # fmt: skip
def test_mistakes_about_the_state(folder, text, line):
    append(folder, text)
    (found,) = mistakes(folder)
    assert found[: len(line)] == line
    assert "hunter2" not in found
    assert "12345" not in found


@pytest.mark.parametrize(
    "address", ["127.0.0.1:9025", "[::1]:9025", "unix:/run/gatepost/admin.sock"]
)
def test_probes_of_this_machine_need_no_confession(folder, address):
    append(folder, f'[admin]\naddress = "{address}"\n')
    assert read(folder).settings.admin.address == address


def test_probes_for_other_machines_do(folder):
    append(folder, '[admin]\naddress = "0.0.0.0:9025"\nunsafe_bind = true\n')
    assert read(folder).settings.admin.unsafe_bind


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("hostname = edge\n", "gatepost.toml:1: no valid TOML at column 12: Invalid value; text needs quotes"),
        ('a = "x', "gatepost.toml:1: no valid TOML: Unterminated string; "),
        ("a = [\n1,\n", "gatepost.toml:2: no valid TOML: "),
        ("a = 1\n\na = 2\n", "gatepost.toml:3: no valid TOML at column 6: Cannot overwrite a value; a key or [table] stands here for the second time"),
        ("[a]\n[a]\n", "gatepost.toml:2: no valid TOML at column 3: Cannot declare ('a',) twice; a key"),
        ("", 'gatepost.toml: `hostname` is missing; add `hostname = "edge.example.org"`'),
    ],
)  # fmt: skip
def test_what_is_no_toml_is_named_by_line(folder, text, line):
    (folder / "gatepost.toml").write_text(text)
    assert mistakes(folder)[0].startswith(line)


def test_all_mistakes_come_at_once_in_the_order_of_their_lines(folder):
    (folder / "gatepost.toml").write_text('[log]\nlevel = "loud"\nformat = 1\n')
    found = mistakes(folder)
    assert [line.partition(" ")[0] for line in found] == [
        *("gatepost.toml:",) * 3, "gatepost.toml:2:", "gatepost.toml:3:"
    ]  # fmt: skip


def test_a_key_in_two_files_is_a_mistake_that_names_both(folder):
    drop_in(folder, "10.toml", '\nhostname = "other.example.org"\n')
    assert mistakes(folder) == [
        f"conf.d/10.toml:2: `hostname` is set in {folder}/gatepost.toml:1 too; keep one of the two"
    ]


def test_two_listeners_may_not_meet(folder):
    def second(name, address):
        append(
            folder,
            f'[[listener]]\nname = "{name}"\naddress = "{address}"\ncertificate = [{{chain="c",key="k"}}]\n',
        )

    second("partners", "127.0.0.1:2527")
    assert mistakes(folder) == [
        'gatepost.toml:11: two listeners are named "partners"; give each its own name'
    ]
    for address in ("127.0.0.1:2525", "0.0.0.0:2525"):
        second("more", address)
        assert mistakes(folder) == [
            (
                f'gatepost.toml:12: listener "partners" and listener "more" both listen on {address}; '
                "give each its own address or port"
            )
        ]
    for address in ("[::]:2525", "127.0.0.2:2525", "127.0.0.1:2526", "unix:/run/x.sock"):
        second("more", address)
        assert len(read(folder).settings.listener) == 2


def test_free_ports_never_meet(folder):
    change(folder, "2525", "0")
    text = (folder / "gatepost.toml").read_text()
    (folder / "gatepost.toml").write_text(
        text + '[[listener]]\nname="b"\naddress="127.0.0.1:0"\ncertificate=[{chain="c",key="k"}]\n'
    )
    assert len(read(folder).settings.listener) == 2


@pytest.mark.parametrize("host", ["localhost:25", "127.9.9.9", "[::1]:25", "mail.localhost"])
def test_plaintext_to_this_machine_needs_no_confession(folder, host):
    change(folder, '["127.0.0.1:2526"]', f'["{host}"]\ntls = "off"')
    assert read(folder).settings.route["*"].tls == "off"


@pytest.mark.parametrize(
    "domain", ["example.org", "*.example.org", "bücher.example", "[192.0.2.1]"]
)
def test_route_keys(folder, domain):
    change(folder, '"*"', f'"{domain}"')
    assert list(read(folder).settings.route) == [domain]


def test_a_file_that_cannot_be_read(folder):
    path = folder / "gatepost.toml"
    path.write_bytes(b"hostname = '\xff'")
    assert mistakes(folder) == ["gatepost.toml: not UTF-8 text (byte 12); save it as UTF-8"]
    path.unlink()
    assert mistakes(folder)[0].startswith("gatepost.toml is not there; check the path, or make")
    path.symlink_to("nowhere")
    assert mistakes(folder)[0].startswith("gatepost.toml is a dangling link; ")
    path.unlink()
    path.mkdir()
    assert mistakes(folder)[0].startswith("gatepost.toml is a folder; name a file in it")


@pytest.mark.parametrize("server", ["127.0.0.1", "::1", "tls://192.0.2.1#dns.example.org"])
def test_dnssec_is_believed_of_servers_that_nobody_can_speak_for(folder, server):
    append(folder, f'[dns]\ntrust_ad = true\nservers = ["{server}"]\n')
    assert read(folder).settings.dns.trust_ad
