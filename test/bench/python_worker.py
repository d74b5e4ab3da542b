"""A worker by hand, as short as PROTOCOL.md allows: `python_worker.py BACKEND_ENDPOINT` serves the task `plain`, which adds."""
import json
import os
import sys
import time

import zmq

socket = zmq.Context().socket(zmq.DEALER)
socket.connect(sys.argv[1])
pid = os.getpid()
ready = {"type": "READY", "role": "task", "id": f"TASK-{pid}", "pid": pid, "endpoint": "", "tasks": ["plain"]}
socket.send(json.dumps(ready).encode())
beat_at = time.monotonic()
while True:
    if time.monotonic() >= beat_at:
        beat_at = time.monotonic() + 3
        socket.send(b'{"type":"BEAT"}')
    if not socket.poll(1000):
        continue
    first, *bodies = socket.recv_multipart()
    header = json.loads(first)
    if header["type"] != "JOBS":
        continue
    for job, body in zip(header["jobs"], bodies):
        begun = time.perf_counter()
        result = sum(json.loads(body)["args"])
        answer = {"type": "DONE", "jobs": [job], "ms": [(time.perf_counter() - begun) * 1000]}
        data = {"data": result, "pack": time.time()}
        socket.send_multipart([json.dumps(answer).encode(), json.dumps(data).encode()])
