"""A plain task queue of the usual kind, to be measured beside ours: a pyzmq router and its workers.

The router is a ROUTER/ROUTER pair that hands each request to the worker that has been ready the longest; a worker decodes
JSON, adds, and answers. One process each, as in `pyzmq_engine.py router PORT BACKEND_PORT` and `... worker BACKEND_PORT`.
"""
import collections
import json
import sys
import time

import zmq


def router(port: str, backend_port: str) -> None:
    context = zmq.Context()
    frontend = context.socket(zmq.ROUTER)
    frontend.bind(f"tcp://127.0.0.1:{port}")
    backend = context.socket(zmq.ROUTER)
    backend.bind(f"tcp://127.0.0.1:{backend_port}")
    ready: collections.deque[bytes] = collections.deque()
    poller = zmq.Poller()
    poller.register(backend, zmq.POLLIN)
    while True:
        # Requests wait in the socket while no worker is ready.
        if ready and frontend not in dict(poller.sockets):
            poller.register(frontend, zmq.POLLIN)
        elif not ready and frontend in dict(poller.sockets):
            poller.unregister(frontend)
        events = dict(poller.poll())
        if backend in events:
            worker, *frames = backend.recv_multipart()
            ready.append(worker)
            if frames != [b"READY"]:
                frontend.send_multipart(frames)
        if frontend in events and ready:
            backend.send_multipart([ready.popleft(), *frontend.recv_multipart()])


def worker(backend_port: str) -> None:
    socket = zmq.Context().socket(zmq.DEALER)
    socket.connect(f"tcp://127.0.0.1:{backend_port}")
    socket.send(b"READY")
    while True:
        *envelope, meta, task = socket.recv_multipart()
        serial = json.loads(meta)["serial"]
        result = sum(json.loads(task)["args"])
        answer = {"type": "ACK", "role": "responder", "version": 0.2, "id": "TASK-1", "pack": time.time(), "serial": serial}
        data = {"data": result, "pack": time.time()}
        socket.send_multipart([*envelope, json.dumps(answer).encode(), json.dumps(data).encode()])


if __name__ == "__main__":
    if sys.argv[1] == "router":
        router(*sys.argv[2:])
    else:
        worker(*sys.argv[2:])
