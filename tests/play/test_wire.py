"""The WebSocket: what is refused, what wins, what ends, and that nothing a client says brings the server down."""

import contextlib
import json
import random
import re
import signal
import socket
import string
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from talk_cases import Talk, handshake

from scorefield.play import wire
from scorefield.play.server import LARGEST
from scorefield.play.wire import MESSAGE, packed, unpacked

pytestmark = pytest.mark.filterwarnings("ignore:.*left the data's range")

PLAY = [sys.executable, "-m", "scorefield", "play"]
LONG = {"nfe": 250, "n": 64, "solver": "ddpm"}


def until(true):
    """Waits for it, up to half a minute."""
    for _ in range(3000):
        if true():
            return
        time.sleep(0.01)
    pytest.fail("it did not come to that")


# Format


def test_a_reply_is_what_was_packed():
    arrays = {"a": np.arange(6, dtype=np.uint8).reshape(2, 3), "b": np.linspace(0, 1, 5, dtype=np.float32)}
    said, got = unpacked(packed({"id": 3, "kind": "answer"}, arrays))
    assert said == {"id": 3, "kind": "answer"}
    assert got["a"].tolist() == arrays["a"].tolist()
    np.testing.assert_array_equal(got["b"], arrays["b"])


# Who may ask


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({}, 101),
        ({"Host": "localhost:{port}", "Origin": "http://localhost:{port}"}, 101),
        ({"Origin": None}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": "https://127.0.0.1:{port}"}, 403),
        ({"Origin": "http://localhost:{port}"}, 403),  # of another name than the one asked
        ({"Origin": "http://127.0.0.1:{port}.evil.example"}, 403),
        ({"Host": "evil.example", "Origin": "http://evil.example"}, 403),
        ({"Host": "evil.example:{port}", "Origin": "http://evil.example:{port}"}, 403),
    ],
)
def test_only_its_own_page_may_open_a_socket(served, changed, status):
    port = served().port
    answer = handshake(port, **{k: v and v.format(port=port) for k, v in changed.items()})
    assert answer.status == status
    assert answer.getheader("access-control-allow-origin") is None


def test_there_is_no_other_socket(served):
    assert handshake(served().port, path="/none").status == 403


def test_too_many_pages_are_told_so_before_they_are_in(served, monkeypatch):
    monkeypatch.setattr(wire, "CLIENTS", 2)
    at = served()
    with Talk(at.port), Talk(at.port):
        assert handshake(at.port).status == 429
    until(lambda: at.desk.open == 0)
    with Talk(at.port) as talk:
        talk.ask(1, "runs")
        assert talk.reply()[0]["kind"] == "runs"


# What is said


def test_runs_are_listed_and_addressed_by_name_alone(served, digits):
    with Talk(served().port) as talk:
        talk.ask(5, "runs")
        said, _ = talk.reply()
        (listed,) = said["runs"]
        assert (said["id"], said["kind"], listed["name"], listed["shape"]) == (5, "runs", "digits", [1, 8, 8])
        assert {"name": "adaptive", "adaptive": True} in said["solvers"]
        for name in (str(digits), "../digits", "digits ", "", "<b>"):
            talk.say(json.dumps({"id": 6, "ask": "sample", "run": name}))
            said, _ = talk.reply()
            assert (said["id"], said["kind"]) == (6, "error")
            assert said["line"] == "run must be one of those listed"


def of(ask, **said):
    return json.dumps({"id": 1, "ask": ask, "run": "digits", **said})


NOT_JSON = "a request is a JSON object; this is no JSON"
BAD = [
    ("", NOT_JSON),
    ("[" * 100_000, NOT_JSON),
    ("[1]", "a request is a JSON object; got list"),
    ("{}", "id must be an integer from 0 to 2^53"),
    ('{"id": true, "ask": "runs"}', "id must be an integer from 0 to 2^53"),
    ('{"id": 1}', "ask must say what is wanted"),
    ('{"id": 1, "ask": "sample"}', "sample: run: Field required; got {}"),
    (of("<img>"), "ask must be one of sample, interpolate, likelihood, inpaint, ct; got '<img>'"),
    (of("sample", n=1e9), "sample: n: Input should be a valid integer; got 1000000000.0"),
    (of("sample", n=65), "sample: n: Input should be less than or equal to 64; got 65"),
    (of("sample", path="/etc"), "sample: path: Extra inputs are not permitted; got '/etc'"),
    (of("sample", solver="eulr"), "unknown solver 'eulr'. Did you mean 'euler'?"),
    (of("sample", solver="adaptive", nfe=9), None),
    (of("sample", label=10), "label must lie in 0..9; got 10"),
    (of("sample", guidance=float("nan")), "sample: guidance: Input should be a finite number; got nan"),
    (of("sample", guidance=2), "guidance needs a class to guide to"),
    (of("likelihood", picture="AAA="), "picture must have 64 bytes, 8 x 8 x 1; got 2"),
    (of("likelihood", picture="?"), "picture must be bytes in base64"),
    (of("inpaint", mask="A" * 86 + "=="), "mask must hide a part, neither nothing nor all"),
]


