"""The foreign programs that tests talk to: where they are, and how they get here.

`python -m tests.kit.apt` (`make peers`) installs what is missing, by apt where we are root; a test
asks `need("postfix")` and is skipped, with the name, where there is none. Exim and Postfix exclude
each other as packages, so Exim is unpacked below build/peers and run from there.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BUILD = Path(__file__).resolve().parents[2] / "build"
UNPACKED = BUILD / "peers"
SSLYZE = BUILD / "sslyze-venv"
MAILAUTH = BUILD / "npm/node_modules/mailauth"

PACKAGES = {  # program: packages that bring it
    "postfix": ("postfix",),
    "swaks": ("swaks", "libnet-ssleay-perl"),
    "msmtp": ("msmtp",),
    "curl": ("curl",),
    "openssl": ("openssl",),
    "opendkim": ("opendkim",),
    "redis-server": ("redis-server",),
    "knotd": ("knot",),
    "unbound": ("unbound",),
}
EXIM_LIBRARIES = ("libgnutls-dane0", "libidn12", "libnsl2", "libpcre2-8-0", "libdb5.3")
EXIM_USER = "Debian-exim"
NO_SERVICES = Path("/usr/sbin/policy-rc.d")
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def find(program: str) -> str | None:
    """Return the path of a program, None if it is not installed."""
    if program == "exim":
        binary = UNPACKED / "usr/sbin/exim4"
        return str(binary) if binary.exists() and _has_user(EXIM_USER) else None
    if program == "sslyze":
        return str(SSLYZE / "bin/sslyze") if (SSLYZE / "bin/sslyze").exists() else None
    if program == "mailauth":
        return str(MAILAUTH) if (MAILAUTH / "package.json").exists() else None
    return shutil.which(program, path=_PATH)


def need(program: str) -> str:
    """Return the path of a program, or skip the test that asks."""
    if (found := find(program)) is None:
        pytest.skip(f"{program} is not installed (`make peers` as root)")
    return found


def need_root(program: str) -> str:
    """Return the path of a server that drops privileges by itself, or skip the test."""
    if os.geteuid() != 0:
        pytest.skip(f"{program} as a private instance needs root")
    return need(program)


def install() -> list[str]:
    """Bring in what is missing; returns the names of what could not be had."""
    everything = [*PACKAGES, "exim", "sslyze", "mailauth"]
    if all(find(program) for program in everything):
        return []
    steps = [_install_sslyze, _install_mailauth]
    if os.geteuid() == 0 and shutil.which("apt-get"):
        steps += [_install_packages, _unpack_exim]
    for step in steps:
        try:
            step()
        except (OSError, subprocess.SubprocessError) as error:
            print(f"peers: {error}", file=sys.stderr)  # noqa: T201 - the tests that need it skip
    return [program for program in everything if find(program) is None]


def _install_packages() -> None:
    wanted = [p for program, names in PACKAGES.items() if not find(program) for p in names]
    if not find("exim"):
        wanted += EXIM_LIBRARIES
    if not wanted:
        return
    silenced = not NO_SERVICES.exists()
    if silenced:  # apt would start a mail server on port 25
        NO_SERVICES.write_text("#!/bin/sh\nexit 101\n")
        NO_SERVICES.chmod(0o755)
    try:
        _apt("update", "-q")
        _apt("install", "-y", "-q", "--no-install-recommends", *wanted)
    finally:
        if silenced:
            NO_SERVICES.unlink()


def _unpack_exim() -> None:
    if find("exim"):
        return
    UNPACKED.mkdir(parents=True, exist_ok=True)
    _apt("download", "-q", "exim4-daemon-light", folder=UNPACKED)
    for package in UNPACKED.glob("exim4-daemon-light_*.deb"):
        _run(["dpkg", "-x", str(package), str(UNPACKED)])
        package.unlink()
    if not _has_user(EXIM_USER):  # the binary looks it up at each start
        _run(["useradd", "--system", "--no-create-home", "--user-group", EXIM_USER])


def _install_sslyze() -> None:
    if find("sslyze"):
        return
    _run([sys.executable, "-m", "venv", str(SSLYZE)])
    _run([str(SSLYZE / "bin/python"), "-m", "pip", "install", "-q", "sslyze>=6,<7"])


def _install_mailauth() -> None:
    if find("mailauth") or not find("npm"):
        return
    folder = MAILAUTH.parents[1]
    folder.mkdir(parents=True, exist_ok=True)
    _run(
        [
            "npm",
            "install",
            "--silent",
            "--no-audit",
            "--no-fund",
            "--prefix",
            str(folder),
            "mailauth@4",
        ]
    )


def _apt(*arguments: str, folder: Path | None = None) -> None:
    _run(["apt-get", *arguments], folder)


def _run(command: list[str], folder: Path | None = None) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "PATH": _PATH}
    done = subprocess.run(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True,
        text=True, timeout=600, check=False,
    )  # fmt: skip
    if done.returncode:
        raise OSError(f"{' '.join(command[:3])}: {done.stderr.strip()[-300:]}")


def _has_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


if __name__ == "__main__":
    missing = install()
    if missing:
        print(f"peers: not here: {', '.join(missing)}; their tests will be skipped")  # noqa: T201
