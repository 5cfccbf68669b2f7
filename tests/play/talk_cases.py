"""A client of the page's WebSocket, for tests: blocking, and able to break the rules."""

import contextlib
import http.client
import json
import socket
from typing import Any, NoReturn

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from scorefield.play.wire import unpacked


def handshake(port: int, *, path: str = "/ask", **changed: str | None) -> http.client.HTTPResponse:
    """The answer to it; headers may be changed, or left out with None."""
    headers = {
        "Host": f"127.0.0.1:{port}", "Origin": f"http://127.0.0.1:{port}", "Upgrade": "websocket",
        "Connection": "Upgrade", "Sec-WebSocket-Key": "c2l4dGVlbiBieXRlcyBvZg==", "Sec-WebSocket-Version": "13",
    } | changed  # fmt: skip
    asked = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    asked.request("GET", path, headers={name: value for name, value in headers.items() if value is not None})
    answer = asked.getresponse()
    asked.close()
    return answer


class Talk:
    """One connection."""

    def __init__(self, port: int) -> None:
        origin: Any = f"http://127.0.0.1:{port}"
        address, plain = f"ws://127.0.0.1:{port}/ask", {"compression": None, "max_size": None, "proxy": None}
        self.opened = contextlib.ExitStack()
        self.connection = self.opened.enter_context(connect(address, origin=origin, **plain))

    def __enter__(self) -> "Talk":
        return self

    def __exit__(self, *_: object) -> None:
        self.opened.close()

    def leave(self) -> None:
        """Without a word."""
        self.connection.socket.shutdown(socket.SHUT_RDWR)

    def raw(self, data: bytes) -> None:
        """Past the protocol."""
        self.connection.socket.sendall(data)

    def say(self, message: str | bytes) -> None:
        self.connection.send(message)

    def ask(self, number: int, ask: str, **said: Any) -> None:
        self.say(json.dumps({"id": number, "ask": ask, **({} if ask == "runs" else {"run": "digits"}), **said}))

    def reply(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The next one, whatever it is of."""
        return unpacked(self.connection.recv(60, decode=False))

    def end(self, number: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """What ends that request; what comes before it is passed over."""
        while True:
            said, arrays = self.reply()
            if said["id"] == number and said["kind"] != "progress":
                return said, arrays

    def closed(self) -> tuple[int, str]:
        """(code, reason) with which the server closes; replies before it are passed over."""
        with pytest.raises(ConnectionClosed) as ended:
            self._pass_over()
        assert ended.value.rcvd is not None
        return ended.value.rcvd.code, ended.value.rcvd.reason

    def _pass_over(self) -> NoReturn:
        while True:
            self.connection.recv(60)
