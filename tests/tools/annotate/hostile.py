"""Malformed and forbidden requests, each drawn from a seed; each is refused as it should be.

All of them go over a real socket; those of which an HTTP client would not send the like, byte by byte.
"""

from __future__ import annotations

import json
import random
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import httpx

from tests.tools.annotate.hostile_values import ASSISTS, BODIES, EDITS, FIELDS, PATHS, ROUTES, WRONG
from tests.tools.annotate.serving import SHAPE, TOKEN, Page

Answered = tuple[str, int]
Attack = Callable[[Page, random.Random], Answered]


def send(page: Page, method: str, path: str, **how: Any) -> int:
    """Over the page's own connection, token and all; answers that never end are not read to their end."""
    with page.http.stream(method, path, **how) as answer:
        return answer.status_code


def to_json(content: Any) -> bytes:
    return json.dumps(content).encode()  # NaN and half surrogates included


def post(page: Page, path: str, content: Any) -> int:
    return send(page, "POST", path, content=to_json(content), headers={"Content-Type": "application/json"})


def raw(page: Page, head: str, body: bytes = b"", *, ends: bool = False) -> int:
    """Bytes as they are; the status of the answer, 0 if the server just hangs up.

    Args:
        ends: nothing comes after them, whatever they promised.
    """
    port = int(page.address.rpartition(":")[2])
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection, suppress(ConnectionError):
        connection.sendall(head.encode("latin-1", "replace") + b"\r\n\r\n" + body)
        if ends:
            connection.shutdown(socket.SHUT_WR)
        answer = connection.recv(64)
    return int(answer.split()[1]) if answer.startswith(b"HTTP/1.1 ") else 0


def any_route(page: Page, rng: random.Random) -> tuple[str, str]:
    path = rng.choice(["/", "/page/style.css", "/api/worklist", *(page.url() + route for route in ROUTES)])
    return rng.choice(["GET", "POST"]), path


def no_token(page: Page, rng: random.Random) -> Answered:
    method, path = any_route(page, rng)
    shown = rng.choice(
        [
            "",
            "Authorization: Bearer x",
            f"Authorization: Bearer {TOKEN}x",
            f"Authorization: Basic {TOKEN}",
            f"Authorization: {TOKEN}",
            f"Cookie: token={TOKEN}",
            f"Cookie: keyslice-1={TOKEN}",
            "Cookie: ;;;===;\xff\xfe; keyslice-",
            "Cookie: " + "a=b;" * 1000,
            f"X-Token: {TOKEN}",
        ]
    )
    query = rng.choice(["", "?token=", "?token=x", f"?Token={TOKEN}", f"?token={TOKEN}x", "?token=%00"])
    head = f"{method} {path}{query} HTTP/1.1\r\nHost: {page.address[7:]}\r\n{shown}".rstrip()
    status = raw(page, f"{head}\r\nContent-Length: 2\r\nContent-Type: application/json", b"{}")
    assert status == 401, (head, status)
    return "no token", status


def wrong_host_or_origin(page: Page, rng: random.Random) -> Answered:
    method, path = any_route(page, rng)
    own, port = page.address[7:], page.address.rpartition(":")[2]
    lines = rng.choice(
        [
            f"Host: evil.example\r\nAuthorization: Bearer {TOKEN}",
            f"Host: evil.example:{port}\r\nCookie: keyslice-{port}={TOKEN}",
            f"Host: 127.0.0.1:1\r\nAuthorization: Bearer {TOKEN}",
            f"Host: 127.0.0.1.evil.example:{port}\r\nAuthorization: Bearer {TOKEN}",
            f"Host: {own}@evil.example\r\nAuthorization: Bearer {TOKEN}",
            f"Host: {own}\r\nOrigin: http://evil.example\r\nCookie: keyslice-{port}={TOKEN}",
            f"Host: {own}\r\nOrigin: null\r\nCookie: keyslice-{port}={TOKEN}",
            f"Host: {own}\r\nOrigin: http://127.0.0.1:1\r\nAuthorization: Bearer {TOKEN}",
            f"Host: {own}\r\nOrigin: https://{own}\r\nAuthorization: Bearer {TOKEN}",
        ]
    )
    status = raw(page, f"{method} {path} HTTP/1.1\r\n{lines}\r\nContent-Length: 2", b"{}")
    assert status == 403, (lines, status)
    return "host or origin", status


def odd_path(page: Page, rng: random.Random) -> Answered:
    bad = rng.choice(PATHS)
    encoded = rng.choice([quote(bad), quote(bad, safe=""), quote(quote(bad))])
    path = rng.choice(
        [
            f"/page/{encoded}",
            f"/{encoded}",
            f"/api/cases/{encoded}",
            f"/api/cases/{encoded}/edit",
            f"/api/cases/case/exports/{encoded}",
            f"/api/cases/{encoded}/exports/{encoded}",
            f"/api/{encoded}/worklist",
        ]
    )
    allowed = {400, 404, 405, 422}
    if encoded.strip("./") == "":
        allowed |= {200}  # the path of something else, which may be looked at
    head = f"GET {path} HTTP/1.1\r\nHost: {page.address[7:]}\r\nAuthorization: Bearer {TOKEN}"
    status = raw(page, head)
    assert status in allowed, (path, status)
    return "path", status


