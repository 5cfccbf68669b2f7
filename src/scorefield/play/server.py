"""The page served to its own machine: files and runs by listed name, and nothing to anyone who was not meant.

A page on the web can make a visitor's browser ask 127.0.0.1. So every request must name this host in `Host` (against
DNS rebinding), a WebSocket must come from this very page (`Origin`; browsers let any page open one), there is no CORS,
and what a page may load is said by its content-security policy.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol  # needs websockets

from scorefield.play.export import modules, source
from scorefield.play.shown import shown
from scorefield.play.wire import Desk
from scorefield.runs import Trained

HOST = "127.0.0.1"
KINDS = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
NAMES = ("127.0.0.1", "localhost")
POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
POLICY += "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; connect-src 'self'"
LARGEST = 4 << 20  # bytes of a WebSocket's message, beyond which the connection is closed
LEAVE = 0.5  # seconds that the thread which computes gets to end its evaluation


class Guarded:
    """Answers only those who call it by the name of this machine, and tells browsers what the page may do."""

    def __init__(self, app: ASGIApp, port: int) -> None:
        self.app, self.hosts = app, {f"{name}:{port}".encode() for name in NAMES}
        self.policy = " ".join([POLICY, *(f"ws://{name}:{port}" for name in NAMES)]).encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if headers.get(b"host") not in self.hosts:
            await PlainTextResponse("this host is not served here", 403)(scope, receive, send)
            return
        if scope["type"] == "websocket" and headers.get(b"origin") != b"http://" + headers[b"host"]:
            await PlainTextResponse("this origin is not served here", 403)(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message["headers"],
                    (b"content-security-policy", self.policy),
                    (b"x-content-type-options", b"nosniff"),
                    (b"referrer-policy", b"no-referrer"),
                    (b"cache-control", b"no-store"),
                ]
            await send(message)

        await self.app(scope, receive, guarded)


def application(port: int, ready: Callable[[], None] = lambda: None, desk: Desk | None = None) -> ASGIApp:
    """The page as an ASGI application on that port; `ready` is called when it begins to serve."""
    desk = desk or Desk({})
    files = {name: source(name) for name in ("index.html", "style.css", *modules())}

    async def file(request: Request) -> Response:
        name = request.path_params.get("name") or "index.html"
        if name not in files:
            return PlainTextResponse("there is no such file", 404)
        return Response(files[name], media_type=KINDS[name.rpartition(".")[2]])

    async def everything(request: Request) -> Response:
        return Response(shown(), media_type="application/json")

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        ready()
        yield

    routes = [Route("/shown.json", everything), Route("/", file), Route("/{name:path}", file)]
    routes = [WebSocketRoute("/ask", desk.serve), *routes]
    return Guarded(Starlette(routes=routes, lifespan=lifespan), port)


def listening(port: int) -> socket.socket:
    """A socket on this machine's own address; port 0 takes a free one.

    Raises:
        ValueError: for a port that is taken, or may not be used.
    """
    held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if os.name == "posix":  # else a port is not free for a minute after its server closed a connection
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        held.bind((HOST, port))
    except OSError as error:
        held.close()
        raise ValueError(f"--port {port}: {error.strerror}; another one may be free, or 0 for any that is") from None
    return held


def server(port: int, ready: Callable[[], None], desk: Desk) -> uvicorn.Server:
    """What serves the page. Of a client no more is read while messages of its wait."""
    config = uvicorn.Config(
        application(port, ready, desk), log_level="warning", access_log=False, timeout_graceful_shutdown=1,
        ws=WebSocketsSansIOProtocol, ws_max_size=LARGEST, ws_ping_interval=20, ws_ping_timeout=20,
        ws_per_message_deflate=False,
    )  # fmt: skip
    return uvicorn.Server(config)


def serve(
    held: socket.socket, ready: Callable[[], None] = lambda: None, loaded: Mapping[str, Trained] | None = None
) -> None:
    """Serves on `held` until Ctrl-C, with those runs. An evaluation of a network may still be going on after it."""
    port, desk = held.getsockname()[1], Desk(loaded or {})
    held.listen()  # whoever comes early waits
    with contextlib.suppress(KeyboardInterrupt):
        server(port, ready, desk).run([held])
    desk.worker.stop(LEAVE)
