"""
The Python client beside pyzmq, against one engine, in one process and by turns: `python_client.py ENDPOINT ROUNDS`.

Each asks for the same task, encodes its requests and decodes its answers. Prints requests a second of each round as JSON.
"""
import collections
import json
import os
import sys
import time

import zmq

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../../src/python"))

from task_engine import connect  # noqa: E402

endpoint, rounds = sys.argv[1], int(sys.argv[2])
context = zmq.Context.instance()
req = context.socket(zmq.REQ)
req.connect(endpoint)
dealer = context.socket(zmq.DEALER)
dealer.connect(endpoint)
engine = connect(endpoint)


def frames(serial):
    meta = {"id": "B", "role": "requestor", "version": 0.2, "type": "REQ", "pack": time.time(), "serial": str(serial)}
    return [json.dumps(frame).encode() for frame in (meta, {"task": "count", "args": [2, 3], "kwargs": {}, "pack": time.time()})]


def result_of(answer):
    meta, data = (json.loads(frame) for frame in answer)
    assert meta["type"] == "ACK"
    return data["data"]


def pyzmq_one(count):
    for serial in range(count):
        req.send_multipart(frames(serial))
        assert result_of(req.recv_multipart()) == 5


def client_one(count):
    for _ in range(count):
        assert engine.call("count", 2, 3) == 5


def pyzmq_64(count):
    sent = 0
    for answered in range(count):
        while sent - answered < 64 and sent < count:
            dealer.send_multipart([b"", *frames(sent)])
            sent += 1
        assert result_of(dealer.recv_multipart()[1:]) == 5


def client_64(count):
    jobs = collections.deque()
    for _ in range(count):
        if len(jobs) == 64:
            assert jobs.popleft().result() == 5
        jobs.append(engine.submit("count", 2, 3))
    while jobs:
        assert jobs.popleft().result() == 5


def client_map(count):
    assert engine.map("count", [(2, 3)] * count) == [5] * count


rates: dict[str, list[float]] = {}
for step in range(rounds + 1):
    for way, count in ((pyzmq_one, 400), (client_one, 400), (pyzmq_64, 3000), (client_64, 3000), (client_map, 3000)):
        begun = time.perf_counter()
        way(count)
        # The first round warms up.
        if step > 0:
            rates.setdefault(way.__name__, []).append(count / (time.perf_counter() - begun))
print(json.dumps(rates))