@pytest.mark.parametrize(("text", "line"), BAD)
def test_what_cannot_be_taken_is_answered_in_one_line(served, text, line):
    with Talk(served().port) as talk:
        talk.say(text)
        said, _ = talk.reply()
        assert said["kind"] == "error"
        assert "\n" not in said["line"]
        assert line is None or said["line"] == line
        talk.ask(9, "runs")
        assert talk.end(9)[0]["kind"] == "runs"  # and it is still there


def test_too_large_is_said_and_much_too_large_ends_it(served):
    with Talk(served().port) as talk:
        talk.say("x" * (MESSAGE + 1))
        assert talk.reply()[0]["line"] == f"a request may have at most {MESSAGE} characters; got {MESSAGE + 1}"
        talk.raw(b"\x81\xff" + (LARGEST + 1).to_bytes(8, "big") + b"\0\0\0\0")
        code, reason = talk.closed()
        assert code == 1009
        assert str(LARGEST) in reason


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"\x81\x82\0\0\0\0\xff\xfe", 1007),  # a text that is no UTF-8
        (b"\x81\x02{}", 1002),  # not masked
        (b"GET / HTTP/1.1\r\n\r\n", 1002),
    ],
)
def test_what_is_no_message_ends_the_connection_with_its_code(served, raw, code):
    with Talk(served().port) as talk:
        talk.raw(raw)
        assert talk.closed()[0] == code


def test_ten_thousand_random_messages_are_each_answered(served):
    """Bytes, text, JSON of any shape, and requests with one value spoilt; a line for each, and then an answer."""
    at, chance = served(), random.Random(0)
    alphabet = string.printable + "é字\u202e\x00<script>"

    def value(depth=0):
        kinds = [
            lambda: None, lambda: chance.random() < 0.5, lambda: chance.randrange(-(10**30), 10**30),
            lambda: chance.choice([0, -1, 2**31, 2**63, 1e308, 5e-324, float("nan"), float("inf")]),
            lambda: "".join(chance.choices(alphabet, k=chance.randrange(20))),
            lambda: [value(depth + 1) for _ in range(chance.randrange(4))],
            lambda: {"".join(chance.choices(alphabet, k=3)): value(depth + 1) for _ in range(chance.randrange(4))},
        ]  # fmt: skip
        return chance.choice(kinds[: 5 if depth > 3 else 7])()

    keys = ["id", "ask", "run", "n", "seed", "nfe", "solver", "label", "guidance", "picture", "mask", "views"]

    def message():
        kind = chance.randrange(5)
        if kind == 0:
            return chance.randbytes(chance.randrange(200))
        if kind == 1:
            text = "".join(chance.choices(alphabet, k=chance.randrange(200)))
        elif kind == 2:
            text = json.dumps(value())
        else:
            said = {"id": 1, "ask": chance.choice(["sample", "ct", "likelihood"]), "run": "none"}
            text = json.dumps({**said, **{chance.choice(keys): value() for _ in range(chance.randrange(1, 4))}})
            if kind == 4:  # torn
                text = text[: chance.randrange(len(text))]
        return text

    with Talk(at.port) as talk:
        for _ in range(100):
            for _ in range(100):
                talk.say(message())
            said = [talk.reply()[0] for _ in range(100)]
            assert {s["kind"] for s in said} == {"error"}
            assert all(s["line"] and "\n" not in s["line"] and len(s["line"]) < 400 for s in said)
        talk.ask(7, "sample", nfe=2, n=1)
        assert talk.end(7)[0]["kind"] == "answer"
    for _ in range(50):  # bytes that are no frames
        with Talk(at.port) as talk:
            talk.raw(chance.randbytes(chance.randrange(1, 500)))
    until(lambda: at.desk.open == 0)


