"""Any file: settings, or mistakes of one line each with a remedy; nothing else escapes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given

from relay.config import load
from relay.errors import ConfigurationError
from tests.kit.fuzz import fuzz_settings, mutated

if TYPE_CHECKING:
    from pathlib import Path

SEEDS = [
    b'hostname = "edge.example.org"\nworkers = 2\nuser = "gatepost"\n',
    (
        b'[[listener]]\nname = "in"\naddress = "127.0.0.1:25"\nbanner_delay = "5s"\n'
        b'certificate = [{ chain = "c.pem", key = "k.pem" }]\nproxy_protocol_from = ["10.0.0.0/8"]\n'
    ),
    b'[route."*"]\nhosts = ["mx.example.org:25", "[2001:db8::1]"]\ntls = "fingerprint"\n'
    b'pins = ["spki:sha256:' + b"ab" * 32 + b'"]\nfinal_timeout = "10m"\n',
    b"[limits]\nmax_message_bytes = 1000\nmemory_budget = '1GiB'\n[timeouts]\ndata = '1h30m'\n",
    b'[audit]\npath = """a\nb"""\n[log]\nlevel = "info"\n[a.b]\nc.d = [1, {e = 2}]\n',
]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("config") / "gatepost.toml"


@fuzz_settings()
@given(text=mutated(SEEDS))
def test_only_configuration_errors_escape(file: Path, text: bytes) -> None:
    file.write_bytes(text)
    try:
        settings = load(file, {}).settings
    except ConfigurationError as error:
        for mistake in (error, *error.others):
            line = str(mistake)
            assert line.startswith(str(file))
            assert mistake.remedy
            assert len(line.splitlines()) == 1
    else:
        assert settings.hostname
