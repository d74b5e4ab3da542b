"""
Task Engine for Python: the client, and the worker that runs `task_*` functions.

    from task_engine import connect

    with connect() as engine:
        print(engine.call("count", 2, 3))

One file, standard library only, Python 3.9 and newer. `task-engine python > task_engine.py` writes
it; PYTHON.md has the reference. Names that begin with `_` are not for programs.

Sections: errors and limits, JSON and frames, ZMTP, client, tasks, worker.
"""

from __future__ import annotations

import collections
import errno
import itertools
import json
import os
import select
import socket
import struct
import sys
import threading
import time

# `typing` is not imported when the program runs: an idle worker has little memory to spend.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, AsyncIterator, Callable, Iterable, NoReturn, Union

# ── Errors and limits ─────────────────────────────────────────────────────────────────────────────


class TaskEngineError(Exception):
    """
    A request that was not done. `code` is one of the closed list in PROTOCOL.md, or `NO_ANSWER`
    (nothing came back in time), or `CLOSED` (the client was closed before the answer was there).
    `message` is one line for a person.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message

    def __reduce__(self) -> tuple[Any, ...]:
        return (error_of, (self.code, self.message))


class NoAnswer(TaskEngineError):
    """NO_ANSWER: there is no connection, or nothing came back in time."""


class TaskError(TaskEngineError):
    """TASK_ERROR: the task raised, or its result cannot be sent."""


class BadArgs(TaskEngineError):
    """BAD_ARGS: the task, or this client, does not accept the arguments."""


class UnknownTask(TaskEngineError):
    """UNKNOWN_TASK: no task of that name is registered."""


class UnknownTopic(TaskEngineError):
    """UNKNOWN_TOPIC: no value of that topic is known."""


class Unauthorized(TaskEngineError):
    """UNAUTHORIZED: the client lacks the right."""


class Cancelled(TaskEngineError):
    """CANCELLED: the job was cancelled."""


class TimedOut(TaskEngineError):
    """TIMEOUT: the job ran longer than its timeout_ms."""


class Stopped(TaskEngineError):
    """STOPPED: the engine is in emergency stop, until it is reset."""


class Interrupted(TaskEngineError):
    """INTERRUPTED: the job may have run not at all, in part, or as a whole."""


_error_classes: dict[str, type[TaskEngineError]] = {
    "NO_ANSWER": NoAnswer,
    "TASK_ERROR": TaskError,
    "BAD_ARGS": BadArgs,
    "UNKNOWN_TASK": UnknownTask,
    "UNKNOWN_TOPIC": UnknownTopic,
    "UNAUTHORIZED": Unauthorized,
    "CANCELLED": Cancelled,
    "TIMEOUT": TimedOut,
    "STOPPED": Stopped,
    "INTERRUPTED": Interrupted,
}


def error_of(code: str, message: str) -> TaskEngineError:
    """The exception of a code: its own class, or TaskEngineError."""
    return _error_classes.get(code, TaskEngineError)(code, message)


# Limits of the engine, as in PROTOCOL.md.
_FRAME_BYTES_MAX = 2_097_152
_MESSAGE_BYTES_MAX = 16_777_216
_DATA_MESSAGE_BYTES_MAX = 33_554_432 + 65_536
_MESSAGE_FRAMES_MAX = 1_001 + 8
_BATCH_TASKS_MAX = 1_000
_SAFE_INTEGER_MAX = 2**53 - 1
_NAME_LENGTH_MAX = 128
_ERROR_MESSAGE_LENGTH_MAX = 1_000

# Seconds until the other end must have said that it speaks ZMTP, and until it must take what is sent.
_HANDSHAKE_SECONDS = 5.0
_SEND_SECONDS = 10.0

# ── JSON and frames ───────────────────────────────────────────────────────────────────────────────


def _plain(value: object) -> object:
    """Numbers and arrays of numpy as numbers and lists. numpy itself is not needed."""
    tolist = getattr(value, "tolist", None)
    if callable(tolist):
        return tolist()
    raise TypeError(f"a {type(value).__name__} cannot be sent as JSON")


_encoder = json.JSONEncoder(separators=(",", ":"), allow_nan=False, default=_plain)
_decode = json.JSONDecoder().decode


def dumps(value: object) -> bytes:
    """The JSON of a value. Raises BadArgs for one that cannot travel, such as NaN or a set."""
    try:
        text = _encoder.encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise BadArgs("BAD_ARGS", _json_reason(error)) from None
    # Sixteen digits in a row are rare, and only they can be a number that is too large.
    if len(text) >= 16 and _has_long_number(text):
        _check_integers(value)
    return text.encode()


def _json_reason(error: Exception) -> str:
    if isinstance(error, RecursionError) or "Circular" in str(error):
        return "it is nested too deeply, or contains itself"
    if "JSON compliant" in str(error):
        return "NaN and infinity cannot be sent as JSON"
    return str(error)


_digits = str.maketrans("123456789", "000000000")


def _has_long_number(text: str) -> bool:
    return "0000000000000000" in text.translate(_digits)


def _check_integers(value: object) -> None:
    if isinstance(value, bool) or value is None or isinstance(value, (str, float)):
        return
    if isinstance(value, int):
        if abs(value) > _SAFE_INTEGER_MAX:
            raise BadArgs("BAD_ARGS", f"{value} is beyond ±(2**53 - 1); send large numbers as strings")
    elif isinstance(value, dict):
        for item in value.values():
            _check_integers(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _check_integers(item)
    else:
        _check_integers(_plain(value))


def loads(frame: bytes) -> Any:
    """The value of a JSON frame. Raises ValueError."""
    return _decode(str(frame, "utf-8"))


class Binary(bytes):
    """
    A binary value as it came: bytes with `content_type`, and of an array also `dtype` and `shape`
    (else None).
    """

    content_type: str = "application/octet-stream"
    dtype: str | None = None
    shape: tuple[int, ...] | None = None

    def array(self) -> Any:
        """The value as an array of numpy, which has to be installed. Raises TypeError for other bytes."""
        if self.dtype is None or self.shape is None:
            raise TypeError(f"these bytes are {self.content_type} and no array")
        import numpy

        return numpy.frombuffer(self, dtype=numpy.dtype(self.dtype).newbyteorder("<")).reshape(self.shape)


_DTYPES = frozenset(
    "int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 bool".split()
)


def binary_of(value: object, content_type: str | None = None) -> tuple[bytes, dict[str, Any]] | None:
    """
    The bytes of a binary value and what META says of them; None for a value that is JSON.
    bytes, bytearray, memoryview and arrays of numpy are binary. Raises BadArgs for an array of
    another kind of numbers.
    """
    if isinstance(value, (bytes, bytearray, memoryview)):
        meta: dict[str, Any] = {"contentType": content_type or getattr(value, "content_type", Binary.content_type)}
        dtype, shape = getattr(value, "dtype", None), getattr(value, "shape", None)
        if content_type is None and dtype is not None and not isinstance(value, memoryview):
            meta.update(dtype=dtype, shape=list(shape or ()))
        return (value.tobytes() if isinstance(value, memoryview) else bytes(value)), meta
    array: Any = value
    if not (hasattr(array, "dtype") and hasattr(array, "shape") and hasattr(array, "tobytes")) or array.shape == ():
        return None
    name = str(array.dtype.name)
    if name not in _DTYPES:
        kinds = ", ".join(sorted(_DTYPES))
        raise BadArgs("BAD_ARGS", f"an array of {name} cannot be sent; convert it to one of {kinds}")
    if len(array.shape) > 8:
        raise BadArgs("BAD_ARGS", f"an array of {len(array.shape)} dimensions cannot be sent; 8 is the limit")
    if array.dtype.byteorder == ">" or (array.dtype.byteorder == "=" and sys.byteorder == "big"):
        array = array.astype(array.dtype.newbyteorder("<"))
    meta = {"contentType": content_type or Binary.content_type, "dtype": name, "shape": [int(n) for n in array.shape]}
    return array.tobytes(), meta


def value_of(meta: dict[str, Any], payload: bytes) -> Any:
    """The value of a payload: JSON where META has no `contentType`, else Binary. Raises ValueError."""
    content_type = meta.get("contentType")
    if content_type is None:
        return loads(payload)
    value = Binary(payload)
    value.content_type = str(content_type)
    if isinstance(meta.get("dtype"), str) and isinstance(meta.get("shape"), list):
        value.dtype, value.shape = meta["dtype"], tuple(meta["shape"])
    return value


# ── ZMTP 3.0 with NULL (RFC 23), over TCP and Unix sockets ────────────────────────────────────────


class Lost(ConnectionError):
    """A connection that is over; its text says how it ended."""


class NotZmtp(ConnectionError):
    """Something listens there that this connection cannot talk to; its text says what."""

    def __init__(self, message: str, mechanism: str = "") -> None:
        super().__init__(message)
        self.mechanism = mechanism


_MORE, _LONG, _COMMAND = 1, 2, 4
_GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
_READ_BYTES = 256 * 1024
_UNSENT_MESSAGES_MAX = 32
_pack_long = struct.Struct(">BQ").pack
_unpack_length = struct.Struct(">Q").unpack_from
_short = [[bytes((flags, length)) for length in range(256)] for flags in (0, _MORE)]


def encode_message(frames: list[bytes]) -> bytes:
    """A message as ZMTP sends it."""
    parts: list[bytes] = []
    last = len(frames) - 1
    for index, frame in enumerate(frames):
        flags = 0 if index == last else _MORE
        size = len(frame)
        parts.append(_short[flags][size] if size < 256 else _pack_long(flags | _LONG, size))
        parts.append(frame)
    return b"".join(parts)


def _command(name: bytes, body: bytes) -> bytes:
    content = bytes((len(name),)) + name + body
    if len(content) < 256:
        return bytes((_COMMAND, len(content))) + content
    return _pack_long(_COMMAND | _LONG, len(content)) + content


def _property(name: bytes, value: bytes) -> bytes:
    return bytes((len(name),)) + name + struct.pack(">I", len(value)) + value


def _address(endpoint: str, origin: str = "endpoint") -> tuple[str, int] | str:
    """(host, port) of `tcp://HOST:PORT`, or the path of `ipc://PATH`. Raises BadArgs, which names the origin."""
    if endpoint.startswith("ipc://") and len(endpoint) > 6:
        path = endpoint[6:]
        return "\0" + path[1:] if path.startswith("@") else path
    host, colon, port = endpoint[6:].rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    is_port = port.isascii() and port.isdigit() and 0 < int(port) < 65_536
    if not endpoint.startswith("tcp://") or not colon or host in ("", "*") or not is_port:
        raise BadArgs("BAD_ARGS", f"{origin} {json.dumps(endpoint)} is not of the form tcp://HOST:PORT")
    return host, int(port)


class ZmtpSocket:
    """
    One connection to one peer: blocking, without reconnection. Any thread may send; one thread at
    a time may receive. Made by `ZmtpSocket.connect`.
    """

    def __init__(self, connected: socket.socket, message_bytes_max: int) -> None:
        self._socket = connected
        self._message_bytes_max = message_bytes_max
        self._sending = threading.Lock()
        self._unsent: list[bytes] = []
        self._wait_seconds: float | None = None
        self._buffer = b""
        self._frames: list[bytes] = []
        self._frames_bytes = 0
        self._ready: list[list[bytes]] = []
        self.is_lost: str | None = None

    @classmethod
    def connect(
        cls,
        endpoint: str,
        socket_type: str = "DEALER",
        timeout: float = _HANDSHAKE_SECONDS,
        identity: bytes = b"",
        message_bytes_max: int = _MESSAGE_BYTES_MAX,
    ) -> ZmtpSocket:
        """
        Connects to `tcp://HOST:PORT` or `ipc://PATH` (`ipc://@NAME` for the abstract namespace)
        within `timeout` seconds. Raises OSError where nobody listens, NotZmtp where another program
        does or where the peer demands CURVE, TimeoutError where nothing comes back, BadArgs for an
        endpoint that is none.
        """
        address = _address(endpoint)
        deadline = time.monotonic() + timeout
        if isinstance(address, str):
            connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                connected.settimeout(timeout)
                connected.connect(address)
            except BaseException:
                connected.close()
                raise
        else:
            connected = socket.create_connection(address, timeout)
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            connection = cls(connected, message_bytes_max)
            connection._handshake(socket_type, identity, deadline)
        except BaseException:
            connected.close()
            raise
        return connection

    # The handshake

    def _handshake(self, socket_type: str, identity: bytes, deadline: float) -> None:
        self._socket.sendall(_GREETING)
        greeting = self._read_exactly(64, deadline)
        mechanism = greeting[12:32].rstrip(b"\0").decode("latin-1")
        if mechanism != "NULL":
            if mechanism == "CURVE":
                raise NotZmtp("the engine there has keys; name its own and yours (server_key, key)", mechanism)
            raise NotZmtp(f"the listener there uses {_printable(mechanism.encode())}, which no engine does", mechanism)
        ready = _property(b"Socket-Type", socket_type.encode()) + _property(b"Identity", identity)
        self._socket.sendall(_command(b"READY", ready))
        while True:
            flags, body = self._read_frame(deadline)
            if not flags & _COMMAND:
                raise NotZmtp("the listener there sends a message before its READY")
            name, rest = _command_of(body)
            if name == b"READY":
                break
            if name == b"ERROR":
                raise NotZmtp(f"the listener there refuses the connection: {_printable(rest[1:])}")
        # From here on the kernel keeps the time, which saves a poll(2) for each read and write.
        self._socket.settimeout(None)
        seconds = int(_SEND_SECONDS)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", seconds, 0))

    def _read_exactly(self, size: int, deadline: float) -> bytes:
        while len(self._buffer) < size:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("the listener there sends nothing")
            self._socket.settimeout(left)
            try:
                data = self._socket.recv(4096)
            except socket.timeout:
                raise TimeoutError("the listener there sends nothing") from None
            except OSError as error:
                raise Lost(f"the listener there closes the connection ({error.strerror})") from None
            if not data:
                if self._buffer and not _begins_greeting(self._buffer):
                    raise NotZmtp(f"another program listens there, which sends {_printable(self._buffer)}")
                raise Lost("the listener there closes the connection at once")
            self._buffer += data
            if not _begins_greeting(self._buffer) and size == 64:
                raise NotZmtp(f"another program listens there, which sends {_printable(self._buffer)}")
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken

    def _read_frame(self, deadline: float) -> tuple[int, bytes]:
        flags = self._read_exactly(1, deadline)[0]
        if flags & _LONG:
            size = int(_unpack_length(self._read_exactly(8, deadline))[0])
        else:
            size = self._read_exactly(1, deadline)[0]
        if size > 65_536:
            raise NotZmtp("the listener there sends a READY of absurd length")
        return flags, self._read_exactly(size, deadline)

    # Messages

    def fileno(self) -> int:
        """The descriptor, for poll(2). A message may also be in the buffer already: see `pending`."""
        return self._socket.fileno()

    @property
    def pending(self) -> bool:
        """True if `recv` returns at once."""
        return bool(self._ready)

    def send(self, frames: list[bytes]) -> None:
        """Sends one message. Raises Lost."""
        self.send_raw(encode_message(frames))

    def send_raw(self, data: bytes) -> None:
        """Sends messages that `encode_message` has made, any number of them joined. Raises Lost."""
        with self._sending:
            if self._unsent:
                data = self._take_unsent() + data
            self._send_all(data)

    def send_soon(self, frames: list[bytes]) -> None:
        """
        Sends one message with the next one, or by `flush`, which has to come soon: a system call
        costs more than all else that a message takes. Raises Lost.
        """
        data = encode_message(frames)
        with self._sending:
            self._unsent.append(data)
            if len(self._unsent) >= _UNSENT_MESSAGES_MAX:
                self._send_all(self._take_unsent())

    def flush(self) -> None:
        """Sends what `send_soon` has left. Raises Lost."""
        if self._unsent:
            self.send_raw(b"")

    def _take_unsent(self) -> bytes:
        unsent, self._unsent = self._unsent, []
        return b"".join(unsent)

    def send_now(self, frames: list[bytes]) -> bool:
        """Sends one message; False if the system takes nothing of it now. Raises Lost."""
        data = encode_message(frames)
        with self._sending:
            try:
                sent = self._socket.send(data, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return False
            except OSError as error:
                self._lose(error.strerror or str(error))
            if sent < len(data):
                self._send_all(data[sent:])
        return True

    def _send_all(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except BlockingIOError:
            self._lose(f"the other end has read nothing for {_SEND_SECONDS:g} s")
        except OSError as error:
            self._lose(error.strerror or str(error))
        except BaseException:
            # A signal may have ended it within a message, after which no other can follow.
            self._shut("sending was interrupted")
            raise

    def recv(self, timeout: float | None = None) -> list[bytes] | None:
        """
        The next message; None if none comes within `timeout` seconds (None: no limit). Raises Lost
        once the connection is over and everything that had come was taken.
        """
        messages = self._ready
        if not messages:
            messages = self.recv_all(timeout)
            if not messages:
                return None
            messages.reverse()
            self._ready = messages
        return messages.pop()

    def recv_all(self, timeout: float | None = None) -> list[list[bytes]]:
        """
        All messages that have come, at least one; an empty list if none comes within `timeout`
        seconds. Pings are answered meanwhile. Raises Lost.
        """
        if self._ready:
            ready, self._ready = self._ready[::-1], []
            return ready
        if self.is_lost is not None:
            raise Lost(self.is_lost)
        deadline = None if timeout is None else time.monotonic() + timeout
        flags = 0
        if timeout is not None and timeout <= 0:
            flags = socket.MSG_DONTWAIT
        else:
            self._set_wait(timeout)
        while True:
            try:
                data = self._socket.recv(_READ_BYTES, flags)
            except BlockingIOError:
                return []
            except OSError as error:
                self._lose(error.strerror or str(error))
            if not data:
                self._lose("the other end closed it")
            self._buffer = self._buffer + data if self._buffer else data
            messages = self._parse()
            if messages:
                return messages
            if deadline is not None:
                left = deadline - time.monotonic()
                if left <= 0:
                    return []
                if not flags:
                    self._set_wait(left)

    def close(self) -> None:
        """Closes the connection; a thread that receives gets Lost."""
        self._shut("it is closed")

    def _shut(self, why: str) -> None:
        if self.is_lost is None:
            self.is_lost = why
        try:
            # Another thread may sleep in recv(2), which only this ends.
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._socket.close()

    def _set_wait(self, seconds: float | None) -> None:
        if seconds == self._wait_seconds:
            return
        self._wait_seconds = seconds
        microseconds = 0 if seconds is None else max(1, int(seconds * 1e6))
        interval = struct.pack("ll", microseconds // 1_000_000, microseconds % 1_000_000)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, interval)
        except OSError as error:
            self._lose(error.strerror or str(error))

    def _lose(self, why: str) -> NoReturn:
        self._shut(why)
        raise Lost(self.is_lost) from None

    def _parse(self) -> list[list[bytes]]:
        """Takes whole messages from the buffer. A signal may interrupt it: it changes nothing before its end."""
        data = self._buffer
        messages: list[list[bytes]] = []
        frames = list(self._frames)
        frames_bytes = self._frames_bytes
        at, end = 0, len(data)
        while end - at >= 2:
            flags = data[at]
            if flags & _LONG:
                if end - at < 9:
                    break
                start = at + 9
                size = int(_unpack_length(data, at + 1)[0])
            else:
                start = at + 2
                size = data[at + 1]
            if flags > 7 or frames_bytes + size > self._message_bytes_max or len(frames) > _MESSAGE_FRAMES_MAX:
                self._lose("the other end sends what is no ZMTP, or a message that is too large")
            stop = start + size
            if stop > end:
                if stop - end <= _READ_BYTES:
                    break
                data = self._read_rest(data[at:], stop - at)
                start, stop, at, end = start - at, stop - at, 0, stop - at
            at = stop
            if flags & _COMMAND:
                self._answer(data[start:stop])
                continue
            frames.append(data[start:stop])
            if flags & _MORE:
                frames_bytes += size
            else:
                messages.append(frames)
                frames = []
                frames_bytes = 0
        self._buffer = data[at:]
        self._frames = frames
        self._frames_bytes = frames_bytes
        return messages

    def _read_rest(self, begun: bytes, size: int) -> bytes:
        """A long frame comes in one piece of memory: joining its reads would copy it over and over."""
        whole = bytearray(size)
        whole[: len(begun)] = begun
        view = memoryview(whole)
        have = len(begun)
        self._set_wait(_SEND_SECONDS)
        while have < size:
            try:
                count = self._socket.recv_into(view[have:])
            except BlockingIOError:
                self._lose(f"the other end has stopped for {_SEND_SECONDS:g} s within a message")
            except OSError as error:
                self._lose(error.strerror or str(error))
            except BaseException:
                self._shut("receiving was interrupted")
                raise
            if count == 0:
                self._lose("the other end closed it")
            have += count
        view.release()
        return bytes(whole)

    def _answer(self, body: bytes) -> None:
        """Answers PING. Other commands, such as the HELLO message of a listener, mean nothing here."""
        name, rest = _command_of(body)
        if name == b"PING":
            self.send_raw(_command(b"PONG", rest[2:18]))
        elif name == b"ERROR":
            self._lose(f"the other end ended it: {_printable(rest[1:])}")


def _begins_greeting(data: bytes) -> bool:
    """True for the first bytes of ZMTP 3 and newer."""
    return data[0] == 0xFF and (len(data) < 10 or data[9] == 0x7F) and (len(data) < 11 or data[10] >= 3)


def _command_of(body: bytes) -> tuple[bytes, bytes]:
    size = body[0] if body else 0
    return body[1 : 1 + size], body[1 + size :]


def _printable(said: bytes) -> str:
    """The first line of it, without control characters."""
    line = said.split(b"\n")[0].split(b"\r")[0][:40].decode("latin-1")
    return json.dumps("".join(char if " " <= char <= "~" else "?" for char in line))


# Keys: CURVE by pyzmq


class Keys:
    """The engine's public key and a client's key pair, in Z85, and the files that they come from."""

    def __init__(self, server: str, public: str, secret: str, hint: str) -> None:
        self.server = server
        self.public = public
        self.secret = secret
        self.hint = hint


def read_keys(key: str | None = None, server_key: str | None = None) -> Keys | None:
    """
    The keys of these files, else those of `TASK_ENGINE_KEY` and `TASK_ENGINE_SERVER_KEY`, else those
    of `~/.config/task-engine` if both exist; None for no keys (also if one is "none"). Raises
    BadArgs for a file that cannot be used.
    """
    folder = os.path.join(os.path.expanduser("~"), ".config", "task-engine")
    default_server, default_own = os.path.join(folder, "engine.key"), os.path.join(folder, "client.key_secret")
    server_file = server_key or os.environ.get("TASK_ENGINE_SERVER_KEY")
    own_file = key or os.environ.get("TASK_ENGINE_KEY")
    if "none" in (server_file, own_file):
        return None
    are_there = os.path.exists(default_server) and os.path.exists(default_own)
    if server_file is None and own_file is None and not are_there:
        return None
    server_file, own_file = server_file or default_server, own_file or default_own
    server = _key_in(server_file, "public-key", 0o022)
    own = [_key_in(own_file, field, 0o077) for field in ("public-key", "secret-key")]
    hint = f"is the engine running, with the key in {server_file}, and is {own_file} authorized?"
    return Keys(server, own[0], own[1], hint)


def _key_in(path: str, field: str, forbidden_mode: int) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o7777
            text = file.read(4096)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise BadArgs("BAD_ARGS", f"{path} cannot be read: {reason}") from None
    if mode & forbidden_mode:
        what = "rwx" if forbidden_mode == 0o077 else "w"
        raise BadArgs("BAD_ARGS", f"{path} can be used by others (mode {mode:04o}); chmod go-{what} {path}")
    for line in text.splitlines():
        name, _, value = line.partition("=")
        if name.strip() == field and len(value.strip()) == 42:
            return value.strip()[1:-1]
    raise BadArgs("BAD_ARGS", f"{path} has no {field} of 40 characters; a file of task-engine keygen is meant")


class CurveSocket:
    """As ZmtpSocket, for an engine with keys: CURVE by pyzmq."""

    def __init__(self, endpoint: str, keys: Keys, timeout: float, message_bytes_max: int) -> None:
        try:
            import zmq
            from zmq.utils.monitor import recv_monitor_message
        except ImportError:
            raise NotZmtp('keys need pyzmq: apt install python3-zmq (key="none" uses no keys)') from None
        self._zmq: Any = zmq
        self._next_event: Any = recv_monitor_message
        self._lock = threading.Lock()
        self._ready: list[list[bytes]] = []
        self.is_lost: str | None = None
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_reader.setblocking(False)
        self._wake_writer.setblocking(False)
        socket_ = self._socket = zmq.Context.instance().socket(zmq.DEALER)
        socket_.linger = 200
        socket_.reconnect_ivl = -1  # a connection that is lost stays so, with what was not sent
        socket_.maxmsgsize = message_bytes_max
        socket_.sndhwm = socket_.rcvhwm = 0
        socket_.heartbeat_ivl, socket_.heartbeat_timeout = 3000, 6500
        socket_.curve_serverkey = keys.server.encode()
        socket_.curve_publickey, socket_.curve_secretkey = keys.public.encode(), keys.secret.encode()
        self._monitor: Any = socket_.get_monitor_socket()
        try:
            socket_.connect(endpoint)
            self._await_handshake(endpoint, keys, timeout)
        except BaseException:
            self.close()
            raise

    def _await_handshake(self, endpoint: str, keys: Keys, timeout: float) -> None:
        zmq = self._zmq
        deadline = time.monotonic() + timeout
        refused = {zmq.EVENT_CLOSED: "", zmq.EVENT_CONNECT_RETRIED: "", zmq.EVENT_DISCONNECTED: ""}
        while True:
            left = deadline - time.monotonic()
            if left <= 0 or not self._monitor.poll(1000 * left):
                raise TimeoutError(f"the listener there does not answer; {keys.hint}")
            event = self._next_event(self._monitor)["event"]
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                return
            if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
                raise NotZmtp(f"the engine there does not admit this key; {keys.hint}")
            if event in (zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL, zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL) or event in refused:
                self._explain(endpoint, keys)

    def _explain(self, endpoint: str, keys: Keys) -> NoReturn:
        """libzmq does not say what it has met: a look without keys does."""
        try:
            ZmtpSocket.connect(endpoint, timeout=1.0).close()
        except NotZmtp as error:
            if error.mechanism != "CURVE":
                raise
            raise NotZmtp(f"the engine there does not admit this key; {keys.hint}") from None
        raise NotZmtp('the engine there has no keys; use none (key="none")')

    def fileno(self) -> int:
        return int(self._socket.getsockopt(self._zmq.FD))

    @property
    def pending(self) -> bool:
        """True if something may have come: libzmq tells it by an edge, which others may have taken."""
        with self._lock:
            return bool(self._ready) or self.is_lost is not None or bool(self._socket.events & self._zmq.POLLIN)

    def send(self, frames: list[bytes]) -> None:
        with self._lock:
            if self.is_lost is not None:
                raise Lost(self.is_lost)
            self._socket.send_multipart(frames)
            # Sending takes the edge by which libzmq tells a reader that something has come.
            self._drain()
            has_come = bool(self._ready)
        if has_come:
            self._wake()

    def send_now(self, frames: list[bytes]) -> bool:
        self.send(frames)
        return True

    def send_soon(self, frames: list[bytes]) -> None:
        self.send(frames)

    def flush(self) -> None:
        pass

    def recv_all(self, timeout: float | None = None) -> list[list[bytes]]:
        deadline = None if timeout is None else time.monotonic() + timeout
        poll = select.poll()
        poll.register(self._wake_reader, select.POLLIN)
        while True:
            with self._lock:
                if not self._ready:
                    self._drain()
                if self._ready:
                    ready, self._ready = self._ready, []
                    return ready
                if self.is_lost is not None:
                    raise Lost(self.is_lost)
                poll.register(self.fileno(), select.POLLIN)
                poll.register(int(self._monitor.getsockopt(self._zmq.FD)), select.POLLIN)
                if self._socket.events & self._zmq.POLLIN:
                    continue
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return []
            poll.poll(None if left is None else 1000 * left + 1)
            try:
                self._wake_reader.recv(64)
            except OSError:
                pass

    def recv(self, timeout: float | None = None) -> list[bytes] | None:
        messages = self.recv_all(timeout)
        if not messages:
            return None
        with self._lock:
            self._ready = messages[1:] + self._ready
        return messages[0]

    def _drain(self) -> None:
        zmq = self._zmq
        if self.is_lost is not None:
            return
        try:
            while True:
                self._ready.append(self._socket.recv_multipart(zmq.NOBLOCK))
        except zmq.Again:
            pass
        while self._monitor.events & zmq.POLLIN:
            if self._next_event(self._monitor)["event"] == zmq.EVENT_DISCONNECTED:
                self.is_lost = "the other end closed it"

    def _wake(self) -> None:
        try:
            self._wake_writer.send(b"!")
        except OSError:
            pass

    def close(self) -> None:
        with self._lock:
            if self.is_lost is None:
                self.is_lost = "it is closed"
            if not self._socket.closed:
                self._socket.disable_monitor()
                self._monitor.close(0)
                self._socket.close()
        self._wake()


if TYPE_CHECKING:
    _Link = Union[ZmtpSocket, CurveSocket]


def open_link(
    endpoint: str, keys: Keys | None, timeout: float, message_bytes_max: int = _MESSAGE_BYTES_MAX
) -> _Link:
    """A connection to a port of the engine, a DEALER. Raises as `ZmtpSocket.connect`."""
    if keys is None:
        return ZmtpSocket.connect(endpoint, timeout=timeout, message_bytes_max=message_bytes_max)
    return CurveSocket(endpoint, keys, timeout, message_bytes_max)


# ── Client ────────────────────────────────────────────────────────────────────────────────────────

# `concurrent.futures` takes more memory than all of this file: it is imported at the first `submit`.
if TYPE_CHECKING:
    from concurrent.futures import Future

    _FutureBase = Future[Any]
else:
    _FutureBase = object

_DEFAULT_ENDPOINT = "tcp://127.0.0.1:9000"
_REQUEST_SECONDS = 5.0
_CALL_SECONDS = 60.0
_RESET_SECONDS = 30.0
_CANCEL_ANSWER_SECONDS = 0.25
_KEEP_ALIVES_PER_DEADMAN = 4
_RECONNECT_SECONDS, _RECONNECT_SECONDS_MAX = 0.05, 1.0
# Seconds that a reader waits at once, between two looks at the deadlines of jobs, and without a
# message after which a connection is checked before it is used.
_READ_SECONDS = 1.0
_SWEEP_SECONDS = 0.1
_IDLE_SECONDS = 0.05
# Seconds between two looks of the background thread while other threads read, and without jobs.
_YIELD_SECONDS = 0.002
_TICK_SECONDS = 2.0
_REQUESTS_MAX = 12_288
# Jobs in flight, and seconds between two of them, from which on they may wait to be sent together.
_BURST_REQUESTS = 16
_BURST_SECONDS = 0.000_3
_BATCH_BYTES_MAX = 1_048_576
_BATCHES_IN_FLIGHT = 4


def connect(
    endpoint: str | None = None,
    *,
    wait_ms: float | None = None,
    key: str | None = None,
    server_key: str | None = None,
    on_publish_error: Callable[[str, TaskEngineError, int], None] | None = None,
) -> Engine:
    """
    Connects to the engine at `endpoint`: `tcp://HOST:PORT`, by default `TASK_ENGINE_ROUTER`, or
    else this machine's engine at port 9000. Raises NoAnswer where there is none.

    With `wait_ms` it waits so long for an engine that is starting. Later it connects again by
    itself: a request waits for that `wait_ms`, by default 5000. `status`, `tasks`, `estop` and what
    concerns topics may take as long in all.

    `key` and `server_key` are the files of this program's key pair and of the engine's public key,
    by default `TASK_ENGINE_KEY` and `TASK_ENGINE_SERVER_KEY`, or else those of
    `~/.config/task-engine` if both exist; `key="none"` uses none. Keys need pyzmq.

    `on_publish_error(topic, error, count)` gets values that nobody asked to confirm, and that the
    engine has not taken; by default the first of a kind is a RuntimeWarning.
    """
    origin = "endpoint" if endpoint is not None else "TASK_ENGINE_ROUTER"
    endpoint = endpoint or os.environ.get("TASK_ENGINE_ROUTER") or _DEFAULT_ENDPOINT
    if isinstance(_address(endpoint, origin), str):
        raise BadArgs("BAD_ARGS", f"{origin} {json.dumps(endpoint)} is not of the form tcp://HOST:PORT")
    if wait_ms is not None and not wait_ms > 0:
        raise BadArgs("BAD_ARGS", f"wait_ms is {wait_ms}, which is not above 0")
    engine = Engine(endpoint, wait_ms, read_keys(key, server_key), on_publish_error)
    engine._dial()
    return engine


async def aconnect(endpoint: str | None = None, **options: Any) -> AsyncEngine:
    """As `connect`, for asyncio. An event loop that hangs lets jobs with a dead man end."""
    import asyncio

    loop = asyncio.get_running_loop()
    return AsyncEngine(await loop.run_in_executor(None, lambda: connect(endpoint, **options)))


class _Request:
    """A message that waits for its terminal reply."""

    __slots__ = (
        *("serial", "link", "frames", "error", "done", "job", "on_progress", "group", "waiters"),
        *("alive_seconds", "alive_at", "deadline", "limit_seconds", "is_late"),
    )

    def __init__(self, limit_seconds: float, deadman_ms: float | None = None) -> None:
        self.serial = ""
        self.link: _Link | None = None
        self.frames: list[bytes] = []
        self.error: TaskEngineError | None = None
        self.done = False
        self.job: Job | None = None
        self.on_progress: Callable[[Any], None] | None = None
        # Requests that a thread that waits for this one keeps alive, too.
        self.group: list[_Request] | None = None
        self.waiters: list[threading.Lock] | None = None
        now = time.monotonic()
        self.alive_seconds = 0.0
        self.alive_at = 0.0
        if deadman_ms is not None:
            self.alive_seconds = deadman_ms / 1000 / _KEEP_ALIVES_PER_DEADMAN
            self.alive_at = now + self.alive_seconds
        self.limit_seconds = limit_seconds
        self.deadline = now + limit_seconds
        self.is_late = False


class Job(_FutureBase):
    """
    A request to run a task: a `concurrent.futures.Future` whose `cancel` reaches the engine.

    A job with a dead man is kept alive while a thread waits in `result` or `exception`, and by
    `keep_alive`. `concurrent.futures.wait` and `as_completed` do not keep it alive.
    """

    _engine: Engine
    _request: _Request
    _progress: Any = None

    @property
    def serial(self) -> str:
        """The request's name in the engine's log, and for `task-engine cancel`."""
        return self._request.serial

    @property
    def progress(self) -> Any:
        """What the task has reported last, or None."""
        return self._progress

    def result(self, timeout: float | None = None) -> Any:
        """
        Waits for the task's result, at most `timeout` seconds (then TimeoutError, and the job runs
        on). Raises TaskEngineError.
        """
        self._engine._wait(self._request, timeout)
        return super().result(None if self._request.done else 0)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """As `result`, and returns the error, or None for a job that succeeded."""
        self._engine._wait(self._request, timeout)
        return super().exception(None if self._request.done else 0)

    def cancel(self) -> bool:
        """
        Asks the engine to end the job; False if it has ended. Its reply ends the job: `result`
        raises Cancelled, or gives the result if that was quicker.
        """
        return not self._request.done and self._engine._send_cancel(self._request)

    def keep_alive(self) -> None:
        """Says that this program is there, for the next `deadman_ms`."""
        self._engine._send_keep_alive(self._request)


_job_class: type[Job] | None = None


def _new_job() -> Job:
    global _job_class
    if _job_class is None:
        from concurrent.futures import Future

        _job_class = type("Job", (Job, Future), {})
    return _job_class()


class Caller:
    """Runs tasks, all with the same options: see `Engine.options`."""

    __slots__ = ("_engine", "_limits", "_deadman_ms", "_wait_seconds", "_on_progress", "_return_errors")

    def __init__(
        self,
        engine: Engine,
        limits: dict[str, Any],
        wait_ms: float | None,
        on_progress: Callable[[Any], None] | None,
        return_errors: bool,
    ) -> None:
        self._engine = engine
        self._limits = b',"options":' + dumps(limits) + b"}" if limits else b""
        self._deadman_ms = limits.get("deadmanMs")
        self._wait_seconds = _CALL_SECONDS if wait_ms is None else wait_ms / 1000
        if not self._wait_seconds > 0:
            raise BadArgs("BAD_ARGS", f"wait_ms is {wait_ms}, which is not above 0")
        self._on_progress = on_progress
        self._return_errors = return_errors

    def call(self, task: str, /, *args: Any, **kwargs: Any) -> Any:
        """Runs a task and returns its result. Ctrl-C cancels the job. Raises TaskEngineError."""
        engine = self._engine
        request = self._start(task, args, kwargs)
        try:
            if not request.done:
                engine._wait(request, None)
        except BaseException:
            if not request.done:
                engine._send_cancel(request)
            raise
        return _result_of(request)

    def submit(self, task: str, /, *args: Any, **kwargs: Any) -> Job:
        """Sends a request to run a task and returns at once. Raises TaskEngineError if it cannot be sent."""
        engine = self._engine
        job = _new_job()
        job._engine = engine
        job._request = self._start(task, args, kwargs, job)
        engine._jobs_begun()
        return job

    def map(self, task: str, args_list: Iterable[Iterable[Any]], /, **kwargs: Any) -> list[Any]:
        """
        Runs a task with each list of arguments, in batches, and returns the results in their order.
        Once all have ended it raises the first error; with the option `return_errors` it returns
        each error in its place. `on_progress` gets the number of results that there are. Bytes
        cannot be the result of a batch.
        """
        return _Batches(self, task, kwargs).run(args_list)

    def _start(
        self, task: str, args: tuple[Any, ...], kwargs: dict[str, Any], job: Job | None = None
    ) -> _Request:
        request = _Request(self._wait_seconds, self._deadman_ms)
        request.on_progress = self._on_progress
        request.job = job
        if job is not None:
            job._request = request
        self._engine._start(request, b"REQ", [self._part(task, args, kwargs)])
        return request

    def _part(self, task: str, args: Any, kwargs: dict[str, Any]) -> bytes:
        frame = dumps({"task": task, "args": args, "kwargs": kwargs, "pack": round(time.time(), 3)})
        if self._limits:
            frame = frame[:-1] + self._limits
        if len(frame) > _FRAME_BYTES_MAX:
            raise error_of("TOO_LARGE", f"the request has {len(frame)} bytes, the limit is {_FRAME_BYTES_MAX}")
        return frame


class Engine:
    """
    A client of the engine, made by `connect`. Any number of threads may use it at once; many
    requests are in flight over one connection. All failures are TaskEngineError, with a `code`.

    A thread that waits for a reply reads the connection itself. A background thread reads for jobs
    of `submit` that no thread waits for.
    """

    def __init__(
        self,
        endpoint: str,
        wait_ms: float | None,
        keys: Keys | None,
        on_publish_error: Callable[[str, TaskEngineError, int], None] | None,
    ) -> None:
        self.endpoint = endpoint
        self._keys = keys
        self._wait_ms = wait_ms
        self._wait_seconds = _REQUEST_SECONDS if wait_ms is None else wait_ms / 1000
        self._id = f"CLIENT-{os.getpid()}"
        self._meta = f'{{"id":"{self._id}","role":"requestor","version":0.3,"type":"%s","pack":%.3f,"serial":"%s"}}'
        self._serial_prefix = os.urandom(4).hex() + "-"
        self._serials = itertools.count(1)
        self._closed = False
        self._link: _Link | None = None
        self._dialing = threading.Lock()
        self._has_stood = False
        self._read_at = 0.0
        self._sent_at = 0.0
        self._pending: dict[str, _Request] = {}
        self._inbox: collections.deque[list[bytes]] = collections.deque()
        # The thread that reads holds this lock; the others wait until it hands the lock over.
        self._reading = threading.Lock()
        self._reader = 0
        self._reads = 0
        self._waiters = threading.Lock()
        self._followers: dict[threading.Lock, None] = {}
        self._background: threading.Thread | None = None
        self._kick = threading.Lock()
        self._is_kicked = False
        self._swept_at = 0.0
        self._caller = Caller(self, {}, None, None, False)
        self._topics = _Topics(self, on_publish_error)

    # Tasks

    def call(self, task: str, /, *args: Any, **kwargs: Any) -> Any:
        """
        Runs a task with these arguments and returns its result. Ctrl-C, and 60 s without a reply
        (NoAnswer), cancel the job. Raises TaskEngineError.
        """
        return self._caller.call(task, *args, **kwargs)

    def submit(self, task: str, /, *args: Any, **kwargs: Any) -> Job:
        """Sends a request to run a task and returns at once: the job is a `concurrent.futures.Future`."""
        return self._caller.submit(task, *args, **kwargs)

    def map(self, task: str, args_list: Iterable[Iterable[Any]], /, **kwargs: Any) -> list[Any]:
        """
        Runs a task with each list of arguments, many at a time, and returns the results in their
        order. Once all have ended it raises the first error: see `options(return_errors=True)`.
        """
        return self._caller.map(task, args_list, **kwargs)

    def options(
        self,
        *,
        priority: int | None = None,
        ttl_ms: float | None = None,
        timeout_ms: float | None = None,
        deadman_ms: float | None = None,
        latest: str | dict[str, Any] | None = None,
        preempt: bool | None = None,
        wait_ms: float | None = None,
        on_progress: Callable[[Any], None] | None = None,
        return_errors: bool = False,
    ) -> Caller:
        """
        Returns `call`, `submit` and `map` with these options, which so cannot meet a task's own
        arguments: `engine.options(ttl_ms=200, deadman_ms=300).call("drive", speed=0.5)`.

        The engine keeps `priority` (0 to 9, the highest goes first), `ttl_ms` (a job that has not
        begun by then is EXPIRED), `timeout_ms` (one that runs longer is TIMEOUT), `deadman_ms` (one
        for which no thread of this program waits any more is DEADMAN), `latest` (a job of the same
        task and key that waits is SUPERSEDED; with `{"key": …, "abort": True}` one that runs, too)
        and `preempt`. The client waits `wait_ms` for the reply (60000 by default), then it cancels
        the job and raises NoAnswer. `on_progress` gets what the task reports; a thread that reads
        replies calls it, so it has to be short.
        """
        limits = {
            "priority": priority,
            "ttlMs": ttl_ms,
            "timeoutMs": timeout_ms,
            "deadmanMs": deadman_ms,
            "latest": latest,
            "preempt": preempt,
        }
        given = {name: value for name, value in limits.items() if value is not None}
        return Caller(self, given, wait_ms, on_progress, return_errors)

    # The engine

    def status(self) -> dict[str, Any]:
        """The engine's state: counts, queues, tasks, workers, limits; PROTOCOL.md has its keys."""
        return self._control("status")

    def tasks(self) -> list[dict[str, Any]]:
        """The tasks that the engine can run: `name`, `workers`, and `schema` where there is one."""
        return list(self._control("tasks")["tasks"])

    def estop(self, reason: str = "") -> dict[str, Any]:
        """
        Emergency stop: running jobs are ended and made safe, waiting ones end as STOPPED, and
        nothing begins until `reset`. Returns the stop in force: `stopped`, and `durable`, which is
        True if it is on the engine's disk.
        """
        return self._control("estop", reason=reason[:200])

    def reset(self) -> None:
        """Ends the emergency stop, once all that it has begun is over, 30 s at most."""
        self._control("reset", _seconds=_RESET_SECONDS)

    def cancel(self, serial: str) -> int:
        """Cancels the requests of this serial, of any requestor, as an operator; returns their number."""
        return int(self._control("cancel", serial=serial)["cancelled"])

    # Topics

    def publish(
        self, topic: str, value: Any, *, content_type: str | None = None, confirm: bool = False
    ) -> bool:
        """
        Gives a value to a topic: what JSON can hold, or bytes or an array of numpy. Returns at
        once: True if it is on its way, False if the data worker is behind, and the value is lost.
        With `confirm` it returns once the data worker has it, and raises TaskEngineError if not.
        `content_type` says what bytes are, such as `image/jpeg`.
        """
        return self._topics.publish(topic, value, content_type, confirm)

    def get(self, topic: str) -> TopicValue:
        """The newest value of a topic. Raises UnknownTopic if it has none."""
        return self._topics.get(topic)

    def history(self, topic: str, *, last_ms: float = 60_000, limit: int = 65_536) -> list[TopicValue]:
        """The values of a topic of the last so many ms, oldest first, at most the newest `limit`."""
        return self._topics.history(topic, last_ms, limit)

    def topics(self, prefix: str = "") -> list[dict[str, Any]]:
        """The topics that have values, by name; PROTOCOL.md has the keys of each."""
        return self._topics.listing(prefix)

    def remove(self, topic: str) -> None:
        """Removes a topic and its history. Raises UnknownTopic if there is none."""
        self._topics.remove(topic)

    def subscribe(
        self,
        *topics: str,
        exact: bool = False,
        mode: str = "all",
        max_hz: float | None = None,
        last_ms: float | None = 0,
        on_event: Callable[[dict[str, Any]], None] | None = None,
    ) -> Subscription:
        """
        Follows the topics whose names begin so (with `exact`: are so; without any: all but the
        engine's own): `for value in engine.subscribe("arm/"): …`

        `mode="latest"` gives of each topic only the newest value. `max_hz` limits the values a
        second of each topic. It begins with the newest value of each topic; with `last_ms` above 0,
        with those of the last so many ms; with None, with none. `on_event` gets what else happens
        to the topics, such as `{"type": "stale", "topic": …}`; PYTHON.md has the list.
        """
        return Subscription(self, list(topics), exact, mode, max_hz, last_ms, on_event)

    # The end

    def close(self) -> None:
        """Cancels what is in flight, which ends as CLOSED, and ends the connection and all subscriptions."""
        if self._closed:
            return
        self._closed = True
        self._topics.close()
        for request in list(self._pending.values()):
            self._send_cancel(request)
        link = self._link
        if link is not None:
            link.close()
        for request in list(self._pending.values()):
            self._fail(request, "CLOSED", "the client was closed before the answer was there")
        self._wake_background()
        background = self._background
        if background is not None and background is not threading.current_thread():
            background.join(1.0)

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Requests

    def _control(self, command: str, _seconds: float | None = None, **more: Any) -> dict[str, Any]:
        request = _Request(self._wait_seconds if _seconds is None else _seconds)
        body = {"data": {"command": command, **more}, "pack": round(time.time(), 3)}
        self._start(request, b"CONTROL", [dumps(body)])
        try:
            if not request.done:
                self._wait(request, None)
        except BaseException:
            if not request.done:
                self._send_cancel(request)
            raise
        data = _result_of(request)
        if not isinstance(data, dict):
            raise error_of("BAD_FRAME", f"the answer to {command} could not be understood")
        return data

    def _start(self, request: _Request, kind: bytes, body: list[bytes]) -> None:
        """Sends a request. Raises NoAnswer if there is no connection, and then it was not sent."""
        if len(self._pending) >= _REQUESTS_MAX:
            raise error_of("QUEUE_FULL", f"{len(self._pending)} requests wait for their answers, which is the limit")
        serial = request.serial = self._serial_prefix + str(next(self._serials))
        meta = (self._meta % (kind.decode(), time.time(), serial)).encode()
        frames = [b"", meta, *body]
        for _ in range(3):
            link = self._link
            if link is None or link.is_lost or not self._is_fresh(link):
                link = self._dial()
            request.link = link
            self._pending[serial] = request
            try:
                if request.job is None or len(self._pending) < _BURST_REQUESTS:
                    link.send(frames)
                    return
                # One of many: it may wait until this thread, or the background thread, reads.
                now = time.monotonic()
                if now - self._sent_at > _BURST_SECONDS:
                    link.send(frames)
                else:
                    link.send_soon(frames)
                self._sent_at = now
                return
            except Lost as error:
                # The engine does nothing for a message that has not come in whole: it may be sent again.
                is_unsent = self._pending.pop(serial, None) is not None
                self._end_link(link, str(error))
                if not is_unsent:
                    return
        raise NoAnswer("NO_ANSWER", f"no connection to {self.endpoint}: it is lost again and again")

    def _is_fresh(self, link: _Link) -> bool:
        """
        Finds out whether a quiet connection was lost, so that no request is sent over it: it would
        end as INTERRUPTED, although it provably has not begun.
        """
        if time.monotonic() - self._read_at < _IDLE_SECONDS or not self._reading.acquire(False):
            return True
        self._reader = threading.get_ident()
        try:
            self._read(link, 0)
        finally:
            self._reader = 0
            self._reading.release()
        self._hand_over()
        return not link.is_lost

    def _dial(self) -> _Link:
        """The connection, a new one if there is none. Raises NoAnswer."""
        with self._dialing:
            if self._closed:
                raise error_of("CLOSED", "the client is closed")
            link = self._link
            if link is not None and not link.is_lost:
                return link
            link = self._link = self._open(self.endpoint, self._wait_ms is not None or self._has_stood)
            self._has_stood = True
            self._read_at = time.monotonic()
            return link

    def _open(self, endpoint: str, is_patient: bool, message_bytes_max: int = _MESSAGE_BYTES_MAX) -> _Link:
        """A connection of its own to a port of the engine. Raises NoAnswer."""
        deadline = time.monotonic() + self._wait_seconds
        pause = _RECONNECT_SECONDS
        while True:
            try:
                left = max(0.05, deadline - time.monotonic())
                return open_link(endpoint, self._keys, min(left, _HANDSHAKE_SECONDS), message_bytes_max)
            except NotZmtp as error:
                raise NoAnswer("NO_ANSWER", f"no connection to {endpoint}: {error}") from None
            except OSError as error:
                why = _reason_of(error)
            if self._closed:
                raise error_of("CLOSED", "the client is closed")
            if not is_patient or time.monotonic() + pause > deadline:
                hint = "" if is_patient else ", or wait for one that is starting: wait_ms"
                raise NoAnswer("NO_ANSWER", f"no connection to {endpoint}: {why}{hint}")
            time.sleep(pause)
            pause = min(2 * pause, _RECONNECT_SECONDS_MAX)

    def _send_meta(self, kind: str, request: _Request) -> bool:
        link = request.link
        if link is None or link.is_lost or request.done:
            return False
        try:
            link.send([b"", (self._meta % (kind, time.time(), request.serial)).encode()])
        except Lost:
            return False
        return True

    def _send_cancel(self, request: _Request) -> bool:
        return self._send_meta("CANCEL", request)

    def _send_keep_alive(self, request: _Request) -> None:
        self._send_meta("KEEPALIVE", request)

    # Waiting and reading

    def _wait(self, request: _Request, timeout: float | None) -> None:
        """Returns once the request is done, or after `timeout` seconds. Keeps the job alive meanwhile."""
        until = None if timeout is None else time.monotonic() + timeout
        me = threading.get_ident()
        is_nested = self._reader == me
        while not request.done:
            if not is_nested and not self._reading.acquire(False):
                if not self._follow(request, until):
                    break
                continue
            self._reader = me
            try:
                if not self._lead(request, until):
                    break
            finally:
                if not is_nested:
                    self._reader = 0
                    self._reading.release()
        if self._followers or self._background is not None:
            self._hand_over()

    def _lead(self, request: _Request, until: float | None) -> bool:
        """Reads until the request is done; False if the time is over before."""
        while not request.done:
            if self._inbox:
                self._settle()
                continue
            seconds = self._seconds_of(request, until)
            if seconds is None:
                return False
            link = request.link
            if request.done or link is None:
                continue
            # The current connection may be another one; requests of the old one have ended then.
            self._read(link, seconds)
        return True

    def _follow(self, request: _Request, until: float | None) -> bool:
        """Sleeps while another thread reads; False if the time is over before."""
        wake = threading.Lock()
        wake.acquire()
        with self._waiters:
            self._followers[wake] = None
            if request.waiters is None:
                request.waiters = []
            request.waiters.append(wake)
        try:
            while not request.done:
                if not self._reading.locked():
                    return True
                seconds = self._seconds_of(request, until)
                if seconds is None:
                    return False
                if wake.acquire(True, seconds):
                    return True
            return True
        finally:
            with self._waiters:
                self._followers.pop(wake, None)
                request.waiters.remove(wake)

    def _seconds_of(self, request: _Request, until: float | None) -> float | None:
        """
        How long a thread may sleep that waits for this request; None if its time is over. Says that
        this thread is still there, and cancels the job if it has waited too long.
        """
        now = time.monotonic()
        if until is not None and now >= until:
            return None
        if now >= request.deadline:
            self._be_late(request, now)
        seconds = _READ_SECONDS if self._background is None else _SWEEP_SECONDS
        left = request.deadline - now
        if left < seconds:
            seconds = left
        if until is not None and until - now < seconds:
            seconds = until - now
        for each in request.group or (request,):
            every = each.alive_seconds
            if every and not each.done:
                if now >= each.alive_at:
                    self._send_keep_alive(each)
                    each.alive_at = now + every
                if every < seconds:
                    seconds = every
        return max(seconds, 0.001)

    def _be_late(self, request: _Request, now: float) -> None:
        """Cancels a request whose time is over. The engine then gets time to say whether it had begun."""
        if not request.is_late and self._send_cancel(request):
            request.is_late = True
            request.deadline = now + _CANCEL_ANSWER_SECONDS
            request.alive_seconds = 0.0
            return
        why = "it was told to cancel the request, but may have been at work on it"
        self._fail(request, "NO_ANSWER", self._no_answer(request, why))

    def _no_answer(self, request: _Request, why: str) -> str:
        return f"no answer from {self.endpoint} within {request.limit_seconds * 1000:g} ms: {why}"

    def _read(self, link: _Link, seconds: float) -> None:
        try:
            link.flush()
            messages = link.recv_all(seconds)
        except Lost as error:
            self._end_link(link, str(error))
            return
        self._reads += 1
        if messages:
            self._read_at = time.monotonic()
            self._inbox.extend(messages)
            self._settle()

    def _settle(self) -> None:
        """Hands over what was read. A callback may call the engine, and so get here again."""
        inbox = self._inbox
        while inbox:
            frames = inbox.popleft()
            try:
                self._take(frames)
            except Exception:
                sys.excepthook(*sys.exc_info())

    def _take(self, frames: list[bytes]) -> None:
        try:
            meta = loads(frames[1])
            kind, serial = meta["type"], meta["serial"]
        except (ValueError, LookupError, TypeError):
            return
        if kind == "ACK" or kind == "ERR":
            request = self._pending.pop(serial, None)
            if request is None:
                return
            frames[0] = kind.encode()
            request.frames = frames
            if request.is_late and kind == "ERR":
                code, message = _refusal_of(frames)
                if code == "CANCELLED":
                    request.error = error_of("NO_ANSWER", self._no_answer(request, f"cancelled: {message}"))
            self._finish(request)
            return
        request = self._pending.get(serial)
        if request is None:
            return
        data = loads(frames[2])["data"]
        if kind == "KEEPALIVE" and not request.is_late:
            every = data["deadmanMs"] / 1000 / _KEEP_ALIVES_PER_DEADMAN
            if not request.alive_seconds or every < request.alive_seconds:
                request.alive_seconds = every
                request.alive_at = 0.0
                self._wake(request)
        elif kind == "PROGRESS":
            if request.job is not None:
                request.job._progress = data
            if request.on_progress is not None:
                request.on_progress(data)

    def _finish(self, request: _Request) -> None:
        job = request.job
        request.done = True
        if request.waiters is not None:
            self._wake(request)
        if job is None:
            return
        try:
            result = _result_of(request)
        except TaskEngineError as error:
            job.set_exception(error)
        else:
            job.set_result(result)

    def _fail(self, request: _Request, code: str, message: str) -> None:
        if self._pending.pop(request.serial, None) is not None:
            request.error = error_of(code, message)
            self._finish(request)

    def _end_link(self, link: _Link, why: str) -> None:
        """The connection is lost, and with it the replies to all that was sent over it."""
        link.close()
        if self._link is link:
            self._link = None
        message = f"the connection to {self.endpoint} was lost before the answer came ({why})"
        message += ": the job may have been running"
        for request in list(self._pending.values()):
            if request.link is link:
                self._fail(request, "INTERRUPTED", message)

    def _wake(self, request: _Request) -> None:
        with self._waiters:
            for wake in request.waiters or ():
                _release(wake)

    def _hand_over(self) -> None:
        """Another thread that waits reads on; without any, the background thread, if there are jobs."""
        with self._waiters:
            for wake in self._followers:
                _release(wake)
                return
        if self._background is not None and self._pending:
            self._wake_background()

    # The background thread

    def _jobs_begun(self) -> None:
        if self._background is None:
            with self._waiters:
                if self._background is None:
                    self._kick.acquire()
                    self._background = threading.Thread(target=self._serve, name="task-engine", daemon=True)
                    self._background.start()
        if not self._reading.locked():
            self._wake_background()

    def _wake_background(self) -> None:
        if not self._is_kicked and self._background is not None:
            self._is_kicked = True
            _release(self._kick)

    def _serve(self) -> None:
        """Reads while jobs are in flight and no thread waits for one, and answers pings in between."""
        while not self._closed:
            self._is_kicked = False
            if not self._pending or self._reading.locked():
                self._kick.acquire(True, _TICK_SECONDS)
            self._is_kicked = True
            seen = -1
            while self._reads != seen and not self._closed:
                # Threads that wait for their jobs one after the other read better by themselves.
                seen = self._reads
                time.sleep(_YIELD_SECONDS)
                self._flush()
            if not self._reading.acquire(False):
                continue
            self._reader = threading.get_ident()
            try:
                self._serve_jobs()
            finally:
                self._reader = 0
                self._reading.release()
            self._hand_over()

    def _flush(self) -> None:
        link = self._link
        if link is not None:
            try:
                link.flush()
            except Lost as error:
                self._end_link(link, str(error))

    def _serve_jobs(self) -> None:
        while not self._closed:
            link = self._link
            if link is None:
                return
            self._read(link, _SWEEP_SECONDS if self._pending else 0)
            now = time.monotonic()
            for request in list(self._pending.values()) if now - self._swept_at > _SWEEP_SECONDS else ():
                self._swept_at = now
                if request.job is not None and now >= request.deadline:
                    self._be_late(request, now)
            if self._followers or not self._pending:
                return


