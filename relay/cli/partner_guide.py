"""What a partner must configure to send through this relay with a certificate: Postfix and Exim.

Text only. The lines are tested against the real programs (tests/integration).
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Edge", "exim_lines", "postfix_lines"]


class Edge(NamedTuple):
    """This relay as a partner reaches it."""

    host: str
    port: int
    is_implicit: bool = False


def postfix_lines(edge: Edge, name: str, *, has_own_ca: bool = True) -> str:
    """The lines for main.cf (Postfix 3.4 and later) and the transport map.

    Args:
        edge: this relay.
        name: of the partner's files, `NAME.key` and `NAME.pem`.
        has_own_ca: whether our server certificate is of our own CA, so that it must be known there.
    """
    next_hop = f"[{edge.host}]:{edge.port}"
    anchor = " tafile=/etc/postfix/gatepost-root.pem" if has_own_ca else ""
    wrapper = "\nsmtp_tls_wrappermode = yes" if edge.is_implicit else ""
    return f"""\
# /etc/postfix/main.cf - key first, then the certificate; key readable by root only
smtp_tls_chain_files = /etc/postfix/{name}.key, /etc/postfix/{name}.pem{wrapper}
smtp_tls_policy_maps = inline:{{ {{ {next_hop} = secure match={edge.host}{anchor} }} }}
# all mail goes this way; for some domains only, use transport_maps with smtp:{next_hop}
relayhost = {next_hop}"""


def exim_lines(edge: Edge, name: str, *, has_own_ca: bool = True) -> str:
    """The router and the transport for Exim 4.93 and later; arguments as for Postfix."""
    anchor = "/etc/exim4/gatepost-root.pem" if has_own_ca else "system"
    protocol = "\n  protocol = smtps" if edge.is_implicit else ""
    return f"""\
# routers (before other remote routers)
gatepost:
  driver = manualroute
  domains = ! +local_domains
  transport = gatepost_smtp
  route_list = * {edge.host}::{edge.port} byname
# transports
gatepost_smtp:
  driver = smtp{protocol}
  hosts_require_tls = *
  tls_certificate = /etc/exim4/{name}.pem
  tls_privatekey = /etc/exim4/{name}.key
  tls_verify_certificates = {anchor}
  tls_verify_hosts = *
  tls_verify_cert_hostnames = *"""
