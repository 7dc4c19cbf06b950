"""What the settings name, read and checked: certificates, keys, CAs, pins, the allowlist.

It makes no OpenSSL object of them, and decides nothing about trust. Every mistake is reported at
the line of the setting that names the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from relay.certificate_files import (
    check_validity,
    pair_up,
    read_anchors,
    read_certificates,
    read_key,
    read_system_store,
)
from relay.config import read_file
from relay.country_database import CountryDatabase, open_country_database
from relay.dkim_keys import load_keyring, read_signing_key
from relay.errors import ConfigurationError
from relay.mailauth.keyring import NO_KEYS, Keyring
from relay.pki.allowlist import Allowlist, parse_allowlist
from relay.pki.pins import format_pin, parse_pin
from relay.policy_files import DEFAULTS, Policies, Stack, load_policies
from relay.state.redis_address import password_of, tls_context

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from relay.config import Configuration
    from relay.mailauth.signing import SigningKey
    from relay.net.tls import KeyPair
    from relay.pki.certificate import Certificate
    from relay.settings import Settings
    from relay.settings.listener import Listener
    from relay.settings.mailauth import DkimKey
    from relay.settings.revocation import RevocationAuthority
    from relay.settings.route import Route
    from relay.settings.state import State
    from relay.settings.table import CertificateFiles
    from relay.toml_lines import KeyPath

__all__ = [
    "AuthorityMaterial",
    "ListenerMaterial",
    "Material",
    "RouteMaterial",
    "additions_of",
    "load_material",
    "load_rules",
    "read_allowlist",
    "read_text",
]

_P = ParamSpec("_P")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class ListenerMaterial:
    """A listener's own certificates, and the CAs whose clients it knows by name."""

    key_pairs: tuple[KeyPair, ...]
    anchors: tuple[Certificate, ...]


@dataclass(frozen=True, slots=True)
class RouteMaterial:
    """A route's client certificate, the CAs it trusts, and its pins in canonical spelling."""

    key_pair: KeyPair | None
    anchors: tuple[Certificate, ...]
    pins: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AuthorityMaterial:
    """A CA of `[[revocation.authority]]`: its certificates (one name may have several keys)."""

    certificates: tuple[Certificate, ...]
    settings: RevocationAuthority


@dataclass(frozen=True)
class Material:
    """All that a relay is built from; none of it is read from a file again."""

    settings: Settings
    allowlist: Allowlist
    listeners: Mapping[str, ListenerMaterial]
    routes: Mapping[str, RouteMaterial]
    policies: Policies
    authorities: tuple[AuthorityMaterial, ...] = ()
    country_of: CountryDatabase | None = None
    keyring: Keyring = NO_KEYS


def load_material(configuration: Configuration, now: datetime | None = None) -> Material:
    """Read and check every file that the settings name.

    Args:
        configuration: what `config.load` gave.
        now: the time to check validity at; by default the present.

    Raises:
        ConfigurationError: the first mistake found; its `others` are the rest.
    """
    loader = _Loader(configuration, now or datetime.now(UTC))
    settings = configuration.settings
    listeners = {
        listener.name: loader.load_listener(("listener", position), listener)
        for position, listener in enumerate(settings.listener)
    }
    routes = {
        domain: loader.load_route(("route", domain), route)
        for domain, route in settings.route.items()
    }
    authorities = tuple(
        loader.load_authority(("revocation", "authority", position), authority)
        for position, authority in enumerate(settings.revocation.authority)
    )
    loader.check_http(settings)
    allowlist = loader.load_allowlist()
    policies = loader.load_policies(allowlist)
    country_of = loader.load_countries(settings.checks.country_database)
    keyring = load_keyring(settings.dkim, loader.load_signing_key)
    loader.check_state(settings.state)
    loader.raise_mistakes()
    return Material(
        settings, allowlist, listeners, routes, policies, authorities, country_of, keyring
    )


