"""A version 0.1 requestor: a plain REQ socket, two JSON frames out, one back.

usage: requestor.py ENDPOINT     the router's, or a task worker's own
Prints one line for each thing it has found to be so; the first that is not ends it with exit code 1.
"""

import json
import os
import re
import sys
import time

import zmq


def meta(name):
    return {"id": name, "role": "requestor", "version": 0.1, "type": "REQ", "pack": time.time()}


def task(name, *args, **kwargs):
    return {"task": name, "args": list(args), "kwargs": kwargs, "pack": time.time()}


def ask(socket, *frames):
    socket.send_multipart([json.dumps(frame).encode() for frame in frames])
    return [json.loads(frame) for frame in socket.recv_multipart()]


def check_is_ack(reply):
    assert len(reply) == 1, f"not META alone: {reply}"
    (ack,) = reply
    assert ack["type"] == "ACK" and ack["role"] == "responder" and ack["version"] == 0.1, ack
    assert abs(time.time() - ack["pack"]) < 60, ack
    return ack


def check_is_worker(ack):
    pid = re.fullmatch(r"TASK-(\d+)", ack["id"])
    assert pid, ack
    os.kill(int(pid[1]), 0)  # raises if there is no such process


def check_is_error(reply, code):
    assert len(reply) == 2, f"not META and DATA: {reply}"
    head, body = reply
    assert head["type"] == "ERR" and head["role"] == "responder" and head["version"] == 0.1, head
    assert body["data"]["code"] == code and body["data"]["message"], body


def connect(context, kind, endpoint):
    socket = context.socket(kind)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.RCVTIMEO, 20_000)
    socket.connect(endpoint)
    return socket


def main(endpoint):
    context = zmq.Context()
    req = connect(context, zmq.REQ, endpoint)

    for name in ("count", "task_count", "TASK_count"):
        check_is_worker(check_is_ack(ask(req, meta("robot"), task(name, 2, 3))))
        print(f"{name} is done and acknowledged by META alone")

    check_is_ack(ask(req, meta("robot")))
    print("a ping is acknowledged")

    check_is_error(ask(req, meta("robot"), task("no_such_task")), "UNKNOWN_TASK")
    print("an unknown task is refused")

    req.send(b"not JSON")
    check_is_error([json.loads(frame) for frame in req.recv_multipart()], "BAD_FRAME")
    check_is_ack(ask(req, meta("robot"), task("count", 1)))
    print("a bad frame is refused, and the next message served")

    dealer = connect(context, zmq.DEALER, endpoint)
    for number in range(100):
        frames = [json.dumps(frame).encode() for frame in (meta("robot"), task("count", number))]
        dealer.send_multipart([b"", *frames])
    for _ in range(100):
        delimiter, *reply = dealer.recv_multipart()
        assert delimiter == b"", delimiter
        check_is_worker(check_is_ack([json.loads(frame) for frame in reply]))
    print("100 requests at once over a DEALER are all acknowledged")

    context.destroy()


main(*sys.argv[1:])
