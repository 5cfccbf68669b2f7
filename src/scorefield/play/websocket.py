"""WebSockets (RFC 6455) for uvicorn, which has none of its own: what one page needs, and nothing to negotiate.

A client's frame is two bytes (final, opcode; masked, length), a longer length where 7 bits do not hold it, four bytes
of mask and the payload. A message is a frame and what continues it; ping, pong and close may stand between. Whatever
breaks the rules closes the connection with the code and the reason for it. No extensions, so no compression.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import http
import logging
import struct
from typing import Any, NamedTuple
from urllib.parse import unquote

from uvicorn.config import Config
from uvicorn.server import ServerState

LARGEST = 4 << 20  # bytes of a message, beyond which the connection is closed
AHEAD = 16  # messages read before the application takes one: then the client waits
CONTINUED, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Frame(NamedTuple):
    """As it was sent, its mask taken off."""

    final: bool
    opcode: int
    payload: bytes


class Broken(Exception):
    """The client broke a rule: the close code of RFC 6455, section 7.4.1, and the reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


def taken(data: bytearray, most: int = LARGEST) -> Frame | None:
    """The first frame, taken off `data`; None while it is not whole.

    Raises:
        Broken: for a frame that a client may not send, or of over `most` bytes.
    """
    if len(data) < 2:
        return None
    final, opcode, masked, length, at = bool(data[0] & 128), data[0] & 15, data[1] & 128, data[1] & 127, 2
    if data[0] & 0x70 or opcode not in (CONTINUED, TEXT, BINARY, CLOSE, PING, PONG):
        raise Broken(1002, "no extension was agreed on, and there is no such opcode")
    if not masked:
        raise Broken(1002, "a client masks its frames")
    if opcode >= CLOSE and (length > 125 or not final):
        raise Broken(1002, "a control frame is one frame of at most 125 bytes")
    if length > 125:
        size = 2 if length == 126 else 8
        if len(data) < at + size:
            return None
        length, at = int.from_bytes(data[at : at + size], "big"), at + size
    if length > most:
        raise Broken(1009, f"a message may have at most {most} bytes")
    if len(data) < at + 4 + length:
        return None
    mask, payload = bytes(data[at : at + 4]), bytes(data[at + 4 : at + 4 + length])
    del data[: at + 4 + length]
    return Frame(final, opcode, _masked(payload, mask))


def frame(opcode: int, payload: bytes, mask: bytes | None = None) -> bytes:
    """One whole message, or control frame; with a `mask` of four bytes as a client sends it."""
    n, bit = len(payload), 0 if mask is None else 128
    small = struct.pack("!BB", 128 | opcode, bit | (n if n < 126 else 126 if n < 1 << 16 else 127))
    size = b"" if n < 126 else struct.pack("!H" if n < 1 << 16 else "!Q", n)
    return small + size + (payload if mask is None else mask + _masked(payload, mask))


def accept(key: bytes) -> bytes:
    """What a server answers to a handshake's key."""
    return base64.b64encode(hashlib.sha1(key + _GUID).digest())