def _release(lock: threading.Lock) -> None:
    try:
        lock.release()
    except RuntimeError:  # another thread was quicker
        pass


def _refusal_of(frames: list[bytes]) -> tuple[str, str]:
    try:
        data = loads(frames[2])["data"]
        return str(data["code"]), str(data["message"])
    except (ValueError, LookupError, TypeError):
        return "BAD_FRAME", "the answer could not be understood"


def _result_of(request: _Request) -> Any:
    """The result that a request has got. Raises the error that it has got instead."""
    if request.error is not None:
        raise request.error
    frames = request.frames
    if frames[0] == b"ERR":
        raise error_of(*_refusal_of(frames))
    try:
        if b'"contentType"' in frames[1]:
            return value_of(loads(frames[1]), frames[2])
        return loads(frames[2])["data"]
    except (ValueError, LookupError, TypeError):
        raise error_of("BAD_FRAME", "the answer could not be understood") from None


def _reason_of(error: OSError) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens there (ECONNREFUSED); start the engine (task-engine serve), or check the port"
    if isinstance(error, socket.gaierror):
        return "the name of the host leads to no address; check it, and that the network knows it"
    if isinstance(error, (Lost, TimeoutError)) and str(error) != "timed out":
        return f"{error}; check that it is the engine's port, and that the engine is not halted"
    if isinstance(error, (TimeoutError, socket.timeout)):
        return "nothing comes back from there; check the address, that the machine is on, and its firewall"
    name = errno.errorcode.get(error.errno or 0, "error")
    return f"there is no route to it ({name}); check the address, and that the machine is on the network"