def wrong_field(page: Page, rng: random.Random) -> Answered:
    """One field of a request that would be all right otherwise."""
    body = {"client": page.client, **rng.choice(EDITS)}
    field = rng.choice([field for field in body if field in WRONG])
    if rng.random() < 0.1:
        del body[field]
        if field in ("from", "to", "color"):  # may be left out
            return wrong_field(page, rng)
    else:
        body[field] = rng.choice(WRONG[field])
    if rng.random() < 0.1:
        body = {**body, rng.choice(["__proto__", "extra", "shape", "mask"]): 1}
    status = post(page, page.url("edit"), body)
    assert status in (400, 409, 422), (body, status)
    return "edit", status


def wrong_assist(page: Page, rng: random.Random) -> Answered:
    body = dict(rng.choice(ASSISTS))
    field = rng.choice([field for field in body if field != "label"])
    body[field] = rng.choice(WRONG[field])
    status = post(page, page.url("assist"), body)
    # Tools change nothing, so one that can make something of it may: an empty stroke, a seed in the background.
    assert status in (200, 400, 422), (body, status)
    return "assist", status


def wrong_other_body(page: Page, rng: random.Random) -> Answered:
    route = rng.choice(list(BODIES))
    body = {"client": page.client, **BODIES[route]}
    field = rng.choice(list(BODIES[route]))
    body[field] = rng.choice(FIELDS[field])
    status = post(page, page.url() + route, body)
    assert status in (400, 409, 422), (route, body, status)
    return "body", status


def not_the_editor(page: Page, rng: random.Random) -> Answered:
    route = rng.choice(["edit", "propagate", "cancel", "automatic", "import", "editor"])
    client = rng.choice(["page-2", "nobody", "PAGE-1", "", "x" * 65, 7, None])
    body: dict[str, Any] = {"client": client, **rng.choice(EDITS)} if route == "edit" else {"client": client}
    if route == "import":
        parameters = {"as": "key_slices", "client": str(client)}
        status = send(page, "POST", page.url(route), params=parameters, content=b"x")
    else:
        body |= {"automatic": {"model": "head-neck"}, "editor": {"take": True}}.get(route, {})
        status = post(page, page.url(route), body)
    assert status in (409, 422), (route, body, status)
    return "client", status


def broken_json(page: Page, rng: random.Random) -> Answered:
    good = to_json({"client": page.client, **rng.choice(EDITS)})
    cut, place = rng.randrange(1, len(good)), rng.randrange(len(good))
    body = rng.choice(
        [
            good[:cut],
            good[:place] + b"\xff\xfe" + good[place:],
            good + good,
            b"",
            b"[]",
            b"null",
            b"7",
            b'"paint"',
            b"[" * 100_000,
            b'{"a":' * 50_000,
            b"\x00" * 100,
            b"NaN",
            b'{"client": ' + b"9" * 10_000 + b"}",
            rng.randbytes(200),
            bytes("ÿþ", "utf-16"),
        ]
    )
    kind = rng.choice(["application/json", "application/json; charset=utf-7", "text/plain", "", "application/xml"])
    route = rng.choice(["edit", "assist", "export", "propagate", "automatic", "editor", "done"])
    status = send(page, "POST", page.url(route), content=body, headers={"Content-Type": kind})
    assert status in (400, 422), (body[:80], kind, route, status)
    return "json", status


def odd_query(page: Page, rng: random.Random) -> Answered:
    bad = rng.choice(["", "-1", "x", "1e9", "9" * 30, "9" * 5000, "NaN", "1.5", "0x1", "٣", "\0", "1;2", " "])
    route, parameters = rng.choice(
        [
            ("image", {"first": bad, "count": "1"}),
            ("image", {"first": "0", "count": bad}),
            ("pixels", {"first": bad, "count": bad}),
            ("pixels", {"count": "3"}),
            ("image", {"first": str(SHAPE[0] - 1), "count": "2"}),
            ("image", {"first": "0", "count": "65"}),
            ("events", {"client": rng.choice(["", "a b", "x" * 65, "../x", "é"])}),
            ("events", {}),
        ]
    )
    status = send(page, "GET", page.url(route), params=parameters)
    assert status in (400, 422), (route, parameters, status)
    return "query", status


