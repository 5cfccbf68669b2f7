"""A client of the page's WebSocket, for tests: blocking, on a plain socket."""

import base64
import json
import os
import socket
from typing import Any

from scorefield.play.websocket import BINARY, CLOSE, TEXT, accept, frame
from scorefield.play.wire import unpacked

KEY = base64.b64encode(b"sixteen bytes of")


def handshake(port: int, *, path: str = "/ask", **changed: Any) -> tuple[socket.socket, str]:
    """(the connection, the head of the answer); headers may be changed, or left out with None."""
    headers = {
        "Host": f"127.0.0.1:{port}", "Origin": f"http://127.0.0.1:{port}", "Upgrade": "websocket",
        "Connection": "Upgrade", "Sec-WebSocket-Key": KEY.decode(), "Sec-WebSocket-Version": "13",
    } | {name.replace("_", "-"): value for name, value in changed.items()}  # fmt: skip
    held = socket.create_connection(("127.0.0.1", port), timeout=30)
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items() if value is not None)]
    held.sendall("\r\n".join([*lines, "", ""]).encode())
    head = b""
    while b"\r\n\r\n" not in head:
        head += held.recv(1)  # not a byte of what follows
    return held, head.decode()


class Talk:
    """One connection."""

    def __init__(self, port: int) -> None:
        self.socket, head = handshake(port)
        assert head.startswith("HTTP/1.1 101 "), head
        assert f"Sec-WebSocket-Accept: {accept(KEY).decode()}" in head

    def __enter__(self) -> "Talk":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def raw(self, data: bytes) -> None:
        self.socket.sendall(data)

    def text(self, text: str) -> None:
        self.raw(frame(TEXT, text.encode(), os.urandom(4)))

    def ask(self, number: int, ask: str, **said: Any) -> None:
        self.text(json.dumps({"id": number, "ask": ask, **({} if ask == "runs" else {"run": "digits"}), **said}))

    def frame(self) -> tuple[int, bytes]:
        """(opcode, payload) of the next frame."""
        first, n = self._bytes(2)
        if n > 125:
            n = int.from_bytes(self._bytes(2 if n == 126 else 8), "big")
        return first & 15, self._bytes(n)

    def reply(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The next one, whatever it is of."""
        opcode, payload = self.frame()
        assert opcode == BINARY, (opcode, payload)
        return unpacked(payload)

    def end(self, number: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """What ends that request; what comes before it is passed over."""
        while True:
            said, arrays = self.reply()
            if said["id"] == number and said["kind"] != "progress":
                return said, arrays

    def closed(self) -> tuple[int, str]:
        """(code, reason) with which the server closes; replies before it are passed over."""
        while True:
            opcode, payload = self.frame()
            if opcode == CLOSE:
                return int.from_bytes(payload[:2], "big"), payload[2:].decode()

    def _bytes(self, n: int) -> bytes:
        parts = bytearray()
        while len(parts) < n:
            more = self.socket.recv(n - len(parts))
            assert more, "the server went without a word"
            parts += more
        return bytes(parts)