def _masked(payload: bytes, mask: bytes) -> bytes:
    n = len(payload)
    stream = (mask * (n // 4 + 1))[:n]
    return (int.from_bytes(payload, "little") ^ int.from_bytes(stream, "little")).to_bytes(n, "little")


class WebSockets(asyncio.Protocol):
    """What uvicorn makes of a connection that asks for a WebSocket (`uvicorn.Config(ws=WebSockets)`)."""

    transport: asyncio.Transport

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.app: Any = config.loaded_app
        self.loop = _loop or asyncio.get_event_loop()
        self.state, self.app_state = server_state, app_state
        self.data, self.key = bytearray(), b""
        self.begun: tuple[int, bytearray] | None = None  # opcode and what there is of a message in several frames
        self.inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.writable = asyncio.Event()
        self.writable.set()
        self.asked = self.answered = self.closed = False

    # From the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.state.connections.add(self)  # type: ignore[arg-type]

    def connection_lost(self, exc: Exception | None) -> None:
        self.state.connections.discard(self)  # type: ignore[arg-type]
        self.writable.set()
        self._end(1006)

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def data_received(self, data: bytes) -> None:
        if self.closed:
            return
        self.data += data
        if not self.asked:
            self._handshake()
        elif self.answered:
            self._messages()

    def shutdown(self) -> None:
        """The server stops."""
        self._close(1012, "the server stops")

    # Messages

    def _handshake(self) -> None:
        head, whole, rest = bytes(self.data).partition(b"\r\n\r\n")
        if not whole:
            return
        self.asked, self.data = True, bytearray(rest)
        first, *lines = head.split(b"\r\n")
        method, target, _ = first.split(b" ", 2)
        headers = [(name.lower(), value) for name, _, value in (line.partition(b": ") for line in lines)]
        said = dict(headers)
        self.key = said.get(b"sec-websocket-key", b"")
        try:
            good = len(base64.b64decode(self.key, validate=True)) == 16
        except binascii.Error:
            good = False
        if method != b"GET" or not good or said.get(b"sec-websocket-version") != b"13":
            self._respond(400, [(b"sec-websocket-version", b"13")], b"this is no WebSocket of version 13\n")
            return
        path, _, query = target.partition(b"?")
        scope = {
            "type": "websocket",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": "ws",
            "server": self.transport.get_extra_info("sockname"),
            "client": self.transport.get_extra_info("peername"),
            "root_path": "",
            "path": unquote(path.decode("ascii", "replace")),
            "raw_path": path,
            "query_string": query,
            "headers": headers,
            "subprotocols": [],
            "state": self.app_state.copy(),
            "extensions": {"websocket.http.response": {}},
        }
        self.inbox.put_nowait({"type": "websocket.connect"})
        task = self.loop.create_task(self._run(scope))
        self.state.tasks.add(task)
        task.add_done_callback(self.state.tasks.discard)

    async def _run(self, scope: dict[str, Any]) -> None:
        try:
            await self.app(scope, self._receive, self._send)
        except Exception:
            logging.getLogger("uvicorn.error").exception("a WebSocket's application failed")
            self._close(1011, "the server failed")
        if not self.answered and not self.closed:
            self._respond(500, [], b"")
        self._close(1000, "")

    def _messages(self) -> None:
        try:
            while not self.closed and (got := taken(self.data)) is not None:
                self._frame(got)
        except Broken as broken:
            self._close(broken.code, broken.reason)
        if self.inbox.qsize() >= AHEAD and not self.transport.is_closing():
            self.transport.pause_reading()

    def _frame(self, got: Frame) -> None:
        if got.opcode == PING:
            self.transport.write(frame(PONG, got.payload))
        elif got.opcode == CLOSE:
            code = int.from_bytes(got.payload[:2], "big") if len(got.payload) > 1 else 1005
            self._close(1000, "", code)
        elif got.opcode != PONG:
            if (got.opcode == CONTINUED) != (self.begun is not None):
                raise Broken(1002, "a message is one frame and what continues it")
            opcode, parts = self.begun or (got.opcode, bytearray())
            if len(parts) + len(got.payload) > LARGEST:
                raise Broken(1009, f"a message may have at most {LARGEST} bytes")
            parts += got.payload
            self.begun = None if got.final else (opcode, parts)
            if got.final:
                self.inbox.put_nowait({"type": "websocket.receive", **_content(opcode, bytes(parts))})

    # To and from the application

    async def _receive(self) -> dict[str, Any]:
        message = await self.inbox.get()
        if self.inbox.qsize() < AHEAD and not self.transport.is_closing():
            self.transport.resume_reading()
        return message

    async def _send(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if self.closed and kind != "websocket.close":
            raise OSError("the client has gone")
        if kind == "websocket.accept":
            self.answered = True
            self.transport.write(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: " + accept(self.key) + b"\r\n\r\n"
            )
            self._messages()
        elif kind == "websocket.send":
            text = message.get("text")
            self.transport.write(frame(BINARY, message["bytes"]) if text is None else frame(TEXT, text.encode("utf-8")))
            await self.writable.wait()
        elif kind == "websocket.http.response.start":
            self.refusal = message
        elif kind == "websocket.http.response.body":
            self._respond(self.refusal["status"], self.refusal["headers"], message.get("body", b""))
        elif kind == "websocket.close":
            if self.answered:
                self._close(message.get("code", 1000), message.get("reason") or "")
            elif not self.closed:
                self._respond(403, [], b"")

    def _respond(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        """In place of the handshake."""
        told = {b"content-length": str(len(body)).encode(), b"connection": b"close", **dict(headers)}
        lines = [f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}".encode()]
        lines += [name + b": " + value for name, value in told.items()]
        self.answered = True
        self.transport.write(b"\r\n".join(lines) + b"\r\n\r\n" + body)
        self._end(1006)
        self.transport.close()

    def _close(self, code: int, reason: str, told: int | None = None) -> None:
        """Says why and ends; the application is `told` that code, or the same."""
        if self.closed:
            return
        if self.answered and not self.transport.is_closing():
            self.transport.write(frame(CLOSE, struct.pack("!H", code) + reason.encode()[:120]))
        self._end(told or code)
        self.transport.close()

    def _end(self, code: int) -> None:
        if not self.closed:
            self.closed = True
            self.inbox.put_nowait({"type": "websocket.disconnect", "code": code, "reason": ""})


def _content(opcode: int, payload: bytes) -> dict[str, Any]:
    if opcode == BINARY:
        return {"bytes": payload}
    try:
        return {"text": payload.decode("utf-8")}
    except UnicodeDecodeError:
        raise Broken(1007, "a text is UTF-8") from None
