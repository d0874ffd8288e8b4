"""What is seen on the way to a Config Service over HTTP: name, connection, TLS, first answer."""

from __future__ import annotations

import socket
import ssl
from datetime import UTC, datetime
from time import monotonic, time
from typing import TYPE_CHECKING

from instance_lookup.backends.access_tokens import AccessTokens, NoToken
from instance_lookup.backends.sockets import connect
from instance_lookup.backends.transport import ProxyRefused, root_cause
from instance_lookup.exceptions import forget_locals
from instance_lookup.frozen import masked_url
from instance_lookup.operations.doctor.findings import Finding, Level, error, ok, skipped, warning
from instance_lookup.operations.doctor.measures import (
    judge_certificate,
    judge_clock,
    milliseconds,
)
from instance_lookup.operations.doctor.probing import bounded
from instance_lookup.operations.doctor.wire import why_no_tls
from instance_lookup.resilience.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Iterator

    from requests import Session

    from instance_lookup.operations.doctor.wire import Exchange, Wire

PROBES = ("name", "connect", "tls", "certificate", "redirect", "credential", "clock")
"""The probes of :func:`reach`, beside ``answer``."""
BODY_PROBES = ("compression", "size")
DEEP_PROBES = ("no credential", "wrong credential")

_DOWN = frozenset({429, 502, 503, 504})
_ADDRESSES = 4


def reach(wire: Wire, unknown: str, plain: str | None) -> Iterator[Finding]:
    """Go the way to the service, and ask for an id that does not exist. An error ends it.

    ``unknown`` is that id. ``plain`` says what is wrong with plain HTTP there, if that is used.
    """
    for probe in (_name, _connect):
        finding = probe(wire)
        yield finding
        if finding.level is Level.ERROR:
            return
    try:
        exchange = wire.look(unknown)
    except Exception as exc:  # noqa: BLE001  # a session of the project's own may raise anything
        yield _no_answer(wire, exc)
        return
    yield from _tls(wire, plain)
    yield from _first_answer(wire, exchange)


def body_probes(wire: Wire, instance_id: str) -> Iterator[Finding]:
    """Look at how a document is sent."""
    exchange = wire.look(instance_id)
    if exchange.status != 200:
        for name in BODY_PROBES:
            yield skipped(name, f"the answer for {instance_id!r} is {exchange.status}")
        return
    encoding = exchange.headers.get("Content-Encoding", "").strip()
    if encoding.lower() not in {"", "identity"}:
        do = "Send documents uncompressed: Accept-Encoding is identity. Check the proxy in front."
        yield error("compression", f"the body is encoded: {encoding}", do)
    else:
        yield ok("compression", "the body comes as it is")
    yield _size(exchange.size, wire.max_bytes)


def credential_probes(wire: Wire, instance_id: str) -> Iterator[Finding]:
    """See whether the service gives an instance to a caller without our credential."""
    with wire.without_credential() as bare:
        yield _refused(wire, instance_id, "no credential", bare)
    if not wire.session.auth and "Authorization" not in wire.session.headers:
        yield skipped("wrong credential", "no Authorization header is sent")
        return
    with wire.with_token("not-the-token-of-this-site") as other:
        yield _refused(wire, instance_id, "wrong credential", other)


def _name(wire: Wire) -> Finding:
    who = f"the proxy {wire.host}" if wire.proxy else wire.host
    try:
        found = bounded(
            lambda: socket.getaddrinfo(wire.host, wire.port, 0, socket.SOCK_STREAM), wire.seconds
        )
    except Exception as exc:  # noqa: BLE001  # also of a name that cannot be one
        setting = "CONFIG_SERVICE_PROXY" if wire.proxy else "CONFIG_SERVICE_URL"
        return error(
            "name",
            f"{who} has no address that can be found ({type(exc).__name__})",
            f"Check {setting}, and the DNS of this machine.",
        )
    addresses = list(dict.fromkeys(str(address[0]) for *_, address in found))
    more = f" and {len(addresses) - _ADDRESSES} more" if len(addresses) > _ADDRESSES else ""
    return ok("name", f"{who} is at {', '.join(addresses[:_ADDRESSES])}{more}")


def _connect(wire: Wire) -> Finding:
    began = monotonic()
    where = f"port {wire.port} of {'the proxy ' if wire.proxy else ''}{wire.host}"
    try:
        connect(wire.host, wire.port, Deadline.after(wire.seconds), ()).close()
    except OSError as exc:
        return error(
            "connect",
            f"{where} does not answer ({type(exc).__name__})",
            "Check that the service is up, its port, and the firewalls on the way.",
        )
    return ok("connect", f"{where} answers in {milliseconds(monotonic() - began)}")


