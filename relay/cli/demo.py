"""`gatepost demo`: a relay, a mail system behind it and clients in front of it, on loopback."""

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

from relay.cli.context import JsonOption
from relay.cli.output import emit, progress, table

if TYPE_CHECKING:
    from rich.console import Console

    from relay.audit.query import Record
    from relay.cli.demo_site import Site
    from relay.cli.submission import Submission

__all__ = ["demo"]


class Case(NamedTuple):
    """One client: what it shows and says, and how it has to end ("250", or the refusal's code)."""

    name: str
    expected: str
    certificate: Literal["pinned", "stranger", ""] = "pinned"
    tls: Literal["starttls", "off"] = "starttls"
    sender: str = "billing@acme.example"


class Result(NamedTuple):
    """How a client fared."""

    case: Case
    outcome: str
    reply: str
    reference: str
    audit: "Record"
    is_as_expected: bool


_CASES = (
    Case("pinned certificate", "250"),
    Case("certificate not pinned", "421", certificate="stranger"),
    Case("no certificate", "421", certificate=""),
    Case("plaintext", "530", tls="off"),
    Case("wrong sender domain", "550", sender="ceo@bank.example"),
)
_RECIPIENT = "you@example.org"


def demo(
    keep: Annotated[
        bool, typer.Option("--keep", help="Stay in the foreground, to try by hand.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Run a relay, a mail system behind it and five clients on loopback; show who gets through.

    Exit code 0 if the pinned client's mail arrived and the others were refused, each with the right
    reply. Nothing is left running, and nothing is left on disk.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # clean up then, too
    if keep:
        _keep(as_json=as_json)
        return
    from relay.cli.demo_site import running_site

    with progress("starting a relay and its upstream") as say, running_site() as site:
        results = []
        for case in _CASES:
            say(f"client: {case.name}")
            results.append(_run(case, site))
    value = {
        "ok": all(result.is_as_expected for result in results),
        "cases": [_as_value(result) for result in results],
    }
    emit(value, as_json=as_json, human=lambda console: _show(console, results))
    if not value["ok"]:
        raise typer.Exit(1)


def _keep(*, as_json: bool) -> None:
    """Stay until Ctrl-C or SIGTERM, which is a good end here."""
    from relay.cli.demo_site import running_site

    with contextlib.suppress(KeyboardInterrupt), running_site(stays=True) as site:
        emit(_places(site), as_json=as_json, human=lambda console: _show_places(console, site))
        raise typer.Exit(site.relay.wait())


def _run(case: Case, site: "Site") -> Result:
    from relay.cli import submission

    files = {"pinned": site.pinned, "stranger": site.stranger}.get(case.certificate)
    context = submission.tls_context(
        site.ca.certificate_path, files and files.chain_path, files and files.key_path
    )
    server = submission.Server("127.0.0.1", site.port, "localhost", case.tls)
    message_id = f"<{case.name.replace(' ', '-')}@demo.example>"
    mail = submission.Mail(case.sender, (_RECIPIENT,), _message(case.sender, message_id))
    done = asyncio.run(submission.submit(server, mail, context, timeout=30))
    audit = _audit_record(site, done, message_id)
    arrived = [each for each in site.upstream.messages() if each["Message-ID"] == message_id]
    if case.expected == "250":
        is_as_expected = done.delivered and len(arrived) == 1
    else:
        is_as_expected = not done.delivered and not arrived and bool(done.reference)
    return Result(
        case,
        "delivered" if done.delivered else "refused",
        done.last_reply or done.problem,
        done.reference or str(audit.get("reference", "")),
        audit,
        is_as_expected and bool(audit) and done.last_reply.startswith(case.expected),
    )


def _message(sender: str, message_id: str) -> bytes:
    lines = [
        f"From: {sender}",
        f"To: {_RECIPIENT}",
        "Subject: A demonstration",
        f"Message-ID: {message_id}",
        "",
        "Verified identity, or nothing.",
        "",
    ]
    return "\r\n".join(lines).encode()


def _audit_record(site: "Site", done: "Submission", message_id: str) -> "Record":
    """Find the record of the decision: the refusal told, or the transaction."""
    from relay.audit.query import find, records

    if done.reference:
        found = [each for each in find(site.audit_path, done.reference) if "reply" in each]
    else:
        found = [each for each in records(site.audit_path) if each.get("message_id") == message_id]
    return found[-1] if found else {}


def _as_value(result: Result) -> dict[str, Any]:
    return {
        "case": result.case.name,
        "outcome": result.outcome,
        "reply": result.reply,
        "reference": result.reference,
        "audit": result.audit,
        "is_as_expected": result.is_as_expected,
    }


def _show(console: "Console", results: list[Result]) -> None:
    import orjson

    for each in results:  # line by line, for a table would break replies to fit
        console.print(f"{each.case.name}: {each.outcome}")
        console.print(f"  reply  {each.reply}")
        console.print(f"  audit  {orjson.dumps(each.audit).decode()}\n")
    rows = [
        (each.case.name, each.outcome, each.reference, "" if each.is_as_expected else "WRONG")
        for each in results
    ]
    console.print(table(("client", "outcome", "reference", ""), rows))
    wrong = sum(not each.is_as_expected for each in results)
    console.print(f"{wrong} of {len(results)} went wrong" if wrong else "all as it should be")


def _places(site: "Site") -> dict[str, Any]:
    return {
        "folder": site.folder,
        "relay": f"127.0.0.1:{site.port}",
        "upstream": f"127.0.0.1:{site.upstream_port}",
        "maildir": site.upstream.maildir,
        "ca": site.ca.certificate_path,
        "pinned": {"certificate": site.pinned.chain_path, "key": site.pinned.key_path},
        "not_pinned": {"certificate": site.stranger.chain_path, "key": site.stranger.key_path},
        "configuration": site.folder / "gatepost.toml",
    }


def _show_places(console: "Console", site: "Site") -> None:
    ca, cert, key = site.ca.certificate_path, site.pinned.chain_path, site.pinned.key_path
    stranger = site.stranger
    address = f"127.0.0.1:{site.port}"
    console.print(f"""
The relay       {address}, STARTTLS, client certificate required
Its upstream    127.0.0.1:{site.upstream_port}, mail goes to {site.upstream.maildir}/new
Configuration   {site.folder}/gatepost.toml, allowlist.toml
Audit trail     {site.audit_path}
CA              {ca}
Pinned client   {cert}, {key} (may send as @acme.example)
Stranger        {stranger.chain_path}, {stranger.key_path} (not pinned)

Try it:
  gatepost send --config {site.folder}/gatepost.toml --cert {cert} --key {key} \\
    --from billing@acme.example --to {_RECIPIENT}
  swaks --server {address} --tls --tls-cert {cert} --tls-key {key} --tls-ca-path {ca} \\
    --from billing@acme.example --to {_RECIPIENT}
  curl --url smtp://localhost:{site.port} --ssl-reqd --cacert {ca} --cert {cert} --key {key} \\
    --mail-from billing@acme.example --mail-rcpt {_RECIPIENT} --upload-file message.eml
  openssl s_client -starttls smtp -connect {address} -CAfile {ca} -cert {cert} -key {key}
  gatepost status --config {site.folder}/gatepost.toml

Ctrl-C ends it and removes everything.
""")