class _Batches:
    """One run of `map`: batches of requests, some of them in flight at a time."""

    def __init__(self, caller: Caller, task: str, kwargs: dict[str, Any]) -> None:
        self._caller = caller
        self._task = task
        self._kwargs = kwargs
        self._results: list[Any] = []
        self._in_flight: list[_Request] = []
        self._places: dict[str, list[int]] = {}
        self._is_done = 0

    def run(self, args_list: Iterable[Iterable[Any]]) -> list[Any]:
        engine, caller = self._caller._engine, self._caller
        try:
            parts: list[bytes] = []
            places: list[int] = []
            size = 0
            for args in args_list:
                self._results.append(None)
                try:
                    part = caller._part(self._task, list(args), self._kwargs)
                except TaskEngineError as error:
                    self._results[-1] = error
                    continue
                if len(parts) == _BATCH_TASKS_MAX or (parts and size + len(part) > _BATCH_BYTES_MAX):
                    self._send(parts, places)
                    parts, places, size = [], [], 0
                parts.append(part)
                places.append(len(self._results) - 1)
                size += len(part)
            if parts:
                self._send(parts, places)
            while self._in_flight:
                self._collect()
        except BaseException:
            for request in self._in_flight:
                engine._send_cancel(request)
            raise
        if not caller._return_errors:
            for result in self._results:
                if isinstance(result, TaskEngineError):
                    raise result
        return self._results

    def _send(self, parts: list[bytes], places: list[int]) -> None:
        if len(self._in_flight) >= _BATCHES_IN_FLIGHT:
            self._collect()
        request = _Request(self._caller._wait_seconds, self._caller._deadman_ms)
        request.group = self._in_flight
        if self._caller._on_progress is not None:
            request.on_progress = self._report
        self._caller._engine._start(request, b"REQ", parts)
        self._in_flight.append(request)
        self._places[request.serial] = places

    def _report(self, data: Any) -> None:
        on_progress = self._caller._on_progress
        if on_progress is not None and isinstance(data, dict):
            on_progress(self._is_done + int(data.get("done", 0)))

    def _collect(self) -> None:
        request = self._in_flight[0]
        if not request.done:
            self._caller._engine._wait(request, None)
        del self._in_flight[0]
        places = self._places.pop(request.serial)
        for place, result in zip(places, self._parts_of(request, len(places))):
            self._results[place] = result
        self._is_done += len(places)
        if self._caller._on_progress is not None:
            self._caller._on_progress(self._is_done)

    def _parts_of(self, request: _Request, count: int) -> list[Any]:
        frames = request.frames
        if request.error is not None or frames[0] == b"ERR":
            return [request.error or error_of(*_refusal_of(frames))] * count
        # A batch of one part is no batch: it may have a binary result.
        if count == 1:
            try:
                return [_result_of(request)]
            except TaskEngineError as error:
                return [error]
        results: list[Any] = []
        for frame in frames[2 : 2 + count]:
            try:
                part = loads(frame)
                error_body = part.get("error")
                results.append(
                    part["data"] if error_body is None else error_of(error_body["code"], error_body["message"])
                )
            except (ValueError, LookupError, TypeError, AttributeError):
                results.append(error_of("BAD_FRAME", "the answer could not be understood"))
        missing = error_of("BAD_FRAME", "the answer has too few parts")
        return results + [missing] * (count - len(results))


