"""The door: who gets in, and what everyone is told about the page."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tools.annotate.protocol import BODY_LIMIT, IMPORT_LIMIT
from tools.annotate.security import Guard

TOKEN = "correct-horse-battery"
OWN = ("host", "127.0.0.1:8000")
BEARER = ("authorization", f"Bearer {TOKEN}")
COOKIE = ("cookie", f"keyslice-8000={TOKEN}")


def ask(
    *headers: tuple[str, str],
    method: str = "GET",
    path: str = "/api/worklist",
    query: str = "",
    host: str = "127.0.0.1",
    body: tuple[bytes, ...] = (b"",),
) -> tuple[int, dict[bytes, bytes], bool]:
    """Status, headers, and whether the request came through to the application."""
    reached = False

    async def application(scope: Any, receive: Any, send: Any) -> None:
        nonlocal reached
        reached = True
        while (await receive())["more_body"]:
            pass
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": b"in"})

    parts = [{"type": "http.request", "body": part, "more_body": True} for part in body]
    parts[-1]["more_body"] = False
    sent: list[dict[str, Any]] = []

    async def receive() -> Any:
        return parts.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers],
    }
    asyncio.run(Guard(application, token=TOKEN, host=host, port=8000)(scope, receive, send))
    return sent[0]["status"], dict(sent[0]["headers"]), reached


@pytest.mark.parametrize("shown", [BEARER, COOKIE, ("authorization", f"bearer {TOKEN}")])
@pytest.mark.parametrize("name", ["127.0.0.1:8000", "localhost:8000", "LOCALHOST:8000", "[::1]:8000", "127.0.0.1"])
def test_the_token_opens(shown: tuple[str, str], name: str) -> None:
    status, _, reached = ask(("host", name), shown)
    assert (status, reached) == (200, True)


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("authorization", "Bearer ")],
        [("authorization", TOKEN)],
        [("authorization", f"Basic {TOKEN}")],
        [("authorization", f"Bearer {TOKEN}x")],
        [("authorization", f"Bearer {TOKEN[:-1]}")],
        [("authorization", "Bearer \xff\xfe")],
        [("cookie", f"keyslice-8001={TOKEN}")],  # of a server on another port
        [("cookie", f"other={TOKEN}")],
        [("cookie", "keyslice-8000")],
        [("cookie", ";;=;keyslice-8000=;\xff=\xfe")],
    ],
)
def test_without_the_token_there_is_401_and_nothing_else(headers: list[tuple[str, str]]) -> None:
    for path in ("/", "/page/js/main.js", "/api/worklist", "/no/such/path"):
        status, told, reached = ask(OWN, *headers, path=path)
        assert (status, reached) == (401, False)
        assert b"set-cookie" not in told


def test_the_cookie_counts_among_others() -> None:
    status, _, _ = ask(OWN, ("cookie", f'a="b; c"; keyslice-8001=x;keyslice-8000={TOKEN} ; z'))
    assert status == 200


def test_the_address_with_the_token_opens_the_page_alone() -> None:
    status, told, _ = ask(OWN, path="/", query=f"token={TOKEN}")
    assert status == 200
    assert told[b"set-cookie"] == f"keyslice-8000={TOKEN}; Path=/; HttpOnly; SameSite=Strict".encode()
    assert ask(OWN, path="/api/worklist", query=f"token={TOKEN}")[0] == 401
    assert ask(OWN, path="/", query=f"token={TOKEN}", method="POST")[0] == 401
    assert ask(OWN, path="/", query="token=wrong")[0] == 401


@pytest.mark.parametrize(
    "name",
    [
        "evil.example",
        "evil.example:8000",
        "127.0.0.1:8001",
        "127.0.0.1.evil.example:8000",
        "localhost.evil.example",
        "127.0.0.1:8000:8000",
        "127.0.0.1:",
        "127.0.0.1:٨٠٠٠".encode().decode("latin-1"),
        "192.168.1.5:8000",
        "[::1",
        "[::1]8000",
        "",
    ],
)
def test_another_host_is_403_even_with_the_token(name: str) -> None:
    assert ask(("host", name), BEARER)[::2] == (403, False)


def test_no_host_or_two_are_403() -> None:
    assert ask(BEARER)[0] == 403
    assert ask(OWN, ("host", "evil.example"), BEARER)[0] == 403


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (("origin", "http://127.0.0.1:8000"), 200),
        (("origin", "http://localhost:8000"), 403),  # another name is another origin
        (("origin", "https://127.0.0.1:8000"), 403),
        (("origin", "http://127.0.0.1:9000"), 403),
        (("origin", "http://evil.example"), 403),
        (("origin", "null"), 403),
        (("origin", ""), 403),
        (("sec-fetch-site", "same-origin"), 200),
        (("sec-fetch-site", "none"), 200),
        (("sec-fetch-site", "same-site"), 403),  # a page of another port of this machine
        (("sec-fetch-site", "cross-site"), 403),
    ],
)
def test_other_sites_pages_are_403(header: tuple[str, str], status: int) -> None:
    assert ask(OWN, COOKIE, header)[0] == status


def test_another_site_may_link_to_the_page() -> None:
    link = ("sec-fetch-site", "cross-site")
    assert ask(OWN, link, path="/", query=f"token={TOKEN}")[0] == 200
    assert ask(OWN, link, COOKIE, path="/page/js/main.js")[0] == 403


def test_an_open_server_is_reached_by_number_but_not_by_foreign_names() -> None:
    for name in ("192.168.1.5:8000", "127.0.0.1:8000", "[fe80::1]:8000"):
        assert ask(("host", name), BEARER, host="0.0.0.0")[0] == 200
    assert ask(("host", "evil.example:8000"), BEARER, host="0.0.0.0")[0] == 403
    assert ask(("host", "ct-room.example:8000"), BEARER, host="ct-room.example")[0] == 200


@pytest.mark.parametrize(("path", "limit"), [("/api/cases/a/edit", BODY_LIMIT), ("/api/cases/a/import", IMPORT_LIMIT)])
def test_a_body_that_says_it_is_too_large_is_not_read(path: str, limit: int) -> None:
    for length in (limit + 1, 10**30):
        answer = ask(OWN, BEARER, ("content-length", str(length)), method="POST", path=path)
        assert answer[::2] == (413, False)
    assert ask(OWN, BEARER, ("content-length", str(limit)), method="POST", path=path)[0] == 200


def test_a_body_that_grows_too_large_is_cut_off_whatever_it_said() -> None:
    from starlette.exceptions import HTTPException

    body = (b"x" * BODY_LIMIT, b"x", b"x")
    with pytest.raises(HTTPException) as caught:  # which the application answers
        ask(OWN, BEARER, ("content-length", "5"), method="POST", body=body)
    assert caught.value.status_code == 413


def test_every_answer_says_what_the_page_may_do() -> None:
    for headers in ([OWN, BEARER], [OWN], [("host", "evil.example")]):
        _, told, _ = ask(*headers)
        policy = told[b"content-security-policy"].decode()
        assert policy.startswith("default-src 'self';") and "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy and "http" not in policy and "*" not in policy
        assert told[b"x-content-type-options"] == b"nosniff"
        assert told[b"referrer-policy"] == b"no-referrer"
        assert b"server" not in told


def test_websockets_are_closed() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def talk() -> None:
        await Guard(None, token=TOKEN, host="127.0.0.1", port=8000)({"type": "websocket"}, None, send)  # type: ignore[arg-type]

    asyncio.run(talk())
    assert sent == [{"type": "websocket.close", "code": 1008}]
