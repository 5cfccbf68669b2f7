"""The talk between the page and the server: one WebSocket, requests as JSON, replies as binary frames.

A request is an object `{"id": a number, "ask": "sample", "run": a listed name, ...}`; `{"ask": "runs"}` lists what
there is. Every request gets one reply of its id that ends it, and while it is computed some of how far it is:

    runs        {"runs", "solvers"}
    progress    {"evaluations"}
    answer      what was asked for, "seconds", "evaluations", "notes", and arrays
    stale       a newer request of the same client took its place; nobody computes it any more
    busy        too many others wait
    error       {"line"}

A reply is the length of its JSON in four bytes, little-endian, the JSON, and the arrays that it names, one after
another: `{"id", "kind", "arrays": [{"name", "dtype", "shape"}, ...], ...}`.
"""

from __future__ import annotations

import asyncio
import json
import struct
import threading
import time
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from starlette.responses import PlainTextResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from scorefield.play.models import Answer, Array, Ask, asked, described, solvers, watched
from scorefield.play.worker import Busy, Job, Stale, Worker
from scorefield.runs import Trained

CLIENTS = 64  # connections at a time
MESSAGE = 1 << 20  # bytes of a request
UNREAD = 16  # replies that wait for a client to take them
OFTEN = 0.1  # seconds between two words of progress
GOODBYE = 1.0  # seconds that a client which took no replies gets to take the last word
DTYPES = {"uint8": np.dtype("u1"), "float32": np.dtype("<f4")}


def packed(said: Mapping[str, Any], arrays: Mapping[str, Array] | None = None) -> bytes:
    """A reply as one binary message."""
    named = arrays or {}
    listed = [{"name": name, "dtype": str(a.dtype), "shape": list(a.shape)} for name, a in named.items()]
    head = json.dumps({**said, "arrays": listed}, allow_nan=False).encode()
    return b"".join(
        [struct.pack("<I", len(head)), head, *(a.astype(DTYPES[str(a.dtype)]).tobytes() for a in named.values())]
    )


def unpacked(reply: bytes) -> tuple[dict[str, Any], dict[str, Array]]:
    """What `packed` packed."""
    (size,) = struct.unpack_from("<I", reply)
    said, at, arrays = json.loads(reply[4 : 4 + size]), 4 + size, {}
    for a in said.pop("arrays"):
        dtype, count = DTYPES[a["dtype"]], int(np.prod(a["shape"], dtype=np.int64))
        arrays[a["name"]] = np.frombuffer(reply, dtype, count, at).reshape(a["shape"])
        at += count * dtype.itemsize
    return said, arrays


def request(message: Mapping[str, Any]) -> tuple[int, str, dict[str, Any]]:
    """(id, ask, the rest) of what a client sent.

    Raises:
        Refused: in one line, with the id where there is one.
    """
    text = message.get("text")
    if text is None:
        raise Refused("a request is text: a JSON object")
    if len(text) > MESSAGE:
        raise Refused(f"a request may have at most {MESSAGE} characters; got {len(text)}")
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        raise Refused("a request is a JSON object; this is no JSON") from None
    if not isinstance(said, dict):
        raise Refused(f"a request is a JSON object; got {type(said).__name__}")
    number, kind = said.pop("id", None), said.pop("ask", None)
    if type(number) is not int or not 0 <= number < 2**53:
        raise Refused("id must be an integer from 0 to 2^53")
    if not isinstance(kind, str):
        raise Refused("ask must say what is wanted", number)
    return number, kind, said


class Refused(Exception):
    """A request that cannot be taken, and its id where it has one."""

    def __init__(self, line: str, number: int | None = None) -> None:
        super().__init__(line)
        self.line, self.number = line, number


