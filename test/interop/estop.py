"""Emergency stop, from anywhere that has ZeroMQ.

usage: estop.py ENDPOINT REASON
"""

import json
import sys
import time

import zmq

socket = zmq.Context.instance().socket(zmq.REQ)
socket.setsockopt(zmq.LINGER, 0)
socket.setsockopt(zmq.RCVTIMEO, 20_000)
socket.connect(sys.argv[1])
meta = {"id": "button", "role": "requestor", "version": 0.2, "type": "CONTROL", "pack": time.time(), "serial": "1"}
data = {"data": {"command": "estop", "reason": sys.argv[2]}, "pack": time.time()}
socket.send_multipart([json.dumps(meta).encode(), json.dumps(data).encode()])
answer, body = [json.loads(frame) for frame in socket.recv_multipart()]
if not body["data"]["durable"]:
    sys.exit("stopped, but not for longer than this engine lives: " + body["data"]["why"])
print(answer["type"], body["data"]["stopped"]["reason"])
