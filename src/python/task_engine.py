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

import json
import socket
import struct
import sys
import threading
import time

# `typing` is not imported when the program runs: an idle worker has little memory to spend.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

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


def binary_of(value: object, content_type: str | None = None) -> tuple[bytes | memoryview, dict[str, Any]] | None:
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
    """Something listens there that no NULL connection can talk to; its text says what."""


_MORE, _LONG, _COMMAND = 1, 2, 4
_GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
_READ_BYTES = 256 * 1024
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


def _address(endpoint: str) -> tuple[str, int] | str:
    """(host, port) of `tcp://HOST:PORT`, or the path of `ipc://PATH`. Raises BadArgs."""
    if endpoint.startswith("ipc://") and len(endpoint) > 6:
        path = endpoint[6:]
        return "\0" + path[1:] if path.startswith("@") else path
    host, colon, port = endpoint[6:].rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    is_port = port.isascii() and port.isdigit() and 0 < int(port) < 65_536
    if not endpoint.startswith("tcp://") or not colon or host in ("", "*") or not is_port:
        raise BadArgs("BAD_ARGS", f"endpoint {json.dumps(endpoint)} is not of the form tcp://HOST:PORT")
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
        self._wait_seconds: float | None = None
        self._buffer = b""
        self._frames: list[bytes] = []
        self._frames_bytes = 0
        self._ready: list[list[bytes]] = []
        self._lost: str | None = None

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
            raise NotZmtp(f"the listener there demands {mechanism}")
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
            try:
                self._socket.sendall(data)
            except BlockingIOError:
                self._lose(f"the other end has read nothing for {_SEND_SECONDS:g} s")
            except OSError as error:
                self._lose(error.strerror or str(error))

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
        if self._lost is not None:
            raise Lost(self._lost)
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
            messages = self._parse(data)
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
        if self._lost is None:
            self._lost = "it is closed"
        try:
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
        if self._lost is None:
            self._lost = why
        self.close()
        raise Lost(self._lost) from None

    def _parse(self, data: bytes) -> list[list[bytes]]:
        if self._buffer:
            data = self._buffer + data
        messages: list[list[bytes]] = []
        frames = self._frames
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
            if flags > 7 or self._frames_bytes + size > self._message_bytes_max or len(frames) > _MESSAGE_FRAMES_MAX:
                self._lose("the other end sends what is no ZMTP, or a message that is too large")
            stop = start + size
            if stop > end:
                if stop - end > _READ_BYTES:
                    data, at, end = self._read_rest(data[at:], stop - at), 0, stop - at
                    continue
                break
            at = stop
            if flags & _COMMAND:
                self._answer(data[start:stop])
                continue
            frames.append(data[start:stop])
            if flags & _MORE:
                self._frames_bytes += size
            else:
                messages.append(frames)
                frames = []
                self._frames_bytes = 0
        self._frames = frames
        self._buffer = data[at:] if at else data
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
