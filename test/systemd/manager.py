"""Hears what a service tells systemd: binds the socket that is named, a path or @NAME, and prints a line of JSON a message."""

import json
import socket
import struct
import sys
import time

address = sys.argv[1]
line = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
line.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
line.bind("\0" + address[1:] if address.startswith("@") else address)
print(json.dumps("bound"), flush=True)
while True:
    text, [(_, _, credentials)], _, _ = line.recvmsg(4096, 256)
    pid, _, _ = struct.unpack("iii", credentials)
    words = dict(row.split("=", 1) for row in text.decode().split("\n"))
    print(json.dumps({"pid": pid, "heardUs": time.monotonic_ns() // 1000, "words": words}), flush=True)
