"""Reads a certificate that task-engine has written, writes one that task-engine is to read, and asks an engine with it.

certificate.py FOLDER: FOLDER/ours.key, ours.key_secret → prints both keys; writes FOLDER/theirs.key, theirs.key_secret.
certificate.py FOLDER ENDPOINT: asks for a task as `theirs`, of the engine that has `ours`; prints the answer.
"""
import json
import os
import sys
import time

import zmq
import zmq.auth

folder, *endpoint = sys.argv[1:]

if endpoint:
    server_key, _ = zmq.auth.load_certificate(f"{folder}/ours.key")
    public_key, secret_key = zmq.auth.load_certificate(f"{folder}/theirs.key_secret")
    socket = zmq.Context.instance().socket(zmq.REQ)
    socket.curve_serverkey = server_key
    socket.curve_publickey, socket.curve_secretkey = public_key, secret_key
    socket.connect(endpoint[0])
    meta = {"id": "arm", "role": "requestor", "version": 0.2, "serial": "1", "type": "REQ", "pack": time.time()}
    task = {"task": "count", "args": [2, 3], "kwargs": {}, "pack": time.time()}
    socket.send_multipart([json.dumps(meta).encode(), json.dumps(task).encode()])
    answer, data = [json.loads(frame) for frame in socket.recv_multipart()]
    print(answer["type"], data["data"])
else:
    public_key, none = zmq.auth.load_certificate(f"{folder}/ours.key")
    assert none is None
    both = zmq.auth.load_certificate(f"{folder}/ours.key_secret")
    assert both[0] == public_key
    os.umask(0o077)
    zmq.auth.create_certificates(folder, "theirs")
    theirs = zmq.auth.load_certificate(f"{folder}/theirs.key_secret")
    print(json.dumps([(key or b"").decode() for key in (*both, *theirs)]))
