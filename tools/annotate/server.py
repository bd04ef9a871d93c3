"""Serve an application with uvicorn until Ctrl-C, and say where."""

from __future__ import annotations

import socket
import webbrowser

import uvicorn
from fastapi import FastAPI

from tools.annotate.loading import keep_for_good

GRACE_SECONDS = 3
"""What a request that is under way gets when the server ends; a stroke needs milliseconds."""


def serve(app: FastAPI, listener: socket.socket, address: str, *, browser: bool) -> None:
    """Serve, and print the address or open it in the browser when the server answers.

    Args:
        listener: a socket that listens.
        address: of the page, with the token.
    """
    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=60,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    _Server(config, app, address, browser=browser).run(sockets=[listener])


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, app: FastAPI, address: str, *, browser: bool) -> None:
        super().__init__(config)
        self._app, self._address, self._browser = app, address, browser

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        keep_for_good()
        print(self._address if not self._browser else f"Annotate at {self._address} (Ctrl-C ends)", flush=True)
        if self._browser:
            webbrowser.open(self._address)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._app.state.cases.end_streams()  # or the pages' streams would keep it waiting
        self._app.state.monai_label.inference.end()
        await super().shutdown(sockets)