def deaf(port):
    """A connection whose other end never reads."""
    held = socket.create_connection(("127.0.0.1", port), timeout=30)
    headers = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: c2l4dGVlbiBieXRlcyBvZg=="]
    headers += [f"Host: 127.0.0.1:{port}", f"Origin: http://127.0.0.1:{port}", "Sec-WebSocket-Version: 13"]
    held.sendall("\r\n".join(["GET /ask HTTP/1.1", *headers, "", ""]).encode())
    assert held.recv(12) == b"HTTP/1.1 101"
    return held


# What is computed


def test_the_newest_wins_and_what_is_stale_stops_at_its_next_evaluation(served, gate):
    at = served()
    with Talk(at.port) as talk:
        talk.ask(1, "sample", **LONG)
        assert gate.reached.wait(30)
        running = at.desk.worker.running[1]
        talk.ask(2, "sample", nfe=3)
        talk.ask(3, "sample", nfe=2, n=1)
        assert talk.end(2)[0] == {"id": 2, "kind": "stale", "evaluations": 0}  # never begun
        assert running.stale.is_set()
        gate.open.set()
        assert talk.end(1)[0] == {"id": 1, "kind": "stale", "evaluations": 1}  # of 250
        said, _ = talk.end(3)
        assert (said["kind"], said["evaluations"], said["nfe"]) == ("answer", 2, 2)


def test_another_clients_request_waits_and_is_not_stopped_by_mine(served, gate):
    at = served()
    with Talk(at.port) as mine, Talk(at.port) as other:
        mine.ask(1, "sample", nfe=4, n=1)
        assert gate.reached.wait(30)
        other.ask(1, "sample", nfe=5, n=1)
        until(lambda: len(at.desk.worker.waiting) == 1)
        gate.open.set()
        assert [t.end(1)[0]["evaluations"] for t in (mine, other)] == [4, 5]


def test_who_leaves_is_not_computed_for(served, gate):
    at = served()
    talk = Talk(at.port)
    talk.ask(1, "sample", **LONG)
    assert gate.reached.wait(30)
    running = at.desk.worker.running[1]
    talk.leave()
    assert running.stale.wait(30)
    gate.open.set()
    until(lambda: at.desk.worker.running is None)
    assert running.evaluations == 1
    assert at.desk.open == 0


def test_a_full_queue_says_busy_and_takes_a_newer_request_of_who_waits(served, gate):
    at = served(queue=1)
    with Talk(at.port) as a, Talk(at.port) as b, Talk(at.port) as c:
        a.ask(1, "sample", nfe=2, n=1)
        assert gate.reached.wait(30)
        b.ask(1, "sample", nfe=2, n=1)
        until(lambda: len(at.desk.worker.waiting) == 1)
        c.ask(1, "sample", nfe=2, n=1)
        said, _ = c.reply()
        assert (said["kind"], said["line"]) == ("busy", "busy: too many others wait; ask again")
        b.ask(2, "sample", nfe=3, n=1)
        assert b.reply()[0]["kind"] == "stale"
        gate.open.set()
        assert a.end(1)[0]["kind"] == "answer"
        assert b.end(2)[0]["kind"] == "answer"
        c.ask(2, "sample", nfe=2, n=1)
        assert c.end(2)[0]["kind"] == "answer"


def test_progress_is_told(served, run, monkeypatch):
    monkeypatch.setattr(wire, "OFTEN", 0.0)
    with Talk(served().port) as talk:
        talk.ask(1, "sample", nfe=20, n=1, solver="ddim")
        said, told = {}, []
        while said.get("kind") != "answer":
            said, _ = talk.reply()
            told.append(said.get("evaluations"))
    assert told == sorted(told)
    assert told[-1] == 20


def test_a_fault_of_ours_is_said_and_the_next_request_is_served(served, run):
    with Talk(served().port) as talk:
        handle = run.model.register_forward_pre_hook(lambda *_: 1 / 0)
        talk.ask(1, "sample", nfe=2)
        said, _ = talk.end(1)
        assert (said["kind"], said["line"]) == ("error", "ZeroDivisionError: division by zero")
        handle.remove()
        talk.ask(2, "sample", nfe=2)
        assert talk.end(2)[0]["kind"] == "answer"


