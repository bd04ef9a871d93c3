"""Who may ask: every request passes this door before any route sees it, and before its body is read.

In order: the Host that was asked for (against other sites' names for this address), the Origin and what the browser
says of the page that asks (against other sites' pages), the token, the size of the body. What a body really holds is
counted as it comes in, whatever its length was said to be.

The token opens the page as `/?token=...`, which sets a cookie; scripts send `Authorization: Bearer`; MONAI Label's
clients have it in their address (`monai_label.door`).
"""

from __future__ import annotations

import hmac
import ipaddress
import json
import socket
from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException

from tools.annotate.monai_label.door import takes_files, token_in_path, without_token
from tools.annotate.protocol import BODY_LIMIT, IMPORT_LIMIT
from tools.annotate.refusals import Refusal

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

Headers = list[tuple[bytes, bytes]]

CONTENT_POLICY = "; ".join(
    (
        "default-src 'self'",
        "img-src 'self' blob: data:",
        "worker-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
SAFE_HEADERS: Headers = [
    (b"content-security-policy", CONTENT_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
]
LOOPBACK = ("127.0.0.1", "localhost", "::1")
_ANY = ("0.0.0.0", "::")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server at `host`."""
    return host in LOOPBACK


class Guard:
    """The door in front of an application.

    Args:
        token: what a request must show.
        host: where the server listens.
        port: its port, which names the cookie too: servers on other ports share the cookies of a host.
    """

    def __init__(self, app: ASGIApp, *, token: str, host: str, port: int) -> None:
        self._app, self._token, self._host, self._port = app, token.encode(), host, port
        self._names = {*LOOPBACK, host}
        if host in _ANY:
            self._names |= {socket.gethostname().lower(), socket.getfqdn().lower()}
        self.cookie = f"keyslice-{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # there is no other kind of route; a websocket is closed before it opens
            await send({"type": "websocket.close", "code": 1008})
            return
        try:
            opened = self._check(scope)
        except Refusal as refusal:
            await _answer(refusal, send)
            return
        extra = [(b"set-cookie", self._set_cookie())] if opened else []
        scope = without_token(scope, self._token)
        with_files = scope["path"].endswith("/import") or takes_files(scope["path"])
        limit = IMPORT_LIMIT if with_files else BODY_LIMIT
        if _stated_length(scope) > limit:
            await _answer(_too_large(limit), send)
            return
        await self._app(scope, _bounded(receive, limit), _with_headers(send, SAFE_HEADERS + extra))

    def _check(self, scope: Scope) -> bool:
        """Raise Refusal unless the request may pass; whether it is the page that is opened with the token."""
        host = self._check_host(_values(scope, b"host"))
        opens_page = scope["method"] == "GET" and scope["path"] == "/"
        _check_origin(scope, host, navigates=opens_page)
        shown = [value[7:] for value in _values(scope, b"authorization") if value[:7].lower() == b"bearer "]
        for header in _values(scope, b"cookie"):
            pairs = (pair.strip().partition(b"=") for pair in header.split(b";"))
            shown += [value for name, _, value in pairs if name == self.cookie.encode()]
        shown.append(token_in_path(scope["path"]))
        if any(hmac.compare_digest(one, self._token) for one in shown):
            return False
        query = [pair.partition(b"=") for pair in scope["query_string"].split(b"&")]
        if opens_page and any(name == b"token" and hmac.compare_digest(value, self._token) for name, _, value in query):
            return True
        raise Refusal(
            HTTPStatus.UNAUTHORIZED,
            "no token, or another one",
            "the token that the server was started with",
            "open the address that `keyslice annotate` printed",
        )

    def _check_host(self, hosts: list[bytes]) -> bytes:
        """The host that was asked for, which must be this server under a name of its own."""
        name, port = _host_and_port(hosts[0]) if len(hosts) == 1 else ("", None)
        known = name in self._names or (self._host in _ANY and _is_address(name))
        if not known or port not in (None, self._port):
            raise Refusal(
                HTTPStatus.FORBIDDEN,
                "a request for another host",
                f"{self._host if self._host not in _ANY else 'this machine'}:{self._port}",
                "open the address that `keyslice annotate` printed; a tunnel must keep the port's number",
            )
        return hosts[0]

    def _set_cookie(self) -> bytes:
        return b"%s=%s; Path=/; HttpOnly; SameSite=Strict" % (self.cookie.encode(), self._token)


def _check_origin(scope: Scope, host: bytes, *, navigates: bool) -> None:
    """A browser says which page a request comes from; other pages' are refused, but they may link to the page."""
    own = b"http://" + host.lower()
    foreign = any(origin.lower() != own for origin in _values(scope, b"origin"))
    if not navigates:
        foreign |= any(site not in (b"same-origin", b"none") for site in _values(scope, b"sec-fetch-site"))
    if foreign:
        raise Refusal(
            HTTPStatus.FORBIDDEN,
            "a request from another site's page",
            "one from this server's own page",
            "open the address that `keyslice annotate` printed",
        )


def _values(scope: Scope, name: bytes) -> list[bytes]:
    return [value for key, value in scope["headers"] if key == name]


def _host_and_port(header: bytes) -> tuple[str, int | None]:
    """`127.0.0.1:8000`, `[::1]:8000` or `localhost`, as name and port; an empty name where it is none."""
    text = header.decode("latin-1").lower()
    name, bracket, rest = text[1:].partition("]") if text.startswith("[") else (text, "", "")
    if not bracket:
        name, _, rest = text.partition(":")
        rest = f":{rest}" if _ else ""
    if not rest:
        return name, None
    port = rest[1:]
    return (name, int(port)) if rest[0] == ":" and port.isascii() and port.isdecimal() and len(port) < 6 else ("", None)


def _is_address(name: str) -> bool:
    """Whether a host is given as a number: no site can make such a name lead here."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _stated_length(scope: Scope) -> int:
    lengths = [int(value) for value in _values(scope, b"content-length") if value.isdigit()]
    return max(lengths, default=0)


def _too_large(limit: int) -> Refusal:
    return Refusal(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "a request that is too large",
        f"at most {limit >> 20} MiB",
        "send less at once",
    )


def _bounded(receive: Receive, limit: int) -> Receive:
    """`receive` that ends a request whose body grows beyond `limit` bytes."""
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            # FastAPI passes this kind of exception on from where it reads a body, and no other.
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too large")
        return message

    return counted


def _with_headers(send: Send, headers: Headers) -> Send:
    async def complete(message: Message) -> None:
        if message["type"] == "http.response.start":
            named = {name for name, _ in message["headers"]}
            message["headers"] = [*message["headers"], *(pair for pair in headers if pair[0] not in named)]
        await send(message)

    return complete


async def _answer(refusal: Refusal, send: Send) -> None:
    body = json.dumps(refusal.body()).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),  # what is left of the body is not waited for
        *SAFE_HEADERS,
    ]
    if refusal.status == HTTPStatus.UNAUTHORIZED:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": int(refusal.status), "headers": headers})
    await send({"type": "http.response.body", "body": body})