# Topics

_LOOK_SECONDS = 1.0
_REDIAL_SECONDS = 0.5
_WINDOW_BYTES = {"all": 1_048_576, "latest": 65_536}
_MISSED_MS = 1_000
_HISTORY_MS_MAX = 3_600_000
_HISTORY_VALUES_MAX = 65_536
_NAMES_MAX = 256
_WARNINGS_MAX = 64
_FRAME_OVERHEAD_BYTES = 4
_SEQ, _EPOCH = slice(7, 23), slice(33, 41)


class TopicValue:
    """A value of a topic: `topic`, `data`, and where it belongs (`seq` within its `epoch`)."""

    __slots__ = ("topic", "seq", "epoch", "payload", "_meta", "_data")

    def __init__(self, topic: str, meta: bytes, payload: bytes) -> None:
        self.topic = topic
        self.seq = int(meta[_SEQ])
        self.epoch = meta[_EPOCH].decode("latin-1")
        self.payload = payload
        self._meta: bytes | dict[str, Any] = meta
        self._data: Any = TopicValue  # not decoded yet

    @property
    def data(self) -> Any:
        """The value: of JSON, or bytes (see Binary). Raises ValueError if the publisher sent neither."""
        if self._data is TopicValue:
            if isinstance(self._meta, bytes) and b'"contentType"' not in self._meta:
                self._data = loads(self.payload)
            else:
                self._data = value_of(self.meta, self.payload)
        return self._data

    @property
    def meta(self) -> dict[str, Any]:
        """META as it came: `pack`, `contentType` and so on."""
        if isinstance(self._meta, bytes):
            self._meta = dict(loads(self._meta))
        return self._meta

    @property
    def pack(self) -> float:
        """When it was published: seconds since 1970."""
        return float(self.meta["pack"])

    def __repr__(self) -> str:
        try:
            return f"TopicValue({self.topic!r}, {self.data!r})"
        except ValueError:
            return f"TopicValue({self.topic!r}, {len(self.payload)} bytes that are no JSON)"