class Desk:
    """Where requests for some runs are taken: the WebSocket's endpoint."""

    def __init__(self, loaded: Mapping[str, Trained], worker: Worker | None = None) -> None:
        self.runs, self.worker, self.open = loaded, worker or Worker(), 0
        self.solvers = solvers()

    async def serve(self, socket: WebSocket) -> None:
        """Serves one client until it goes."""
        if self.open >= CLIENTS:
            await socket.send_denial_response(PlainTextResponse(f"busy: {self.open} pages are open already\n", 429))
            return
        self.open += 1
        client = Client(socket)
        try:
            await socket.accept()
            tasks = [asyncio.create_task(task) for task in (self._read(client), client.send(), client.deaf.wait())]
            try:
                await next(asyncio.as_completed(tasks))
            finally:
                for task in tasks:
                    task.cancel()
            if client.deaf.is_set():  # it may yet read why
                async with asyncio.timeout(GOODBYE):
                    await socket.close(1008, "replies are not taken")
        except (WebSocketDisconnect, OSError):  # TimeoutError is one
            pass  # it has gone
        finally:
            self.open -= 1
            self.worker.forget(client)
            client.left.set()

    async def _read(self, client: Client) -> None:
        while (message := await client.socket.receive())["type"] != "websocket.disconnect":
            await self._take(client, message)

    async def _take(self, client: Client, message: Mapping[str, Any]) -> None:
        number = None
        try:
            number, kind, said = request(message)
            if kind == "runs":
                listed = [described(*item) for item in self.runs.items()]
                await client.tell({"id": number, "kind": "runs", "runs": listed, "solvers": self.solvers})
                return
            ask = asked(kind, said)
            if ask.run not in self.runs:
                raise Refused("run must be one of those listed", number)
            replaced = self.worker.submit(client, Work(client, number, ask, self.runs[ask.run]))
            if isinstance(replaced, Work):
                await client.tell({"id": replaced.number, "kind": "stale", "evaluations": 0})
        except Refused as refused:
            await client.tell(_error(number if refused.number is None else refused.number, refused.line))
        except ValueError as error:
            await client.tell(_error(number, _line(error)))
        except Busy:
            await client.tell({"id": number, "kind": "busy", "line": "busy: too many others wait; ask again"})


class Client:
    """One connection, and what it is told from the thread that computes."""

    def __init__(self, socket: WebSocket) -> None:
        self.socket, self.loop = socket, asyncio.get_running_loop()
        self.unread: asyncio.Queue[bytes] = asyncio.Queue(UNREAD)
        self.left, self.deaf = threading.Event(), asyncio.Event()

    async def tell(self, said: Mapping[str, Any]) -> None:
        """At once; a client that does not read is not read from either."""
        if not self.left.is_set():
            await self._put(packed(said))

    async def send(self) -> None:
        """Sends what was computed, as it comes."""
        while True:
            await self._put(await self.unread.get())

    def post(self, reply: bytes, *, needed: bool = True) -> None:
        """From any thread. Progress is left out where replies wait already; a client that takes none is let go."""

        def put() -> None:
            if self.unread.full() and needed:
                self.left.set()
                self.deaf.set()
            elif needed or self.unread.empty():
                self.unread.put_nowait(reply)

        if not self.left.is_set() and not self.loop.is_closed():
            self.loop.call_soon_threadsafe(put)

    async def _put(self, reply: bytes) -> None:
        try:
            await self.socket.send_bytes(reply)
        except RuntimeError:  # uvicorn's word for: closed already, over what was no message
            raise WebSocketDisconnect from None


class Work(Job):
    """One request, computed and answered."""

    def __init__(self, client: Client, number: int, ask: Ask, run: Trained) -> None:
        super().__init__()
        self.client, self.number, self.ask, self.run = client, number, ask, run

    def work(self) -> None:
        told = begun = time.monotonic()

        def seen() -> None:
            nonlocal told
            self.check()
            if (now := time.monotonic()) - told > OFTEN:
                told = now
                said = {"id": self.number, "kind": "progress", "evaluations": self.evaluations}
                self.client.post(packed(said), needed=False)

        try:
            with warnings.catch_warnings(record=True) as notes, watched(self.run, seen):
                warnings.simplefilter("always")
                answer = self.ask.answer(self.run)
            self.client.post(self._reply(answer, time.monotonic() - begun, [str(n.message) for n in notes]))
        except Stale:
            self.client.post(packed({"id": self.number, "kind": "stale", "evaluations": self.evaluations}))
        except (ValueError, FileNotFoundError) as error:
            self.client.post(packed(_error(self.number, _line(error))))
        except (MemoryError, torch.OutOfMemoryError):
            self.client.post(packed(_error(self.number, "out of memory: ask for less")))
        except Exception as error:  # a fault of ours: said, and the next request is served
            self.client.post(packed(_error(self.number, f"{type(error).__name__}: {_line(error)}")))

    def _reply(self, answer: Answer, seconds: float, notes: list[str]) -> bytes:
        said = {"id": self.number, "kind": "answer", **answer.said}
        said |= {"seconds": round(seconds, 3), "evaluations": self.evaluations, "notes": list(dict.fromkeys(notes))}
        return packed(said, answer.arrays)


def _error(number: int | None, line: str) -> dict[str, Any]:
    return {"id": number, "kind": "error", "line": line}


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())
