"""
The Python client beside pyzmq, against one engine, and with a task in Python beside pyzmq_engine.py, in one process and by turns:
`python_client.py ENDPOINT ROUNDS PLAIN_ENDPOINT`.

Each asks for the same sum, encodes its requests and decodes its answers. Prints requests a second of each round as JSON.
"""
import collections
import json
import os
import statistics
import sys
import time
from typing import Callable

import zmq

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../../src/python"))

from task_engine import connect  # noqa: E402

endpoint, rounds, plain = sys.argv[1], int(sys.argv[2]), sys.argv[3]
context = zmq.Context.instance()


def connected(kind, address):
    made = context.socket(kind)
    made.connect(address)
    return made


req, dealer = connected(zmq.REQ, endpoint), connected(zmq.DEALER, endpoint)
plain_req, plain_dealer = connected(zmq.REQ, plain), connected(zmq.DEALER, plain)
engine = connect(endpoint)


def frames(serial):
    meta = {"id": "B", "role": "requestor", "version": 0.2, "type": "REQ", "pack": time.time(), "serial": str(serial)}
    return [json.dumps(frame).encode() for frame in (meta, {"task": "count", "args": [2, 3], "kwargs": {}, "pack": time.time()})]


def result_of(answer):
    meta, data = (json.loads(frame) for frame in answer)
    assert meta["type"] == "ACK"
    return data["data"]


def pyzmq_one(count, requestor=req):
    for serial in range(count):
        requestor.send_multipart(frames(serial))
        assert result_of(requestor.recv_multipart()) == 5


def client_one(count, task="count"):
    for _ in range(count):
        assert engine.call(task, 2, 3) == 5


def pyzmq_64(count, requestor=dealer):
    sent = 0
    for answered in range(count):
        while sent - answered < 64 and sent < count:
            requestor.send_multipart([b"", *frames(sent)])
            sent += 1
        assert result_of(requestor.recv_multipart()[1:]) == 5


def client_64(count, task="count"):
    jobs = collections.deque()
    for _ in range(count):
        if len(jobs) == 64:
            assert jobs.popleft().result() == 5
        jobs.append(engine.submit(task, 2, 3))
    while jobs:
        assert jobs.popleft().result() == 5


def plain_one(count):
    pyzmq_one(count, plain_req)


def pair_one(count):
    client_one(count, "sum")


def plain_64(count):
    pyzmq_64(count, plain_dealer)


def pair_64(count):
    client_64(count, "sum")


def client_map(count):
    assert engine.map("count", [(2, 3)] * count) == [5] * count


def seconds(work, *args):
    begun = time.perf_counter()
    work(*args)
    return time.perf_counter() - begun


rates: dict[str, list[float]] = {}
ones: list[Callable[..., None]] = [pyzmq_one, client_one, plain_one, pair_one]
many: list[Callable[[int], None]] = [pyzmq_64, client_64, client_map, plain_64, pair_64]
for step in range(rounds + 1):
    # One at a time by short turns, and by the median of each request: so other programs spoil all alike.
    took: dict[str, list[float]] = {way.__name__: [] for way in ones}
    for _ in range(20):
        for way in ones:
            took[way.__name__] += [seconds(way, 1) for _ in range(20)]
    for name, each in took.items():
        # The first round warms up.
        if step > 0:
            rates.setdefault(name, []).append(1 / statistics.median(each))
    for way in many:
        rate = 3000 / seconds(way, 3000)
        if step > 0:
            rates.setdefault(way.__name__, []).append(rate)
print(json.dumps(rates))
