"""`keyslice annotate`: open a CT, or a folder of them, in the browser."""

from __future__ import annotations

import errno
import re
import secrets
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import propagation_module
from tools.annotate.security import is_loopback
from tools.annotate.worklist import Worklist, find_worklist
from tools.devices import DEVICE_PATTERN, choose_device
from volumes.errors import InputError

if TYPE_CHECKING:
    from propagation_module.propagator import Propagator
    from reference_module.referencer import Referencer
    from tools.annotate.opening import Opened
    from tools.annotate.runs import Networks
    from volumes.labels import LabelTable

_WEIGHTS = Path(propagation_module.__file__).with_name("weights")
_TOKEN = re.compile(r"[A-Za-z0-9_-]{16,128}")


@dataclass(frozen=True, kw_only=True)
class Job:
    """What the person asked for.

    Attributes:
        path: a CT, a DICOM folder, or a folder of cases; None with `demo`.
        session: where the session folders go; None for beside each CT.
        labels: a label table for new cases, built in or a file.
        keys: a label map, or a folder of them, whose slices a new case begins with.
        proposals: likewise, what is first proposed in a new case, to be accepted or corrected.
        model: configuration in `configs/propagation`.
        host, port: where to listen; port 0 takes a free one.
        token: what the page must show; None for a random one.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        browser: open the page.
        demo: open the phantom.
    """

    path: Path | None
    session: Path | None = None
    labels: str | None = None
    keys: Path | None = None
    proposals: Path | None = None
    model: str = "small"
    host: str = "127.0.0.1"
    port: int = 0
    token: str | None = None
    device: str = "auto"
    browser: bool = True
    demo: bool = False


def annotate_command(job: Job) -> None:
    """Serve until Ctrl-C.

    Raises:
        InputError: bad input; nothing is served then.
    """
    from tools.annotate.app import make_app
    from tools.annotate.server import serve

    token = _token(job)
    networks = _networks(job)
    table, worklist = _cases(job)
    with _listening(job.host, job.port) as listener:
        port = listener.getsockname()[1]
        opened = _open_only(worklist, table)
        for error in worklist.failed.values():
            print(f"warning: {error}", file=sys.stderr)
        if not is_loopback(job.host):
            warning = f"anyone who reaches {job.host}:{port} and has the token sees these scans; nothing is encrypted"
            print(f"warning: {warning}", file=sys.stderr)
        app = make_app(worklist, token=token, host=job.host, port=port, networks=networks, table=table, opened=opened)
        serve(app, listener, f"http://{_shown_host(job.host)}:{port}/?token={token}", browser=job.browser)


def _cases(job: Job) -> tuple[LabelTable | None, Worklist]:
    """Labels of new cases, and all cases."""
    from tools.annotate.demo_case import demo_ct, demo_table
    from volumes.labels import LabelTable

    if (job.path is None) != job.demo:
        raise InputError(
            "PATH",
            found="a path and --demo" if job.demo else "neither a path nor --demo",
            expected="one of the two",
            fix="name a CT or a folder of them, or try it with `keyslice annotate --demo`",
        )
    table = LabelTable.read(job.labels) if job.labels is not None else demo_table() if job.demo else None
    path = demo_ct() if job.path is None else job.path
    return table, find_worklist(path, session=_session(job.session), keys=job.keys, proposals=job.proposals)


def _session(folder: Path | None) -> Path | None:
    if folder is not None and folder.exists() and not folder.is_dir():
        raise InputError(folder, found="a file", expected="a folder for the sessions", fix="name a folder")
    return folder


def _open_only(worklist: Worklist, table: LabelTable | None) -> Opened | None:
    """The case, where there is but one: what is wrong with it is told before anything is served."""
    from tools.annotate.opening import open_case

    entries = list(worklist)
    return open_case(entries[0], table) if len(entries) == 1 else None


def _networks(job: Job) -> Networks:
    """How networks are loaded, later; what can be said of the options is said now."""
    from tools.annotate.runs import Networks

    known = sorted(path.stem for path in _WEIGHTS.glob("*.safetensors"))
    if job.model not in known:
        raise InputError(
            f"--model {job.model}",
            found="no model that ships",
            expected=f"one of {', '.join(known)}",
            fix="choose one of these",
        )
    if job.device not in ("auto", "cpu") or not DEVICE_PATTERN.fullmatch(job.device):
        choose_device(job.device)  # loads torch, which the page need not wait for otherwise

    def propagator() -> Propagator:
        from propagation_module.propagator import Propagator

        return Propagator.load(job.model, device=choose_device(job.device))

    def referencer(name: str) -> Referencer:
        from reference_module.referencer import Referencer

        return Referencer.load(name, device=choose_device(job.device))

    return Networks(propagator, referencer)


def _token(job: Job) -> str:
    if job.token is None and not is_loopback(job.host):
        raise InputError(
            f"--host {job.host}",
            found="a server that other machines reach, without --token",
            expected="a token that you chose",
            fix="give --token, or leave --host out and use a tunnel (ssh -L)",
        )
    if job.token is not None and not _TOKEN.fullmatch(job.token):
        raise InputError(
            "--token",
            found="a token that is too short or has other characters",
            expected="16 to 128 of A-Z, a-z, 0-9, _ and -",
            fix="make one with: python -c 'import secrets; print(secrets.token_urlsafe())'",
        )
    return job.token or secrets.token_urlsafe(32)


def _listening(host: str, port: int) -> socket.socket:
    """A socket that listens, so that a port that is taken is told before the case is opened."""
    if not 0 <= port <= 65535:
        raise InputError(f"--port {port}", found="no port", expected="0 to 65535", fix="leave it out for a free one")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family)
        # asyncio sets it for sockets that name their protocol, which this one does not: each answer waited 40 ms for
        # the browser to acknowledge its head. Connections have it from the listener.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        raise InputError(
            f"--host {host} --port {port}",
            found="a port that is taken" if taken else f"an address to which it cannot listen ({error.strerror})",
            expected="an address of this machine and a free port",
            fix="choose another --port, or leave it out" if taken else "check --host and --port",
        ) from error


def _shown_host(host: str) -> str:
    """What a browser on this machine calls the host."""
    if host in ("0.0.0.0", "::"):
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
