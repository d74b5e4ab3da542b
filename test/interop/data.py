"""Gives data with a version 0.1 REQ socket and follows it with a SUB socket.

usage: data.py ROUTER_ENDPOINT DATA_WORKER_ENDPOINT
Prints one line for each thing it has found to be so; the first that is not ends it with exit code 1.
"""

import json
import sys
import time

import zmq


def put(req, topic, value):
    meta = {"id": topic, "role": "requestor", "version": 0.1, "type": "REQ", "pack": time.time()}
    data = {"data": value, "pack": time.time()}
    req.send_multipart([json.dumps(frame).encode() for frame in (meta, data)])
    reply = [json.loads(frame) for frame in req.recv_multipart()]
    assert len(reply) == 1, f"not META alone: {reply}"
    assert reply[0]["type"] == "ACK" and reply[0]["role"] == "responder" and reply[0]["version"] == 0.1, reply
    assert reply[0]["id"].startswith("TASK-"), reply


def subscribe(context, endpoint, topic):
    sub = context.socket(zmq.SUB)
    sub.setsockopt(zmq.RCVTIMEO, 20_000)
    sub.connect(endpoint)
    sub.subscribe(topic)
    return sub


def check_gets(sub, topic, value):
    name, meta, data = sub.recv_multipart()
    assert name == topic.encode(), name
    assert json.loads(meta)["id"] == topic, meta
    assert json.loads(data)["data"] == value, data


def main(router, data_worker):
    context = zmq.Context()
    context.setsockopt(zmq.LINGER, 0)
    req = context.socket(zmq.REQ)
    req.setsockopt(zmq.RCVTIMEO, 20_000)
    req.connect(router)

    put(req, "battery", {"volts": 11.1})
    print("data is taken and acknowledged by META alone")

    first = subscribe(context, data_worker, "battery")
    check_gets(first, "battery", {"volts": 11.1})
    print("a new subscriber gets the last value at once")

    put(req, "camera", [1, 2, 3])
    put(req, "battery", {"volts": 10.9})
    check_gets(first, "battery", {"volts": 10.9})
    print("a subscriber gets every later value of its topic, and no other's")

    second = subscribe(context, data_worker, "battery")
    check_gets(second, "battery", {"volts": 10.9})
    put(req, "battery", {"volts": 10.7})
    for sub in (first, second):
        check_gets(sub, "battery", {"volts": 10.7})
    print("a second subscriber's first value is not sent to the first one again")

    context.destroy()


main(*sys.argv[1:])
