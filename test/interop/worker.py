"""A worker that is no part of the engine: serves the tasks `nap` (of so many seconds), whose safe state is to be awake, and `add`.

usage: worker.py BACKEND_ENDPOINT
Prints the type of each message that comes. SIGTERM: it takes no other job, ends what it runs, and leaves.
"""

import json
import os
import signal
import sys
import time

import zmq

BEAT_S, GOODBYE_S, LOOK_S = 3.0, 0.5, 0.05
pid = os.getpid()
READY = {"type": "READY", "role": "task", "id": f"TASK-{pid}", "pid": pid, "endpoint": ""}
READY["tasks"] = ["add", {"name": "nap", "graceMs": 1000, "onStop": True}]


class Aborted(Exception):
    """The running job is to end before its time."""


class Worker:
    def __init__(self, endpoint):
        self.socket = zmq.Context.instance().socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 1000)
        self.socket.connect(endpoint)
        self.waiting, self.running, self.beat_at = [], None, 0.0
        self.told_to_leave = self.leaving = self.dismissed = False
        self.send(READY)

    def send(self, header, *bodies):
        self.socket.send_multipart([json.dumps(frame).encode() for frame in (header, *bodies)])

    def answer(self, kind, job, ms, data):
        self.send({"type": kind, "jobs": [job], "ms": [ms]}, {"data": data, "pack": time.time()})

    def listen(self, seconds):
        """Beats, and hears for so long what the router says. Raises Aborted if the running job is to end."""
        until = time.monotonic() + seconds
        while (now := time.monotonic()) < until and not self.dismissed:
            if now >= self.beat_at:
                self.beat_at = now + BEAT_S
                self.send({"type": "BEAT"})
            if self.told_to_leave and not self.leaving:
                self.leaving = True
                self.send({"type": "LEAVE"})
            if self.leaving and self.waiting:
                self.send({"type": "RETURN", "jobs": [job for job, *_ in self.waiting]})
                self.waiting.clear()
            if self.socket.poll(min(until - now, LOOK_S) * 1000):
                self.hear(*[json.loads(frame) for frame in self.socket.recv_multipart()])

    def hear(self, header, *bodies):
        print(kind := header["type"], flush=True)
        if kind == "WHO":
            self.waiting.clear()
            self.send(READY)
            if self.running:
                raise Aborted("the router does not know of it any more")
        elif kind == "GOODBYE":
            self.dismissed = True
        elif kind == "JOBS":
            ttls = header.get("ttlMs") or [None] * len(bodies)
            expiries = [None if ttl is None else time.monotonic() + ttl / 1000 for ttl in ttls]
            self.waiting += zip(header["jobs"], expiries, bodies)
        elif kind == "SAFE":
            self.waiting.insert(0, (header["job"], None, {"task": "wake", "args": []}))
        elif kind == "ABORT" and header["job"] == self.running:
            raise Aborted(header["message"])
        elif kind == "ABORT":
            for entry in [entry for entry in self.waiting if entry[0] == header["job"]]:
                self.waiting.remove(entry)
                self.answer("FAIL", entry[0], 0, {"code": header["code"], "message": header["message"]})

    def run_next(self):
        job, expires, task = self.waiting.pop(0)
        began = time.monotonic()
        if expires is not None and began > expires:
            return self.answer("FAIL", job, 0, {"code": "EXPIRED", "message": "it was not started within its ttlMs"})
        self.running = job
        try:
            kind, data = "DONE", self.run(job, task["task"], task["args"])
        except Exception as error:
            kind, data = "FAIL", {"code": "TASK_ERROR", "message": str(error)}
        self.running = None
        self.answer(kind, job, (time.monotonic() - began) * 1000, data)

    def run(self, job, name, args):
        if name.endswith("add"):
            return sum(args)
        try:
            for tenth in range(round(args[0] * 10) if name != "wake" else 0):
                self.send({"type": "PROGRESS", "job": job}, {"data": {"tenth": tenth}, "pack": time.time()})
                self.listen(0.1)
            return "rested"
        finally:  # however it ends: what is answered is safe
            print("awake", flush=True)


def main(endpoint):
    worker = Worker(endpoint)

    def on_sigterm(*_):
        worker.told_to_leave = True  # the rest in `listen`: a message must not be sent within another one

    signal.signal(signal.SIGTERM, on_sigterm)
    while not worker.told_to_leave:
        worker.run_next() if worker.waiting else worker.listen(LOOK_S)
    worker.listen(GOODBYE_S)


main(sys.argv[1])
