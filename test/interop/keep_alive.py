"""A requestor whose job ends when it is not kept alive by KEEPALIVE.

usage: keep_alive.py ENDPOINT TASK SECONDS     keeps it alive until it ends; SECONDS are its argument
       keep_alive.py ENDPOINT TASK             does not
ENDPOINT is the router's. A TASK whose name ends in `guarded` demands KEEPALIVE by itself; for any other it is asked for.
Prints the terminal reply's type and data, and the time that was kept, as a line of JSON.
"""

import json
import sys
import time

import zmq

DEADMAN_MS, SERIAL = 1500, "keep-1"


def send(socket, kind, *frames):
    meta = {"id": "arm", "role": "requestor", "version": 0.2, "type": kind, "pack": time.time(), "serial": SERIAL}
    socket.send_multipart([b"", *[json.dumps(frame).encode() for frame in (meta, *frames)]])


def receive(socket):
    _, head, *bodies = socket.recv_multipart()
    return json.loads(head), [json.loads(body) for body in bodies]


def main(endpoint, task, *seconds):
    socket = zmq.Context.instance().socket(zmq.DEALER)
    socket.setsockopt(zmq.LINGER, 0)
    socket.connect(endpoint)
    options = {} if task.endswith("guarded") else {"options": {"deadmanMs": DEADMAN_MS}}
    args = [float(number) for number in seconds]
    send(socket, "REQ", {"task": task, "args": args, "kwargs": {}, "pack": time.time(), **options})
    deadman_ms = None if options == {} else DEADMAN_MS
    give_up = time.monotonic() + 30
    while time.monotonic() < give_up:
        if socket.poll(20 if deadman_ms is None else deadman_ms / 4):
            head, bodies = receive(socket)
            assert head["serial"] == SERIAL, head
            if head["type"] == "KEEPALIVE":
                deadman_ms = bodies[0]["data"]["deadmanMs"]
            elif head["type"] != "PROGRESS":
                print(json.dumps({"type": head["type"], "data": bodies[0]["data"], "deadmanMs": deadman_ms}))
                return
        elif deadman_ms is not None and seconds:
            send(socket, "KEEPALIVE")
    sys.exit("no answer")


main(*sys.argv[1:])