class _Moved(Exception):
    """A topic has another data worker now."""


class _Port:
    """A data worker's stream port, for values, `get` and `history`."""

    def __init__(self, endpoint: str, topics: _Topics) -> None:
        self.endpoint = endpoint
        self._topics = topics
        self._link: _Link | None = None
        self._receiving = threading.Lock()
        self._dialing = threading.Lock()
        self._dial_at = 0.0
        self._look_at = 0.0
        self._serials = itertools.count(1)

    def publish(self, frames: list[bytes]) -> bool:
        """Sends a value; False if it is lost."""
        now = time.monotonic()
        link = self._link
        if link is not None and now >= self._look_at:
            self._look_at = now + _LOOK_SECONDS
            self._look()
            link = self._link
        if link is None:
            if now < self._dial_at:
                return False
            self._dial_at = now + _REDIAL_SECONDS
            try:
                link = self._connected(False)
            except NoAnswer:
                self._topics.forget()
                return False
        try:
            return link.send_now(frames)
        except Lost:
            self._drop(link)
            return False

    def _look(self) -> None:
        """Answers pings, and takes refusals of values that were published before."""
        link = self._link
        if link is None or not self._receiving.acquire(False):
            return
        try:
            for frames in link.recv_all(0):
                self._take(frames, "")
        except Lost:
            self._drop(link)
        finally:
            self._receiving.release()

    def request(self, kind: str, body: dict[str, Any], seconds: float) -> tuple[Any, list[TopicValue]]:
        """The answer to a request, and the values before it. Raises TaskEngineError and _Moved."""
        serial = str(next(self._serials))
        frame = dumps({"data": body, "pack": round(time.time(), 3)})
        return self.ask(serial, [b"", _stream_meta(kind, serial), frame], seconds)

    def ask(self, serial: str, frames: list[bytes], seconds: float) -> tuple[Any, list[TopicValue]]:
        deadline = time.monotonic() + seconds
        with self._receiving:
            link = self._connected(True)
            values: list[TopicValue] = []
            try:
                for each in link.recv_all(0):
                    self._take(each, "")
                link.send(frames)
                while True:
                    left = deadline - time.monotonic()
                    if left <= 0:
                        # Its late answer must not be taken for that of the next request.
                        self._drop(link)
                        raise NoAnswer("NO_ANSWER", f"no answer from {self.endpoint} within {seconds * 1000:g} ms")
                    for each in link.recv_all(left):
                        if each[0]:
                            values.append(TopicValue(each[0].decode(), each[1], each[2]))
                            continue
                        answer = self._take(each, serial)
                        if answer is not None:
                            return answer[0], values
            except Lost as error:
                self._drop(link)
                raise Interrupted("INTERRUPTED", f"the connection to {self.endpoint} was lost ({error})") from None

    def _take(self, frames: list[bytes], serial: str) -> tuple[Any] | None:
        """The answer to the request of this serial, if these frames are it."""
        if frames[0] or len(frames) < 2:
            return None
        meta = loads(frames[1])
        data = loads(frames[2])["data"] if len(frames) > 2 else None
        kind = meta.get("type")
        if kind == "MOVED":
            self._topics.forget()
            if meta.get("serial") == serial:
                raise _Moved
        elif kind == "ERR":
            error = error_of(str(data["code"]), str(data["message"]))
            if meta.get("serial") == serial:
                raise error
            if "serial" not in meta:
                self._topics.refused(str(data.get("topic", "")), error, int(data.get("count", 1)))
        elif kind == "ACK" and meta.get("serial") == serial:
            return (data,)
        return None

    def _connected(self, is_patient: bool) -> _Link:
        with self._dialing:
            link = self._link
            if link is None or link.is_lost:
                link = self._link = self._topics.dial(self.endpoint, is_patient)
                self._look_at = time.monotonic() + _LOOK_SECONDS
            return link

    def _drop(self, link: _Link) -> None:
        link.close()
        if self._link is link:
            self._link = None
        self._topics.forget()

    def close(self) -> None:
        link = self._link
        if link is not None:
            link.close()