def load_rules(configuration: Configuration) -> tuple[Allowlist, Policies]:
    """Read and check only who is known and which rules there are.

    Raises:
        ConfigurationError: the first mistake found; its `others` are the rest.
    """
    loader = _Loader(configuration, datetime.now(UTC))
    allowlist = loader.load_allowlist()
    policies = loader.load_policies(allowlist)
    loader.raise_mistakes()
    return allowlist, policies


def read_allowlist(path: Path) -> tuple[str, Allowlist]:
    """Read an allowlist; return its text too, for the workers.

    Raises:
        ConfigurationError: it cannot be read, or has mistakes.
    """
    text = read_text(path)
    return text, parse_allowlist(text, path)


def additions_of(allowlist: Allowlist) -> frozenset[Stack]:
    """Return the policy files of its identities, each set of them once."""
    return frozenset(each.policy for each in allowlist if each.policy)


def read_text(path: Path | str) -> str:
    """Read a text file that the operator names.

    Raises:
        ConfigurationError: it cannot be read (without a place, which the caller may add), or is no UTF-8.
    """
    try:
        return read_file(Path(path)).decode()
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"not UTF-8 text (byte {error.start})", remedy="save it as UTF-8", path=path
        ) from None


class _Loader:
    """Reads what the settings name, and keeps the mistakes until all has been read."""

    def __init__(self, configuration: Configuration, now: datetime) -> None:
        self._configuration = configuration
        self._now = now
        self._mistakes: list[ConfigurationError] = []
        self._system_store: tuple[Certificate, ...] | None = None

    def load_listener(self, key: KeyPath, listener: Listener) -> ListenerMaterial:
        pairs = (
            self._load_pair((*key, "certificate", position), files, is_server=True)
            for position, files in enumerate(listener.certificate)
        )
        return ListenerMaterial(
            tuple(pair for pair in pairs if pair is not None),
            self._load_anchors((*key, "client_ca"), listener.client_ca),
        )

    def load_route(self, key: KeyPath, route: Route) -> RouteMaterial:
        anchors: tuple[Certificate, ...] = ()
        if route.tls == "verify":
            anchors = self._load_anchors((*key, "ca"), route.ca)
            if not route.ca:
                anchors = self._load_system_store(key)
        files, pair = route.client_certificate, None
        if files is not None:
            pair = self._load_pair((*key, "client_certificate"), files, is_server=False)
        # `consistency` has checked that they are pins.
        return RouteMaterial(pair, anchors, tuple(format_pin(parse_pin(pin)) for pin in route.pins))

    def load_authority(self, key: KeyPath, authority: RevocationAuthority) -> AuthorityMaterial:
        for position, path in enumerate(authority.crl_files):
            self._attempt((*key, "crl_files", position), _check_presence, path)
        certificates = self._attempt((*key, "certificate"), read_anchors, authority.certificate)
        return AuthorityMaterial(certificates or (), authority)

    def check_http(self, settings: Settings) -> None:
        """What `[ca] address` and `[est] address` need; their process reads it again for itself."""
        if settings.ca.address or settings.est.address:
            self._attempt(("ca", "folder"), _check_ca, settings.ca.folder)
        if settings.est.address and settings.est.certificate is not None:
            self._load_pair(("est", "certificate"), settings.est.certificate, is_server=True)

    def load_countries(self, path: Path | None) -> CountryDatabase | None:
        if path is None:
            return None
        return self._attempt(("checks", "country_database"), open_country_database, path)

    def load_allowlist(self) -> Allowlist:
        path = self._configuration.settings.allowlist
        return self._attempt(("allowlist",), _read_present_allowlist, path) or Allowlist()

    def load_policies(self, allowlist: Allowlist) -> Policies:
        stacks: dict[str, tuple[str, ...]] = {}
        for position, listener in enumerate(self._configuration.settings.listener):
            places = ((name, ("listener", position, "policy", number))
                      for number, name in enumerate(listener.policy))  # fmt: skip
            stacks[listener.name] = tuple(self._policy_path(*each) for each in places)
        additions = additions_of(allowlist)
        for path in sorted({path for addition in additions for path in addition}):
            self._attempt(("allowlist",), read_text, path)
        found = self._attempt((), load_policies, stacks, read_text, additions)
        return found or Policies({}, frozenset(), {}, {})

    def _policy_path(self, name: str, key: KeyPath) -> str:
        """A policy file's path, relative to the file that names it; noted as a mistake if it is not there."""
        if name == DEFAULTS:
            return name
        named_in = self._configuration.origin(*key).path
        folder = (named_in if isinstance(named_in, Path) else self._configuration.path).parent
        self._attempt(key, read_text, folder / name)
        return str(folder / name)

    def load_signing_key(self, position: int, key: DkimKey) -> SigningKey | None:
        return self._attempt(("dkim", "key", position, "key"), read_signing_key, key)

    def check_state(self, state: State) -> None:
        """Try the files that are needed to reach the store."""
        if state.kind == "redis":
            self._attempt(("state", "password_file"), password_of, state)
            self._attempt(("state", "ca"), tls_context, state)

    def raise_mistakes(self) -> None:
        """Raise the first mistake with all others, if there was any."""
        if self._mistakes:
            first, *others = self._mistakes
            first.others = (*first.others, *others)
            raise first

    def _load_pair(
        self, key: KeyPath, files: CertificateFiles, *, is_server: bool
    ) -> KeyPair | None:
        """Read a certificate and its key; None where a mistake was noted."""
        chain = self._attempt((*key, "chain"), read_certificates, files.chain)
        private_key = self._attempt((*key, "key"), read_key, files.key)
        if chain is not None and is_server:
            # Clients look at dates; a next hop may have pinned a certificate that has expired.
            self._attempt((*key, "chain"), check_validity, files.chain, chain[0], self._now)
        if chain is None or private_key is None:
            return None
        return self._attempt((*key, "key"), pair_up, files.chain, chain, files.key, private_key)

    def _load_anchors(self, key: KeyPath, paths: tuple[Path, ...]) -> tuple[Certificate, ...]:
        found: dict[Certificate, None] = {}  # a set that keeps its order
        for position, path in enumerate(paths):
            found.update(dict.fromkeys(self._attempt((*key, position), read_anchors, path) or ()))
        return tuple(found)

    def _load_system_store(self, key: KeyPath) -> tuple[Certificate, ...]:
        if self._system_store is None:
            self._system_store = self._attempt(key, read_system_store) or ()
        return self._system_store

    def _attempt(
        self, key: KeyPath, read: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs
    ) -> _T | None:
        """Call; note a mistake at the place of a setting, unless it names one itself."""
        try:
            return read(*args, **kwargs)
        except ConfigurationError as error:
            if error.path is None:
                error = self._configuration.mistake(error.problem, remedy=error.remedy, at=key)
            if str(error) not in map(str, self._mistakes):
                self._mistakes.append(error)
            return None


def _check_presence(path: Path) -> None:
    """A list that is not there is a mistake; whether it counts is said later, and may change."""
    if not path.is_file():
        raise ConfigurationError(f"the CRL {path} is not there", remedy="put it there first")


def _check_ca(folder: Path) -> None:
    if not (folder / "root.pem").is_file():
        remedy = "make one with `gatepost ca init`, or leave `address` out of [ca] and [est]"
        raise ConfigurationError(f"there is no CA in {folder}", remedy=remedy)
    read_anchors(folder / "root.pem")


def _read_present_allowlist(path: Path) -> Allowlist:
    if not path.exists():
        raise ConfigurationError(
            f"the allowlist {path} is not there",
            remedy='make it with "gatepost pin add", or make an empty file',
        )
    return read_allowlist(path)[1]