def wrong_method(page: Page, rng: random.Random) -> Answered:
    route = rng.choice(["edit", "propagate", "export", "import", "editor", "image", "pixels", "exports/x", ""])
    posts = route in ("edit", "propagate", "export", "import", "editor")
    method = rng.choice(["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "GET" if posts else "POST", "BREW"])
    status = send(page, method, page.url(route), content=b"{}")
    assert status in (404, 405), (method, route, status)
    return "method", status


def lying_length(page: Page, rng: random.Random) -> Answered:
    route = rng.choice(["edit", "import?as=key_slices&client=page-1", "assist"])
    length, body = rng.choice(
        [
            ("99999999999", b"{}"),
            ("99999999999999999999999999", b"{}"),
            ("500", b'{"client": "page-1", "action": "undo"}'),  # ends before it said it would
            ("5", b'{"client": "page-1", "action": "undo"}'),
            ("-5", b"{}"),
            ("5, 7", b"{}"),
            ("x", b"{}"),
            ("0x10", b"{}" * 8),
            ("", b"{}"),
        ]
    )
    head = f"POST {page.url(route)} HTTP/1.1\r\nHost: {page.address[7:]}\r\nAuthorization: Bearer {TOKEN}"
    status = raw(page, f"{head}\r\nContent-Type: application/json\r\nContent-Length: {length}", body, ends=True)
    assert status in (0, 400, 413, 422), (length, body, status)
    return "length", status


def not_http(page: Page, rng: random.Random) -> Answered:
    own = f"Host: {page.address[7:]}\r\nAuthorization: Bearer {TOKEN}"
    chunked = f"POST {page.url('edit')} HTTP/1.1\r\n{own}\r\nTransfer-Encoding: chunked"
    status = rng.choice(
        [
            lambda: raw(page, rng.randbytes(50).decode("latin-1"), ends=True),
            lambda: raw(page, f"GET /\0 HTTP/1.1\r\n{own}"),
            lambda: raw(page, f"GET {'/x' * 40_000} HTTP/1.1\r\n{own}"),
            lambda: raw(page, f"GET /api/worklist HTTP/9.9\r\n{own}"),
            lambda: raw(page, f"GET /api/worklist HTTP/1.1\r\n{own}\r\nX: {'x' * 100_000}"),
            lambda: raw(page, chunked, b"zz\r\n{}\r\n0\r\n\r\n"),
            lambda: raw(page, chunked, b"ffffffffffffffff\r\n{}", ends=True),
            lambda: raw(page, chunked, b"2\r\n{}\r\n", ends=True),
            lambda: raw(page, f"{chunked}\r\nContent-Length: 2", b"{}", ends=True),
            lambda: raw(page, f"GET {page.url('events')}?client=w HTTP/1.1\r\n{own}\r\nUpgrade: websocket"),
        ]
    )()
    assert status in (0, 200, 400, 404, 422, 431), status
    return "http", status


def no_label_map(page: Page, rng: random.Random) -> Answered:
    name = rng.choice(["a.nii.gz", "a.nii", "a.seg.nrrd", "a.mha", "a.mhd", "a.nhdr", "a.exe", "", "../../a.nii"])
    content = rng.choice(FILES)(rng)
    kind = rng.choice(["key_slices", "proposals", "other", ""])
    parameters = {"as": kind, "client": page.client}
    if rng.random() < 0.2:
        parameters["slices"] = rng.choice(["", "x", "99", "-1", "1,,2", "9" * 100, "4", "1;2"])
    status = send(page, "POST", page.url("import"), params=parameters, content=content, headers={"X-Filename": name})
    assert status in (400, 422), (name, content[:40], parameters, status)
    return "import", status


def import_elsewhere(page: Page, rng: random.Random) -> Answered:
    bad = rng.choice(["/etc/passwd", "../secret.nii.gz", "link.nii.gz", "..", "", "case.keyslice/case.json", 5, None])
    parameters = {"as": "proposals", "client": page.client}
    headers = {"Content-Type": "application/json"}
    status = send(page, "POST", page.url("import"), params=parameters, content=to_json({"path": bad}), headers=headers)
    assert status == 422, (bad, status)
    return "import path", status


def huge_body(page: Page, rng: random.Random) -> Answered:
    content = rng.choice([b'{"client": "page-1", "runs": [' + b"1," * (5 << 20), b" " * (9 << 20)])

    def parts() -> Iterator[bytes]:
        for start in range(0, len(content), 1 << 20):
            yield content[start : start + (1 << 20)]

    body = rng.choice([content, parts()])
    try:
        status = send(page, "POST", page.url("edit"), content=body, headers={"Content-Type": "application/json"})
    except httpx.TransportError:  # the answer was lost, as the server hung up on what was still being sent
        status = 413
    assert status == 413, status
    return "huge", status


def _noise(rng: random.Random) -> bytes:
    return rng.randbytes(rng.choice([0, 1, 100, 5000]))


FILES: list[Callable[[random.Random], bytes]] = [_noise]
ATTACKS: list[tuple[Attack, int]] = [
    (no_token, 12),
    (wrong_host_or_origin, 10),
    (odd_path, 14),
    (wrong_field, 26),
    (wrong_assist, 8),
    (wrong_other_body, 5),
    (not_the_editor, 5),
    (broken_json, 8),
    (odd_query, 5),
    (wrong_method, 4),
    (lying_length, 5),
    (not_http, 4),
    (no_label_map, 4),
    (import_elsewhere, 3),
]