def _stream_meta(kind: str, serial: str) -> bytes:
    return b'{"version":0.3,"type":"%s","pack":%.3f,"serial":"%s"}' % (kind.encode(), time.time(), serial.encode())


class _Topics:
    """The data plane: which data worker a topic belongs to, and a connection to each that is needed."""

    def __init__(self, engine: Engine, on_error: Callable[[str, TaskEngineError, int], None] | None) -> None:
        self._engine = engine
        self._on_error = on_error
        self._told: set[tuple[str, str]] = set()
        self._ports: dict[str, _Port] = {}
        self._owners: list[tuple[str, str]] | None = None
        self._subscriptions: list[Subscription] = []

    def publish(self, topic: str, value: Any, content_type: str | None, confirm: bool) -> bool:
        if not isinstance(topic, str) or not 0 < len(topic) <= _NAME_LENGTH_MAX or topic[0] == "$" or "\0" in topic:
            message = f"topic {json.dumps(topic)[:160]} is not 1 to {_NAME_LENGTH_MAX} characters without NUL"
            raise BadArgs("BAD_ARGS", f"{message}, the first of which is no $")
        binary = binary_of(value, content_type)
        if binary is not None:
            payload = binary[0]
            kind = "," + dumps(binary[1]).decode()[1:-1]
        elif content_type is not None:
            if not isinstance(value, str):
                given = type(value).__name__
                raise BadArgs("BAD_ARGS", f"a value of type {content_type} must be bytes or text, not {given}")
            payload = value.encode()
            kind = f',"contentType":{json.dumps(content_type)}'
        else:
            payload, kind = dumps(value), ""
        meta = f'{{"version":0.3,"type":"DATA"{kind},"pack":{time.time():.3f}'
        if confirm:
            frames = [topic.encode(), f'{meta},"serial":"put"}}'.encode(), payload]
            self._of(topic, lambda port: port.ask("put", frames, self._engine._wait_seconds))
            return True
        try:
            port = self._port_of(topic)
        except TaskEngineError as error:
            if error.code in ("NO_ANSWER", "UNAVAILABLE", "INTERRUPTED"):
                return False
            raise
        return port.publish([topic.encode(), (meta + "}").encode(), payload])

    def get(self, topic: str) -> TopicValue:
        values = self._command(topic, {"command": "get", "topic": topic})[1]
        if not values:
            raise UnknownTopic("UNKNOWN_TOPIC", f"topic {json.dumps(topic)} has no value yet")
        return values[0]

    def history(self, topic: str, last_ms: float, limit: int) -> list[TopicValue]:
        _check_number("last_ms", last_ms, 0, _HISTORY_MS_MAX)
        _check_number("limit", limit, 1, _HISTORY_VALUES_MAX)
        return self._command(topic, {"command": "history", "topic": topic, "lastMs": round(last_ms), "limit": limit})[1]

    def remove(self, topic: str) -> None:
        self._command(topic, {"command": "remove", "topic": topic})

    def listing(self, prefix: str) -> list[dict[str, Any]]:
        topics: list[dict[str, Any]] = []
        for _, endpoint in self.owners():
            body = {"command": "topics", "prefix": prefix}
            answer, _ = self._port(endpoint).request("CONTROL", body, self._engine._wait_seconds)
            topics += answer["topics"]
        return sorted(topics, key=lambda each: str(each["topic"]))

    def _command(self, topic: str, body: dict[str, Any]) -> tuple[Any, list[TopicValue]]:
        return self._of(topic, lambda port: port.request("CONTROL", body, self._engine._wait_seconds))

    def _of(
        self, topic: str, ask: Callable[[_Port], tuple[Any, list[TopicValue]]]
    ) -> tuple[Any, list[TopicValue]]:
        for _ in range(5):
            try:
                return ask(self._port_of(topic))
            except _Moved:
                time.sleep(0.02)
        raise error_of("UNAVAILABLE", f"topic {json.dumps(topic)} has another data worker now; try again")

    # Data workers

    def owners(self) -> list[tuple[str, str]]:
        """The endpoints for publications and of the stream ports of all data workers, which the engine names."""
        owners = self._owners
        if owners is None:
            answer = self._engine._control("tasks")
            owners = [
                (str(each["publications"]), _reachable(self._engine.endpoint, str(each["stream"])))
                for each in answer.get("dataWorkers", [])
                if each.get("stream") is not None
            ]
            if not owners:
                raise error_of("UNAVAILABLE", "the engine has no data worker at present")
            self._owners = owners
        return owners

    def forget(self) -> None:
        """The engine is asked again: a data worker may have come or gone."""
        self._owners = None

    def dial(self, endpoint: str, is_patient: bool) -> _Link:
        return self._engine._open(endpoint, is_patient, _DATA_MESSAGE_BYTES_MAX)

    def _port_of(self, topic: str) -> _Port:
        owners = self.owners()
        if len(owners) == 1:
            return self._port(owners[0][1])
        import hashlib

        name = b"\0" + topic.encode()
        return self._port(max(owners, key=lambda owner: hashlib.sha256(owner[0].encode() + name).digest())[1])

    def _port(self, endpoint: str) -> _Port:
        port = self._ports.get(endpoint)
        if port is None:
            port = self._ports.setdefault(endpoint, _Port(endpoint, self))
        return port

    def refused(self, topic: str, error: TaskEngineError, count: int) -> None:
        if self._on_error is not None:
            self._on_error(topic, error, count)
            return
        kind = (topic, error.code)
        if kind in self._told or len(self._told) >= _WARNINGS_MAX:
            return
        self._told.add(kind)
        import warnings

        warnings.warn(f"values of topic {topic} are not taken: {error}", RuntimeWarning, stacklevel=4)

    def close(self) -> None:
        for port in list(self._ports.values()):
            port.close()
        for subscription in list(self._subscriptions):
            subscription.close()


