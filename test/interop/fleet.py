"""A client of a fleet without a library: NATS' text protocol (docs.nats.io, "Client Protocol") on a plain socket.

Asks a robot for a task, follows a task's progress, cancels one, meets a refusal, watches a topic, lists the robots, and stops one.
Prints a line for each of them. Arguments: the hub's port, the robot's name.
"""
import json
import socket
import sys


class Nats:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.file = self.socket.makefile("rb")
        assert self.file.readline().startswith(b"INFO ")
        self.write(b'CONNECT {"verbose":false,"headers":true,"no_responders":true}\r\nPING\r\n')
        assert self.file.readline() == b"PONG\r\n"
        self.write(b"SUB _INBOX.python.* 1\r\n")

    def write(self, data):
        self.socket.sendall(data)

    def publish(self, subject, body, inbox, headers=None):
        payload = b"" if body is None else json.dumps(body).encode()
        reply = "_INBOX.python." + inbox
        if headers is None:
            self.write(f"PUB {subject} {reply} {len(payload)}\r\n".encode() + payload + b"\r\n")
            return
        lines = "NATS/1.0\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n"
        head = lines.encode()
        self.write(f"HPUB {subject} {reply} {len(head)} {len(head) + len(payload)}\r\n".encode() + head + payload + b"\r\n")

    def next(self):
        """The subject, headers and body of the next message."""
        while True:
            words = self.file.readline().split()
            if words[0] == b"PING":
                self.write(b"PONG\r\n")
            elif words[0] == b"MSG":
                return self.message(words, 0, int(words[-1]))
            elif words[0] == b"HMSG":
                return self.message(words, int(words[-2]), int(words[-1]))
            else:
                raise SystemExit(f"the server says {words}")

    def message(self, words, head, total):
        data = self.file.read(total + 2)[:-2]
        lines = data[:head].decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
        if lines[0].startswith("NATS/1.0 "):
            headers["status"] = lines[0].split()[1]
        return words[1].decode(), headers, data[head:]

    def ask(self, subject, body, headers=None):
        self.publish(subject, body, "one", headers)
        _, headers, data = self.next()
        return headers, data


def main(port, robot):
    nats = Nats(int(port))
    headers, data = nats.ask(f"te.{robot}.tasks.echo", {"args": [{"from": "Python"}]})
    print("asked", headers["Task-Engine-Robot"], json.loads(data)["data"])

    nats.publish(f"te.{robot}.tasks.walk", {}, "walk", {"Task-Engine-Progress": "1"})
    while True:
        _, headers, data = nats.next()
        print("walk", json.loads(headers["Task-Engine-Meta"])["type"], json.loads(data)["data"])
        if json.loads(headers["Task-Engine-Meta"])["type"] != "PROGRESS":
            break

    nats.publish(f"te.{robot}.tasks.photo", None, "photo")
    _, headers, data = nats.next()
    print("photo", headers["Content-Type"], list(data))

    nats.publish(f"te.{robot}.tasks.wait", {"args": ["Python"]}, "wait", {"Task-Engine-Request": "mine"})
    nats.publish(f"te.{robot}.cancel", {"request": "mine"}, "cancel")
    for _ in range(2):
        subject, headers, data = nats.next()
        print(subject.split(".")[-1], headers.get("Nats-Service-Error-Code", data.decode()))

    headers, data = nats.ask(f"te.{robot}.tasks.secret", {})
    print("refused", headers["Nats-Service-Error-Code"], json.loads(data)["code"])
    headers, _ = nats.ask("te.nobody.tasks.echo", {})
    print("absent", headers["status"])

    nats.write(f"SUB te.{robot}.data.pose 2\r\n".encode())
    nats.publish(f"te.{robot}.tasks.tell", {"args": [4]}, "tell")
    for subject, headers, data in sorted(nats.next() for _ in range(2)):
        print("watched", headers["Content-Type"], data.decode()) if subject.startswith("te.") else print("told")

    _, data = nats.ask("te.robots", None)
    print("robots", json.loads(data)["robot"], json.loads(data)["stopped"])
    _, data = nats.ask(f"te.{robot}.estop", {"reason": "by Python"})
    print("stopped", json.loads(data)["reason"], json.loads(data)["durable"])
    headers, _ = nats.ask(f"te.{robot}.tasks.echo", {"args": [1]})
    print("then", headers["Nats-Service-Error-Code"])
    headers, data = nats.ask(f"te.{robot}.control", {"command": "reset"})
    print("reset", json.loads(data))


main(*sys.argv[1:])