def test_who_takes_no_replies_is_let_go(served, monkeypatch):
    """What is computed is not kept without end for a client that does not read."""
    clients = []

    class Known(wire.Client):
        def __init__(self, socket):
            super().__init__(socket)
            clients.append(self)

    monkeypatch.setattr(wire, "Client", Known)
    at = served()
    held = deaf(at.port)
    until(lambda: at.desk.open == 1)
    for _ in range(100):
        clients[0].post(bytes(1 << 20), needed=False)
        clients[0].post(bytes(1 << 20))
        time.sleep(0.001)
    until(lambda: at.desk.open == 0)
    assert clients[0].unread.qsize() == wire.UNREAD
    with Talk(at.port) as talk:
        talk.ask(1, "runs")
        assert talk.reply()[0]["kind"] == "runs"
    held.close()


def test_who_takes_no_replies_is_not_read_from(served):
    at = served()
    held = deaf(at.port)
    held.settimeout(1)
    frame, sent = b"\x81\x80\0\0\0\0" * 1000, 0  # an empty text, a line in answer to each
    with contextlib.suppress(TimeoutError):
        while sent < 64 << 20:
            sent += held.send(frame)
    assert sent < 64 << 20
    assert at.desk.open == 1
    with Talk(at.port) as talk:
        talk.ask(1, "runs")
        assert talk.reply()[0]["kind"] == "runs"
    held.close()
    until(lambda: at.desk.open == 0)


# The process


def started(digits, *more, program=None):
    command = [*PLAY, str(digits), "--port", "0", "--no-open", *more] if program is None else program
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    (port,) = re.findall(r"http://127\.0\.0\.1:(\d+)/", heard(running))
    return running, int(port)


def heard(running):
    assert running.stdout is not None
    return running.stdout.readline()


STUCK = """
import sys, time
from pathlib import Path
from scorefield import runs
from scorefield.cli import main
load = runs.load
def stuck(*args, **options):
    run = load(*args, **options)
    run.model.register_forward_pre_hook(lambda *_: (print("in", flush=True), time.sleep(60)))
    return run
runs.load = stuck
main(["play", sys.argv[1], "--port", "0", "--no-open"])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("stuck", [False, True])
def test_ctrl_c_ends_it_at_once_within_a_computation(digits, stuck):
    """Between two evaluations of a network, and within one that takes a minute."""
    running, port = started(digits, program=[sys.executable, "-c", STUCK, str(digits)] if stuck else None)
    with Talk(port) as talk:
        talk.ask(1, "sample", **LONG)
        if stuck:
            assert heard(running) == "in\n"
        else:
            assert talk.reply()[0]["kind"] == "progress"
        running.send_signal(signal.SIGINT)
        assert running.wait(20) == 0  # well before what it was asked for would be done: no clock is judged


@pytest.mark.slow
def test_fifty_clients_for_a_minute(digits, capsys):
    """Each asks, leaves now and then, and asks again; every request ends, and the memory stays."""
    running, port = started(digits)
    ends: dict[str, int] = {}
    failures, lock = [], threading.Lock()
    asks = [("sample", {"nfe": 4, "n": 4}), ("interpolate", {"nfe": 4}), ("ct", {"nfe": 4, "draws": 2}), ("runs", {})]

    def memory():
        status = Path(f"/proc/{running.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) / 1024

    def visit(seed, end):
        chance, number = random.Random(seed), 0
        try:
            while time.monotonic() < end:
                with Talk(port) as talk:
                    for _ in range(chance.randrange(1, 6)):
                        number += 1
                        kind, said = chance.choice(asks)
                        talk.ask(number, kind, **said)
                        if chance.random() < 0.2:
                            continue  # a newer one follows, or it leaves
                        kind = talk.end(number)[0]["kind"]
                        with lock:
                            ends[kind] = ends.get(kind, 0) + 1
                        time.sleep(0.05 * chance.random())
        except BaseException as error:
            failures.append(repr(error))

    def crowd(seconds):
        clients = [threading.Thread(target=visit, args=(i, time.monotonic() + seconds)) for i in range(50)]
        for c in clients:
            c.start()
        for c in clients:
            c.join()

    crowd(10)  # caches, threads, the allocator's pools
    before = memory()
    crowd(60)
    after = memory()
    with capsys.disabled():
        print(f"\n50 clients, 60 s: {ends}, memory {before:.0f} MB before, {after:.0f} MB after")
    assert failures == []
    assert "error" not in ends
    assert after - before < 30
    running.send_signal(signal.SIGINT)
    assert running.wait(10) == 0