def _check_number(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise BadArgs("BAD_ARGS", f"{name} is {value}; it must be {least} to {most}")


def _reachable(router: str, endpoint: str) -> str:
    """A data worker that listens on all addresses is on the router's machine."""
    host, _, port = endpoint[6:].rpartition(":")
    return f"tcp://{router[6:].rpartition(':')[0]}:{port}" if host in ("0.0.0.0", "*", "[::]") else endpoint


class _Feed:
    """The part of a subscription that comes from one data worker."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.link: _Link | None = None
        self.owed = 0
        self.heard_at: float | None = None
        self.dial_at = 0.0


class Subscription:
    """
    `for value in engine.subscribe("arm/"): print(value.topic, value.data)`. One thread reads it; a
    connection that is lost comes back by itself. A program that is too slow loses the oldest
    values, which are counted in `dropped`, and always gets the newest. `close`, also from another
    thread, ends the loop.
    """

    def __init__(
        self,
        engine: Engine,
        names: list[str],
        exact: bool,
        mode: str,
        max_hz: float | None,
        last_ms: float | None,
        on_event: Callable[[dict[str, Any]], None] | None,
    ) -> None:
        names = names or [""]
        if mode not in _WINDOW_BYTES:
            raise BadArgs("BAD_ARGS", f"mode {json.dumps(mode)} is not all or latest")
        if len(names) > _NAMES_MAX or any(not isinstance(name, str) or len(name) > _NAME_LENGTH_MAX for name in names):
            limits = f"{_NAMES_MAX} topics, each of up to {_NAME_LENGTH_MAX} characters"
            raise BadArgs("BAD_ARGS", f"a subscription has up to {limits}")
        if max_hz is not None:
            _check_number("max_hz", max_hz, 0.001, 100_000)
        if last_ms is not None:
            _check_number("last_ms", last_ms, 0, _HISTORY_MS_MAX)
        # The values of topics with these whole names come first.
        whole = names if exact else [name for name in names if name and 2 * len(names) <= _NAMES_MAX]
        self._names: dict[str, Any] = {"topics": whole, "prefixes": [] if exact else names, "mode": mode}
        if max_hz is not None:
            self._names["maxHz"] = max_hz
        self._engine = engine
        self._mode = mode
        self._last_ms = last_ms
        self._wants_all = mode == "all" and max_hz is None
        self._window = _WINDOW_BYTES[mode]
        self._on_event = on_event
        self._feeds: list[_Feed] = []
        self._pause = _RECONNECT_SECONDS
        self._find_at = 0.0
        self._is_found = False
        self._closed = False
        self._queue: collections.deque[tuple[_Feed, TopicValue, int]] = collections.deque()
        self._newest: dict[str, TopicValue] = {}
        self._reached: dict[str, tuple[str, int]] = {}
        self.dropped: dict[str, int] = {}
        engine._topics._subscriptions.append(self)

    def __iter__(self) -> Subscription:
        return self

    def __next__(self) -> TopicValue:
        value = self.read()
        if value is None:
            raise StopIteration
        return value

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self, timeout_ms: float | None = None) -> TopicValue | None:
        """
        The next value; None if none comes within `timeout_ms`, and once the subscription is closed.
        Raises TaskEngineError if the engine refuses the subscription, or was never there.
        """
        deadline = None if timeout_ms is None else time.monotonic() + timeout_ms / 1000
        if self._mode == "latest":
            self._receive(0)
        while True:
            value = self._pop()
            if value is not None or self._closed:
                return value
            seconds = _READ_SECONDS
            if deadline is not None:
                seconds = min(seconds, deadline - time.monotonic())
                if seconds <= 0:
                    self._receive(0)
                    return self._pop()
            self._receive(seconds)

    def close(self) -> None:
        """Ends the subscription; unread values are dropped."""
        self._closed = True
        self._queue.clear()
        self._newest.clear()
        for feed in self._feeds:
            if feed.link is not None:
                feed.link.close()
        if self in self._engine._topics._subscriptions:
            self._engine._topics._subscriptions.remove(self)

    def _pop(self) -> TopicValue | None:
        if self._newest:
            return self._newest.pop(next(iter(self._newest)))
        if not self._queue:
            return None
        feed, value, size = self._queue.popleft()
        self._owe(feed, size)
        return value

    def _owe(self, feed: _Feed, size: int) -> None:
        """Bytes are granted anew when the program has taken them."""
        feed.owed += size
        if feed.owed * 4 < self._window or feed.link is None:
            return
        body = dumps({"data": {"credit": feed.owed}, "pack": round(time.time(), 3)})
        feed.owed = 0
        try:
            feed.link.send([b"", _stream_meta("CREDIT", "s"), body])
        except Lost:
            self._lose(feed)

    def _receive(self, seconds: float) -> None:
        """Reads what comes within so many seconds from all data workers, and connects to them before."""
        deadline = time.monotonic() + seconds
        links = self._connected()
        if not links:
            if not self._closed:
                time.sleep(min(self._pause, max(0.0, seconds)))
            return
        if len(links) == 1 and len(self._feeds) == 1:
            self._receive_from(self._feeds[0], seconds)
            return
        poll = select.poll()
        for link in links:
            poll.register(link.fileno(), select.POLLIN)
        left = 0.0 if any(link.pending for link in links) else max(0.0, deadline - time.monotonic())
        # A feed that is to be connected again does not wait for the others' values.
        poll.poll(1000 * (left if len(links) == len(self._feeds) else min(left, self._pause)))
        for feed in list(self._feeds):
            if feed.link is not None:
                self._receive_from(feed, 0)

    def _receive_from(self, feed: _Feed, seconds: float) -> None:
        link = feed.link
        if link is None:
            return
        try:
            messages = link.recv_all(seconds)
        except Lost:
            self._lose(feed)
            return
        feed.heard_at = time.monotonic()
        for frames in messages:
            if frames[0]:
                if len(frames) == 3:
                    self._take_value(feed, frames)
            else:
                self._take_notice(frames)

    def _take_value(self, feed: _Feed, frames: list[bytes]) -> None:
        size = sum(map(len, frames)) + 4 * _FRAME_OVERHEAD_BYTES
        try:
            value = TopicValue(frames[0].decode(), frames[1], frames[2])
        except ValueError:
            return self._owe(feed, size)
        topic, epoch, seq = value.topic, value.epoch, value.seq
        reached = self._reached.get(topic)
        if reached is not None:
            if reached[0] != epoch:
                self._tell({"type": "restarted", "topic": topic})
                if self._wants_all and seq > 1:
                    self._drop(topic, seq - 1)
            elif seq <= reached[1]:
                return self._owe(feed, size)
            elif self._wants_all and seq > reached[1] + 1:
                self._drop(topic, seq - reached[1] - 1)
        elif len(self._reached) >= _HISTORY_VALUES_MAX:
            self._reached.clear()
        self._reached[topic] = (epoch, seq)
        if self._mode == "latest":
            self._newest[topic] = value
            self._owe(feed, size)
        else:
            self._queue.append((feed, value, size))

    def _take_notice(self, frames: list[bytes]) -> None:
        try:
            kind = loads(frames[1])["type"]
            data = loads(frames[2])["data"]
        except (ValueError, LookupError, TypeError):
            return
        if kind == "ERR":
            self.close()
            raise error_of(str(data["code"]), str(data["message"]))
        if kind == "MOVED":
            self._is_found = False
            self._engine._topics.forget()
            self._tell({"type": "moved"})
        elif kind == "STALE":
            self._tell({"type": "stale", "topic": data["topic"], "age_ms": data["ageMs"]})
        elif kind == "REMOVED":
            self._tell({"type": "removed", "topic": data["topic"]})

    def _drop(self, topic: str, count: int) -> None:
        self.dropped[topic] = self.dropped.get(topic, 0) + count
        self._tell({"type": "dropped", "topic": topic, "count": count})

    def _tell(self, event: dict[str, Any]) -> None:
        if self._on_event is not None:
            self._on_event(event)

    # Connections

    def _lose(self, feed: _Feed) -> None:
        if feed.link is not None:
            feed.link.close()
            feed.link = None
        if self._closed:
            return
        self._is_found = False
        self._engine._topics.forget()
        self._tell({"type": "lost"})

    def _connected(self) -> list[_Link]:
        now = time.monotonic()
        if not self._is_found and now >= self._find_at and not self._closed:
            self._find(now)
        for feed in self._feeds:
            if feed.link is None and now >= feed.dial_at and not self._closed:
                self._dial(feed, now)
        return [feed.link for feed in self._feeds if feed.link is not None]

    def _find(self, now: float) -> None:
        """Asks the engine for its data workers. It may be away for a while, but not from the beginning."""
        try:
            endpoints = [stream for _, stream in self._engine._topics.owners()]
        except TaskEngineError:
            if not self._feeds:
                self.close()
                raise
            self._find_at = now + self._pause
            self._pause = min(2 * self._pause, _RECONNECT_SECONDS_MAX)
            return
        self._is_found = True
        self._pause = _RECONNECT_SECONDS
        for feed in self._feeds:
            if feed.endpoint not in endpoints and feed.link is not None:
                feed.link.close()
        kept = [feed for feed in self._feeds if feed.endpoint in endpoints]
        known = {feed.endpoint for feed in kept}
        self._feeds = kept + [_Feed(endpoint) for endpoint in endpoints if endpoint not in known]

    def _dial(self, feed: _Feed, now: float) -> None:
        try:
            link = self._engine._topics.dial(feed.endpoint, False)
        except NoAnswer:
            feed.dial_at = now + self._pause
            self._pause = min(2 * self._pause, _RECONNECT_SECONDS_MAX)
            self._is_found = False
            self._engine._topics.forget()
            return
        self._pause = _RECONNECT_SECONDS
        request = {**self._names, "credit": self._window}
        last_ms: float | None = self._last_ms
        if feed.heard_at is not None:
            # Values of the time since then are wanted; those that came already are skipped.
            last_ms = min(_HISTORY_MS_MAX, (now - feed.heard_at) * 1000 + _MISSED_MS) if self._wants_all else 0
        if last_ms is not None:
            request["lastMs"] = round(last_ms)
        feed.owed = 0
        feed.link = link
        try:
            link.send([b"", _stream_meta("SUBSCRIBE", "s"), dumps({"data": request, "pack": round(time.time(), 3)})])
        except Lost:
            self._lose(feed)
            return
        if self._closed:
            link.close()


class AsyncEngine:
    """
    A client for asyncio, made by `aconnect`: the methods of Engine as coroutines. A job with a dead
    man is kept alive while a coroutine waits for it and the event loop turns. A coroutine that is
    cancelled cancels its job.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._caller = AsyncCaller(engine._caller)

    async def call(self, task: str, /, *args: Any, **kwargs: Any) -> Any:
        return await self._caller.call(task, *args, **kwargs)

    async def map(self, task: str, args_list: Iterable[Iterable[Any]], /, **kwargs: Any) -> list[Any]:
        return await self._caller.map(task, args_list, **kwargs)

    def options(self, **options: Any) -> AsyncCaller:
        """As `Engine.options`. A thread of its own calls `on_progress`."""
        return AsyncCaller(self.engine.options(**options))

    async def publish(
        self, topic: str, value: Any, *, content_type: str | None = None, confirm: bool = False
    ) -> bool:
        return bool(await _in_thread(self.engine.publish, topic, value, content_type=content_type, confirm=confirm))

    async def get(self, topic: str) -> TopicValue:
        value: TopicValue = await _in_thread(self.engine.get, topic)
        return value

    async def history(self, topic: str, *, last_ms: float = 60_000, limit: int = 65_536) -> list[TopicValue]:
        return list(await _in_thread(self.engine.history, topic, last_ms=last_ms, limit=limit))

    async def topics(self, prefix: str = "") -> list[dict[str, Any]]:
        return list(await _in_thread(self.engine.topics, prefix))

    async def remove(self, topic: str) -> None:
        await _in_thread(self.engine.remove, topic)

    async def status(self) -> dict[str, Any]:
        return dict(await _in_thread(self.engine.status))

    async def tasks(self) -> list[dict[str, Any]]:
        return list(await _in_thread(self.engine.tasks))

    async def estop(self, reason: str = "") -> dict[str, Any]:
        return dict(await _in_thread(self.engine.estop, reason))

    async def reset(self) -> None:
        await _in_thread(self.engine.reset)

    async def subscribe(self, *topics: str, **options: Any) -> AsyncIterator[TopicValue]:
        """As `Engine.subscribe`: `async for value in engine.subscribe("arm/"): …`"""
        subscription = self.engine.subscribe(*topics, **options)
        try:
            while not subscription._closed:
                value = subscription._pop() or await _in_thread(subscription.read, 500)
                if value is not None:
                    yield value
        finally:
            subscription.close()

    async def close(self) -> None:
        await _in_thread(self.engine.close)

    async def __aenter__(self) -> AsyncEngine:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class AsyncCaller:
    """`call` and `map` as coroutines, with options."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def call(self, task: str, /, *args: Any, **kwargs: Any) -> Any:
        import asyncio

        engine = self._caller._engine
        if engine._link is None or engine._link.is_lost:
            await _in_thread(engine._dial)
        job = self._caller.submit(task, *args, **kwargs)
        future = asyncio.wrap_future(job)
        try:
            while not future.done():
                every = job._request.alive_seconds or _READ_SECONDS
                await asyncio.wait({future}, timeout=every)
                if not future.done() and job._request.alive_seconds:
                    job.keep_alive()
            return future.result()
        except asyncio.CancelledError:
            job.cancel()
            raise

    async def map(self, task: str, args_list: Iterable[Iterable[Any]], /, **kwargs: Any) -> list[Any]:
        return list(await _in_thread(self._caller.map, task, list(args_list), **kwargs))


async def _in_thread(work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    import asyncio

    return await asyncio.get_running_loop().run_in_executor(None, lambda: work(*args, **kwargs))