def _no_answer(wire: Wire, exc: Exception) -> Finding:
    root = root_cause(exc)
    forget_locals(exc)
    if problem := why_no_tls(root):
        return error(
            "tls",
            f"no TLS with the service: {problem}",
            "Check the certificate of the service, its host name and its end, and"
            " CONFIG_SERVICE_CA_BUNDLE; and CONFIG_SERVICE_CLIENT_CERT if it asks for one.",
        )
    if isinstance(root, ProxyRefused):
        return error(
            "answer", f"the proxy answered {root.status}", "Check user and password of the proxy."
        )
    if isinstance(root, NoToken):
        return error("credential", str(root), _check(wire))
    why = f"no answer to a request ({type(root).__name__})"
    return error(
        "answer", why, f"Look into the log of the service; it has {wire.seconds:g} s for an answer."
    )


def _tls(wire: Wire, plain: str | None) -> Iterator[Finding]:
    if not wire.is_secure:
        if plain:
            yield warning("tls", plain, "Use https, inside your own network as well.")
        else:
            yield skipped("tls", "plain HTTP, which does not leave this machine")
        yield skipped("certificate", "plain HTTP")
        return
    if not wire.handshakes:
        for name in ("tls", "certificate"):
            yield skipped(name, "make_session has a transport of its own")
        return
    shake = wire.handshakes[-1]
    yield ok("tls", shake.version)
    if not shake.ends:
        do = "Verify it: otherwise anyone on the way can answer as the service."
        yield warning("certificate", "it is not verified: make_session turns that off", do)
        return
    ends = ssl.cert_time_to_seconds(shake.ends)
    yield judge_certificate(ends, time(), datetime.fromtimestamp(ends, UTC).date().isoformat())


def _first_answer(wire: Wire, exchange: Exchange) -> Iterator[Finding]:
    status = exchange.status
    if status in _DOWN:
        wait = exchange.headers.get("Retry-After")
        asks = f", and asks to be left alone: Retry-After is {wait[:40]}" if wait else ""
        yield error("answer", f"the service answers {status}{asks}", "Ask again when it is up.")
        return
    yield ok("answer", f"an answer ({status}) in {milliseconds(exchange.seconds)}")
    if 300 <= status < 400 and status != 304:
        target = masked_url(exchange.headers.get("Location", "nowhere"))
        do = "Name the URL that it points to in CONFIG_SERVICE_URL: no redirect is followed."
        yield error("redirect", f"{status} to {target}", do)
        return
    yield ok("redirect", "none")
    if status == 401:
        yield _not_accepted(wire)
        return
    yield _credential(wire, status)
    yield judge_clock(exchange.headers.get("Date"), exchange.sent, exchange.received)


def _credential(wire: Wire, status: int) -> Finding:
    if status == 403:  # as gateways answer to a key that they do not know
        do = f"{_check(wire)} Answer 401 to a wrong credential, 404 to an unknown id."
        return warning("credential", "403 for an id that does not exist: it may be refused", do)
    if wire.sends_credential:
        return ok("credential", "accepted")
    return ok("credential", "none is sent, and none is asked for")


def _not_accepted(wire: Wire) -> Finding:
    if wire.sends_credential:
        return error("credential", "the service does not accept ours (401)", _check(wire))
    return error(
        "credential",
        "the service asks for one (401), and none is sent",
        "Set CONFIG_SERVICE_TOKEN.",
    )


def _check(wire: Wire) -> str:
    """Return where the credential comes from, as a thing to check."""
    auth = wire.session.auth
    if isinstance(auth, AccessTokens):
        return "Check where access tokens come from."
    if auth:  # it may sign each call
        what = "a signature holds for minutes only, so check the clock of this machine, too"
        return f"Check session.auth, which make_session of your backend sets; {what}."
    return "Check CONFIG_SERVICE_TOKEN, or the headers that make_session of your backend adds."


def _size(size: int, most: int) -> Finding:
    if size > most:
        do = "Make it smaller, or raise CONFIG_SERVICE_MAX_BYTES: it is refused."
        return error("size", f"over {most} bytes", do, bytes=size)
    seen = f"{size} of {most} bytes"
    if size > 0.8 * most:
        do = "Make it smaller, or raise CONFIG_SERVICE_MAX_BYTES, before it is refused."
        return warning("size", seen, do, bytes=size)
    return ok("size", seen, bytes=size)


def _refused(wire: Wire, instance_id: str, probe: str, session: Session) -> Finding:
    try:
        status = wire.look(instance_id, session).status
    except Exception as exc:  # noqa: BLE001  # whatever a session raises
        root = root_cause(exc)
        forget_locals(exc)
        if wire.session.cert:
            return ok(probe, f"refused without our certificate ({type(root).__name__})")
        return warning(probe, f"no answer ({type(root).__name__})", "Answer it with 401.")
    if status in {401, 403}:
        return ok(probe, f"refused ({status})")
    if status >= 500:
        return warning(probe, f"answered with {status}", "Answer it with 401.")
    do = "Answer it with 401: API keys are given to anyone who can reach the service."
    return warning(probe, f"accepted: the answer is {status}", do)
