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
import io
import itertools
import json
import os
import queue
import select
import signal
import socket
import struct
import sys
import threading
import time

# `typing` is not imported when the program runs: an idle worker has little memory to spend.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, AsyncIterator, Callable, Iterable, Literal, NoReturn, Sequence, Tuple, Union

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
# The largest that malloc(3) gives without system calls of its own.
_READ_BYTES = 64 * 1024
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
        except (BrokenPipeError, ConnectionResetError):
            connected.close()
            raise Lost("the listener there closes the connection at once") from None
        except BaseException:
            connected.close()
            raise
        return connection

    # The handshake

    def _handshake(self, socket_type: str, identity: bytes, deadline: float) -> None:
        # libzmq names its mechanism after the version alone, but closes at once after another mechanism.
        self._socket.sendall(_GREETING[:11])
        greeting = self._read_exactly(64, deadline)
        mechanism = greeting[12:32].rstrip(b"\0").decode("latin-1")
        if mechanism != "NULL":
            if mechanism == "CURVE":
                raise NotZmtp("the engine there has keys; name its own and yours (server_key, key)", mechanism)
            raise NotZmtp(f"the listener there uses {_printable(mechanism.encode())}, which no engine does", mechanism)
        self._socket.sendall(_GREETING[11:])
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
            except OSError:
                raise Lost("the listener there closes the connection at once") from None
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

    def descriptors(self) -> list[int]:
        """For poll(2): one of them is readable when something has come, or the connection is lost."""
        return [self.fileno(), int(self._monitor.getsockopt(self._zmq.FD)), self._wake_reader.fileno()]

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
_RESULT_WAIT_MS_MAX = 3_600_000
_JOB_ID_LENGTH = 16
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
        *("engine", "serial", "link", "frames", "error", "done", "job", "on_progress", "group", "waiters"),
        *("alive_seconds", "alive_at", "deadline", "limit_seconds", "is_late"),
    )

    engine: Engine

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


class DetachedJob:
    """
    A job that was accepted and goes on by itself: its `id`, by which every client finds it, its
    `state` at that moment, and whether it is an `existing` one of the same `unique` key.
    """

    def __init__(self, engine: Engine, accepted: dict[str, Any]) -> None:
        self._engine = engine
        self.id = str(accepted["job"])
        self.state = str(accepted["state"])
        self.existing = accepted.get("existing") is True

    def result(self, wait_ms: float = 60_000) -> Any:
        """As `Engine.result`."""
        return self._engine.result(self.id, wait_ms=wait_ms)

    def report(self) -> dict[str, Any]:
        """As `Engine.job`."""
        return self._engine.job(self.id)

    def cancel(self) -> bool:
        """Ends the job; False if it has ended already."""
        return int(self._engine._control("cancel", job=self.id)["cancelled"]) > 0

    def __repr__(self) -> str:
        return f"DetachedJob({self.id!r})"


def _unique(given: str | dict[str, Any] | None) -> object:
    """As the engine spells it."""
    if not isinstance(given, dict):
        return given
    return {"windowMs" if key == "window_ms" else key: value for key, value in given.items()}


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


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
        detach: bool | None = None,
        durable: bool | None = None,
        unique: str | dict[str, Any] | None = None,
        delay_ms: float | None = None,
        not_before: float | None = None,
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
        and `preempt`.

        With `detach` the result is a DetachedJob, once the engine has accepted it: it goes on when
        nobody waits for it. `durable`: it is on the engine's disk first. `unique`: a key, or
        `{"key": …, "window_ms": …}`; while a job of the same task and key has not ended, it is given
        in place of a new one. `delay_ms` and `not_before` (seconds since 1970) say when it may begin.

        The client waits `wait_ms` for the reply (60000 by default), then it cancels
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
            "detach": detach,
            "durable": durable,
            "unique": _unique(unique),
            "delayMs": delay_ms,
            "notBefore": not_before,
        }
        return Caller(self, _given(limits), wait_ms, on_progress, return_errors)

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

    def reload(self) -> dict[str, Any]:
        """
        Makes the engine read its task files and authorized keys again, and replace its workers,
        60 s at most. Returns `tasks`, their number, or None, and `failure`: one line on what is not
        as the files say, or None.
        """
        return self._control("reload", _seconds=_CALL_SECONDS)

    # Jobs

    def result(self, id: str, *, wait_ms: float = 60_000) -> Any:
        """
        The result of a job, by its id, once it is there. Raises as `call` does if the job failed,
        NoAnswer if it has not ended within `wait_ms`, and UNKNOWN_JOB if nothing is known of it
        (any more).
        """
        until = time.monotonic() + wait_ms / 1000
        while True:
            left_ms = max(0, int((until - time.monotonic()) * 1000))
            step_ms = min(left_ms, _RESULT_WAIT_MS_MAX)
            request = self._ask("result", step_ms / 1000 + self._wait_seconds, job=id, waitMs=step_ms)
            result = _result_of(request)
            if not isinstance(result, DetachedJob):
                return result
            if step_ms == left_ms:
                message = f"job {id} is {result.state}: it has not ended within {wait_ms:g} ms"
                raise NoAnswer("NO_ANSWER", message)

    def job(self, id: str) -> dict[str, Any]:
        """What is known of a job: its `state`, `code`, `started` and so on, as in PROTOCOL.md."""
        return self._control("job", job=id)

    def jobs(
        self,
        *,
        task: str | None = None,
        states: Sequence[str] | None = None,
        dead: bool | None = None,
        since_ms: float | None = None,
        before: str | None = None,
        limit: int = 100,
    ) -> list[dict[str, Any]]:
        """
        The jobs that have not ended, and the last ones that have, the newest first, at most 100: of
        a task, in some states, that have not ended before the last `since_ms`, older than the job
        `before`. With `dead` only dead letters: durable jobs that have failed for good.
        """
        states = None if states is None else list(states)
        given = {"task": task, "states": states, "dead": dead, "sinceMs": since_ms, "before": before}
        return list(self._control("jobs", limit=limit, **_given(given))["jobs"])

    def logs(self, *, job: str | None = None, task: str | None = None) -> list[dict[str, Any]]:
        """The last 1000 lines of the logs of a job, a task or all: `at`, `job`, `task`, `level`, `text`."""
        return list(self._control("logs", **_given({"job": job, "task": task}))["lines"])

    def schedules(self) -> list[dict[str, Any]]:
        """The tasks that run by themselves: `name`, `next`, `last`, `code` and so on, as in PROTOCOL.md."""
        return list(self._control("schedules")["schedules"])

    def schedule(self, name: str, action: Literal["pause", "resume", "run"]) -> dict[str, Any]:
        """
        Pauses a schedule (`pause`), ends its pause (`resume`), or runs its task now, beside its
        times (`run`). Returns the schedule; after a pause or its end with `failure`, which says why
        a restart of the engine will not know of it, or is None.
        """
        return self._control("schedule", name=name, action=action)

    def pause(self, task: str) -> dict[str, Any]:
        """
        Keeps the jobs of a task waiting until `resume`, through restarts of the engine, and lets
        those that run end. Returns `paused`, the time since when, in seconds since 1970, and
        `failure`, as `schedule` does.
        """
        return self._control("pause", task=task)

    def resume(self, task: str) -> dict[str, Any]:
        """Ends the pause and the quarantine of a task. Returns `paused`, which is None, and `failure`."""
        return self._control("resume", task=task)

    def retry(self, id: str, *, confirm: bool = False) -> str:
        """
        Runs a dead letter again, as a new job, and returns its id. Raises TaskEngineError:
        UNCONFIRMED for a task that may move something, without `confirm`; UNKNOWN_JOB if there is
        no such dead letter.
        """
        return str(self._control("retry", job=id, confirm=confirm)["job"])

    def discard(self, id: str) -> None:
        """Forgets a dead letter. Raises TaskEngineError, UNKNOWN_JOB, if there is none of this id."""
        self._control("discard", job=id)

    def cancel(self, serial: str) -> int:
        """
        Cancels a job by its id, or the requests of this serial, of any requestor, as an operator.
        Returns their number, 0 for a job that has ended. Raises TaskEngineError, UNKNOWN_SERIAL, if
        there is none.
        """
        if len(serial) == _JOB_ID_LENGTH and "-" not in serial:
            try:
                return int(self._control("cancel", job=serial)["cancelled"])
            except TaskEngineError as error:
                if error.code != "UNKNOWN_JOB":
                    raise
        count = int(self._control("cancel", serial=serial)["cancelled"])
        if count == 0:
            raise error_of("UNKNOWN_SERIAL", f"no request with serial {json.dumps(serial)} waits or runs")
        return count

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
        waiting = list(self._pending.values())
        # Another thread may read the answers to the cancellations: nobody is to get them.
        self._pending.clear()
        for request in waiting:
            self._send_cancel(request)
        link = self._link
        if link is not None:
            link.close()
        for request in waiting:
            request.error = error_of("CLOSED", "the client was closed before the answer was there")
            self._finish(request)
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
        data = _result_of(self._ask(command, self._wait_seconds if _seconds is None else _seconds, **more))
        if not isinstance(data, dict):
            raise error_of("BAD_FRAME", f"the answer to {command} could not be understood")
        return data

    def _ask(self, command: str, _seconds: float, **more: Any) -> _Request:
        """Sends CONTROL, and returns once it is answered."""
        request = _Request(_seconds)
        body = {"data": {"command": command, **more}, "pack": round(time.time(), 3)}
        self._start(request, b"CONTROL", [dumps(body)])
        try:
            if not request.done:
                self._wait(request, None)
        except BaseException:
            if not request.done:
                self._send_cancel(request)
            raise
        return request

    def _start(self, request: _Request, kind: bytes, body: list[bytes]) -> None:
        """Sends a request. Raises NoAnswer if there is no connection, and then it was not sent."""
        if len(self._pending) >= _REQUESTS_MAX:
            raise error_of("QUEUE_FULL", f"{len(self._pending)} requests wait for their answers, which is the limit")
        request.engine = self
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
        if kind == "ACK" or kind == "ERR" or kind == "ACCEPTED":
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
        if frames[0] == b"ACCEPTED":
            return DetachedJob(request.engine, loads(frames[2])["data"])
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
        # Results that were collected, and those that batches in flight have by their last report.
        self._done = 0
        self._begun: dict[str, int] = {}

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
            request.on_progress = lambda data: self._report(request, data)
        self._caller._engine._start(request, b"REQ", parts)
        self._in_flight.append(request)
        self._places[request.serial] = places

    def _report(self, request: _Request, data: Any) -> None:
        on_progress = self._caller._on_progress
        if on_progress is not None and isinstance(data, dict):
            self._begun[request.serial] = int(data.get("done", 0))
            on_progress(self._done + sum(self._begun.values()))

    def _collect(self) -> None:
        request = self._in_flight[0]
        if not request.done:
            self._caller._engine._wait(request, None)
        del self._in_flight[0]
        places = self._places.pop(request.serial)
        for place, result in zip(places, self._parts_of(request, len(places))):
            self._results[place] = result
        self._done += len(places)
        self._begun.pop(request.serial, None)
        if self._caller._on_progress is not None:
            self._caller._on_progress(self._done + sum(self._begun.values()))

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
            link = self._sent(frames)
            values: list[TopicValue] = []
            try:
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

    def _sent(self, frames: list[bytes]) -> _Link:
        """The connection over which the request was sent. One that was lost before is replaced."""
        for _ in range(3):
            link = self._connected(True)
            try:
                for each in link.recv_all(0):
                    self._take(each, "")
                link.send(frames)
                return link
            except Lost:
                self._drop(link)
        raise NoAnswer("NO_ANSWER", f"no connection to {self.endpoint}: it is lost again and again")

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

    async def reload(self) -> dict[str, Any]:
        return dict(await _in_thread(self.engine.reload))

    async def result(self, id: str, *, wait_ms: float = 60_000) -> Any:
        return await _in_thread(self.engine.result, id, wait_ms=wait_ms)

    async def job(self, id: str) -> dict[str, Any]:
        return dict(await _in_thread(self.engine.job, id))

    async def jobs(self, **filters: Any) -> list[dict[str, Any]]:
        return list(await _in_thread(self.engine.jobs, **filters))

    async def logs(self, *, job: str | None = None, task: str | None = None) -> list[dict[str, Any]]:
        return list(await _in_thread(self.engine.logs, job=job, task=task))

    async def schedules(self) -> list[dict[str, Any]]:
        return list(await _in_thread(self.engine.schedules))

    async def schedule(self, name: str, action: Literal["pause", "resume", "run"]) -> dict[str, Any]:
        return dict(await _in_thread(self.engine.schedule, name, action))

    async def pause(self, task: str) -> dict[str, Any]:
        return dict(await _in_thread(self.engine.pause, task))

    async def resume(self, task: str) -> dict[str, Any]:
        return dict(await _in_thread(self.engine.resume, task))

    async def retry(self, id: str, *, confirm: bool = False) -> str:
        return str(await _in_thread(self.engine.retry, id, confirm=confirm))

    async def discard(self, id: str) -> None:
        await _in_thread(self.engine.discard, id)

    async def cancel(self, serial: str) -> int:
        return int(await _in_thread(self.engine.cancel, serial))

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
            if not future.cancel():  # which cancels the job
                future.exception()
            raise

    async def map(self, task: str, args_list: Iterable[Iterable[Any]], /, **kwargs: Any) -> list[Any]:
        return list(await _in_thread(self._caller.map, task, list(args_list), **kwargs))


async def _in_thread(work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    import asyncio

    return await asyncio.get_running_loop().run_in_executor(None, lambda: work(*args, **kwargs))


# ── Tasks ─────────────────────────────────────────────────────────────────────────────────────────

_DURATION_MS_MAX = 7 * 24 * 3600 * 1000
_SOURCE_EVERY_MS_MAX = 86_400_000
_EVERY_MS_MIN = 1_000
_EVERY_MS_MAX = 31_622_400_000
_JSON_DEPTH_MAX = 64
_TASKS_MAX = 1_024
_SOURCES_MAX = 256
_SCHEMA_BYTES_MAX = 16 * 1024
_SCHEMAS_BYTES_MAX = 512 * 1024
_ISSUES_SHOWN = 5
_TASK_LOAD_SECONDS = 10.0
_ON_STOP_MS = 1_000.0
_PROGRESS_SECONDS = 0.1
_SHOWN_LENGTH_MAX = 60


class Aborted(KeyboardInterrupt):
    """
    Raised once in the main thread, wherever that is, when the running job has to end before its
    time. `code` is the engine's code (`CANCELLED`, `TIMEOUT`, `STOPPED`, …), `message` a line for a
    person. Clean up and let it pass: what still runs after the task's `grace_ms` is killed. A task
    need not make safe what its `on_stop` makes safe, which runs afterwards in any case.
    """

    # asyncio hands a KeyboardInterrupt to the caller of its loop, and swallows others at times.

    def __init__(self, code: str = "INTERRUPTED", message: str = "") -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class _StartError(Exception):
    """The process cannot start, and a restart would not help. Its text is one line for a person."""


class _WrongArguments(Exception):
    """A job ends as BAD_ARGS; the text says what is wrong with each argument."""


# The policy of a task, and the rate of a source


def _number_ms(least: float, most: float) -> Callable[[object], object]:
    def check(value: object) -> object:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if is_number and least <= value <= most:  # type: ignore[operator]
            return value
        raise ValueError(f"must be a number of ms, {least:g} to {most:.0f}")

    return check


def _flag(value: object) -> object:
    if isinstance(value, bool):
        return value
    raise ValueError("must be True or False")


def _names(value: object) -> object:
    is_list = isinstance(value, (list, tuple)) and len(value) <= 16
    if is_list and all(isinstance(name, str) and 1 <= len(name) <= _NAME_LENGTH_MAX for name in value):  # type: ignore
        return list(value)  # type: ignore[call-overload]
    raise ValueError(f"must be a list of up to 16 names of 1 to {_NAME_LENGTH_MAX} characters")


def _retries(value: object) -> object:
    if isinstance(value, bool):
        return value
    rule = "must be True, False, or a dict with tries (1 to 10), backoff_ms (0 to 10000) and on_error (a bool)"
    if not isinstance(value, dict) or not set(value) <= {"tries", "backoff_ms", "on_error"}:
        raise ValueError(rule)
    tries, backoff_ms, on_error = value.get("tries", 1), value.get("backoff_ms", 0), value.get("on_error", False)
    if type(tries) is not int or not 1 <= tries <= 10 or type(on_error) is not bool:
        raise ValueError(rule)
    if isinstance(backoff_ms, bool) or not isinstance(backoff_ms, (int, float)) or not 0 <= backoff_ms <= 10_000:
        raise ValueError(rule)
    keys = {"tries": "tries", "backoff_ms": "backoffMs", "on_error": "onError"}
    return {keys[key]: each for key, each in value.items()}


def _cron(value: object) -> object:
    """The engine itself checks the expression and the zone."""
    times = {"cron": value} if isinstance(value, str) else value
    is_dict = isinstance(times, dict) and "cron" in times and set(times) <= {"cron", "zone", "misfire"}
    if not is_dict or not all(isinstance(each, str) for each in times.values()):  # type: ignore[attr-defined]
        raise ValueError("must be a cron expression, or a dict with cron, zone and misfire")
    if times.get("misfire", "skip") not in ("skip", "once"):  # type: ignore[attr-defined]
        raise ValueError('its misfire is neither "skip" nor "once"')
    return {key: times[key] for key in ("cron", "zone", "misfire") if key in times}  # type: ignore[operator, index]


def _interval(value: object) -> object:
    if type(value) is int and _EVERY_MS_MIN <= value <= _EVERY_MS_MAX:
        return value
    raise ValueError(f"must be a whole number of ms from {_EVERY_MS_MIN} to {_EVERY_MS_MAX}")


def _check_schedule(given: dict[str, Any]) -> None:
    """Raises ValueError for what excludes that a task runs by itself, or after a restart."""
    key = next((key for key in ("schedule", "every_ms", "durable") if given.get(key)), None)
    if key is None:
        return
    if given.get("schedule") is not None and given.get("every_ms") is not None:
        raise ValueError("has both schedule and every_ms; remove one")
    if given.get("deadman_ms") is not None:
        raise ValueError(f"has deadman_ms and {key}; nobody need be there when it runs; remove one")
    if given.get("moves") is not False and given.get("resumes_after_restart") is not True:
        remedy = "write `moves=False` if it does not, or `resumes_after_restart=True`"
        raise ValueError(f"has {key} and may move something; {remedy}")


def _callable(value: object) -> object:
    if callable(value):
        return value
    raise ValueError("must be a function")


_policy_rows: dict[str, tuple[str, Callable[[object], object]]] = {
    "ttl_ms": ("ttlMs", _number_ms(1, _DURATION_MS_MAX)),
    "timeout_ms": ("timeoutMs", _number_ms(1, _DURATION_MS_MAX)),
    "deadman_ms": ("deadmanMs", _number_ms(50, _DURATION_MS_MAX)),
    "grace_ms": ("graceMs", _number_ms(0, _DURATION_MS_MAX)),
    "idempotent": ("idempotent", _retries),
    "resources": ("resources", _names),
    "preemptible": ("preemptible", _flag),
    "moves": ("moves", _flag),
    "resumes_after_restart": ("resumesAfterRestart", _flag),
    "schedule": ("schedule", _cron),
    "every_ms": ("everyMs", _interval),
    "durable": ("durable", _flag),
    "allowed_when_stopped": ("allowedWhenStopped", _flag),
    "on_stop": ("onStop", _callable),
    "on_stop_ms": ("onStopMs", _number_ms(1, _DURATION_MS_MAX)),
}


def _topic(value: object) -> object:
    if isinstance(value, str) and 1 <= len(value) <= _NAME_LENGTH_MAX and value[0] != "$" and "\0" not in value:
        return value
    raise ValueError(f"must be 1 to {_NAME_LENGTH_MAX} characters, without NUL, that do not begin with $")


_source_rows: dict[str, tuple[str, Callable[[object], object]]] = {
    "every_ms": ("everyMs", _number_ms(1, _SOURCE_EVERY_MS_MAX)),
    "topic": ("topic", _topic),
    "stale_ms": ("staleMs", _number_ms(1, _DURATION_MS_MAX)),
}


def _checked_rows(rows: dict[str, tuple[str, Callable[[object], object]]], given: dict[str, Any]) -> dict[str, Any]:
    """The given keys by their names on the wire. Raises ValueError with a phrase that follows the task's name."""
    checked: dict[str, Any] = {}
    for key, value in given.items():
        if value is None:
            continue
        if key not in rows:
            raise ValueError(f"has the key {key}, which is not one of {', '.join(rows)}")
        wire, check = rows[key]
        try:
            checked[wire] = check(value)
        except ValueError as error:
            raise ValueError(f"has a wrong {key}: {error}") from None
    return checked


class _Definition:
    """What a decorator has said of a function."""

    def __init__(self, kind: str, given: dict[str, Any]) -> None:
        self.kind = kind
        self.given = given


_DEFINITION = "__task_engine__"


def _mark(function: Any, definition: _Definition) -> Any:
    if not callable(function):
        raise TypeError(f"@{definition.kind} takes a function, and got {_shown(function)}")
    setattr(function, _DEFINITION, definition)
    return function


def task(
    function: Any = None,
    *,
    ttl_ms: float | None = None,
    timeout_ms: float | None = None,
    deadman_ms: float | None = None,
    grace_ms: float | None = None,
    idempotent: bool | dict[str, Any] | None = None,
    resources: Sequence[str] | None = None,
    preemptible: bool | None = None,
    moves: bool | None = None,
    resumes_after_restart: bool | None = None,
    schedule: str | dict[str, str] | None = None,
    every_ms: int | None = None,
    durable: bool | None = None,
    allowed_when_stopped: bool | None = None,
    on_stop: Callable[..., Any] | None = None,
    on_stop_ms: float | None = None,
    **unknown: NoReturn,
) -> Any:
    """
    Makes a function of a task file a task, with its policy; a function whose name begins with
    `task_` is one without it. PYTHON.md explains each key. Times are in ms. The function stays as
    it is. A wrong key or value is reported when the file is loaded.
    """
    given = {
        "ttl_ms": ttl_ms,
        "timeout_ms": timeout_ms,
        "deadman_ms": deadman_ms,
        "grace_ms": grace_ms,
        "idempotent": idempotent,
        "resources": resources,
        "preemptible": preemptible,
        "moves": moves,
        "resumes_after_restart": resumes_after_restart,
        "schedule": schedule,
        "every_ms": every_ms,
        "durable": durable,
        "allowed_when_stopped": allowed_when_stopped,
        "on_stop": on_stop,
        "on_stop_ms": on_stop_ms,
        **unknown,
    }
    definition = _Definition("task", given)
    if function is not None:
        return _mark(function, definition)
    return lambda each: _mark(each, definition)


def source(
    *args: NoReturn,
    every_ms: float | None = None,
    topic: str | None = None,
    stale_ms: float | None = None,
    **unknown: NoReturn,
) -> Any:
    """
    Makes a function of a task file a source: the engine calls it each `every_ms` ms and publishes
    what it returns on `topic`; None publishes nothing. After `stale_ms` without a value the topic
    is stale.
    """
    definition = _Definition("source", {"every_ms": every_ms, "topic": topic, "stale_ms": stale_ms, **unknown})
    if args:
        raise TypeError('@source needs every_ms and topic: @source(every_ms=20, topic="distance")')
    return lambda each: _mark(each, definition)


class _Task:
    """A task as the worker knows it: found, checked, ready to run."""

    def __init__(self, name: str, file: str, run: Any, given: dict[str, Any]) -> None:
        self.name = name
        self.file = file
        self.run = run
        self.policy = _checked_rows(_policy_rows, given)
        _check_schedule(given)
        self.on_stop: Callable[..., Any] | None = self.policy.pop("onStop", None)
        self.on_stop_values = 0 if self.on_stop is None else _on_stop_values(self.on_stop)
        self.on_stop_ms = float(self.policy.get("onStopMs", _ON_STOP_MS))
        self.allowed_when_stopped = self.policy.get("allowedWhenStopped") is True
        if self.on_stop is not None:
            self.policy["onStop"] = True
        parameters = _parameters_of(run)
        self.check = None if parameters is None else _argument_check(parameters)
        self.schema = None if parameters is None else _schema_of(parameters)

    def stop(self, code: str, message: str) -> None:
        """Calls `on_stop`, which exists, with as much of the reason as it takes."""
        assert self.on_stop is not None
        _finished(self.on_stop(*(code, message)[: self.on_stop_values]))


class _Source:
    def __init__(self, name: str, file: str, run: Any, given: dict[str, Any]) -> None:
        self.name = name
        self.file = file
        self.run = run
        policy = _checked_rows(_source_rows, given)
        for key in ("every_ms", "topic"):
            if _source_rows[key][0] not in policy:
                raise ValueError(f"needs {key}")
        self.every_ms = float(policy["everyMs"])
        self.topic: str = policy["topic"]
        self.stale_ms: float | None = policy.get("staleMs")
        if self.stale_ms is not None and self.stale_ms < self.every_ms:
            rule = f"must be at least every_ms, {self.every_ms:g}: else the topic is stale between two calls"
            raise ValueError(f"has a wrong stale_ms: {rule}")

    def listed(self) -> dict[str, Any]:
        stale = {} if self.stale_ms is None else {"staleMs": self.stale_ms}
        return {"name": self.name, "topic": self.topic, "everyMs": self.every_ms, **stale}


def _finished(result: Any) -> Any:
    """The result, or that of a coroutine, which is run to its end."""
    if not hasattr(result, "__await__"):
        return result
    # Only a program that awaits something pays for it.
    import asyncio

    async def whole() -> Any:
        return await result

    return asyncio.run(whole())


# Parameters: what the code of a function says of them. `inspect` would cost a megabyte.


class _Parameter:
    def __init__(self, name: str, kind: str, annotation: object, default: object) -> None:
        self.name = name
        # "positional", "either", "keyword", "rest" (*args) or "others" (**kwargs)
        self.kind = kind
        self.annotation = annotation
        self.default = default
        self.check: Callable[[Any, str], Any] | None = None
        self.schema: dict[str, Any] = {}


class _Missing:
    pass


_missing = _Missing()


def _code_of(function: Any) -> tuple[Any, int] | None:
    """The function that holds the code, and 1 if its first parameter is bound; None for code of C."""
    bound = 0
    for _ in range(32):
        if hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        elif hasattr(function, "__func__"):
            bound, function = 1, function.__func__
        elif hasattr(function, "__code__"):
            return function, bound
        elif not isinstance(function, type) and hasattr(type(function).__call__, "__code__"):
            return type(function).__call__, 1
        else:
            break
    return None


def _parameters_of(function: Any) -> list[_Parameter] | None:
    found = _code_of(function)
    if found is None:
        return None
    function, bound = found
    code = function.__code__
    hints: dict[str, Any] = getattr(function, "__annotations__", None) or {}
    count, keywords = code.co_argcount, code.co_kwonlyargcount
    names = code.co_varnames
    defaults: tuple[object, ...] = function.__defaults__ or ()
    keyword_defaults = function.__kwdefaults__ or {}
    parameters: list[_Parameter] = []

    def add(name: str, kind: str, default: object) -> None:
        hint = hints.get(name, _missing)
        parameter = _Parameter(name, kind, hint, default)
        if hint is not _missing:
            hint = _evaluated(hint, function, name)
            parameter.check, parameter.schema = _checker(hint, name)
        parameters.append(parameter)

    for index in range(bound, count):
        at = index - (count - len(defaults))
        kind = "positional" if index < code.co_posonlyargcount else "either"
        add(names[index], kind, defaults[at] if at >= 0 else _missing)
    for name in names[count : count + keywords]:
        add(name, "keyword", keyword_defaults.get(name, _missing))
    rest = count + keywords
    if code.co_flags & 0x04:  # CO_VARARGS
        add(names[rest], "rest", _missing)
        rest += 1
    if code.co_flags & 0x08:  # CO_VARKEYWORDS
        add(names[rest], "others", _missing)
    return parameters


def _evaluated(hint: object, function: Any, name: str) -> object:
    """An annotation that is text, as those of `from __future__ import annotations` are."""
    for _ in range(4):
        text = getattr(hint, "__forward_arg__", hint)
        if not isinstance(text, str):
            return hint
        try:
            hint = eval(text, function.__globals__)  # It is code of the task file itself.
        except Exception as error:
            raise ValueError(f"has an annotation of {name}, {text}, that cannot be read: {error}") from None
    return hint


def _on_stop_values(function: Any) -> int:
    """How many of code and message it takes: only parameters without a default get one."""
    parameters = _bare_parameters(function)
    required = [each for each in parameters if each[1] in ("positional", "either") and not each[2]]
    demanded = [name for name, kind, has_default in parameters if kind == "keyword" and not has_default]
    if len(required) > 2 or demanded:
        raise ValueError("has a wrong on_stop: it may take nothing, or the code, or the code and the message")
    return len(required)


def _bare_parameters(function: Any) -> list[tuple[str, str, bool]]:
    found = _code_of(function)
    if found is None:
        return []
    function, bound = found
    code = function.__code__
    count = code.co_argcount
    first_default = count - len(function.__defaults__ or ())
    parameters = [(code.co_varnames[index], "either", index >= first_default) for index in range(bound, count)]
    for name in code.co_varnames[count : count + code.co_kwonlyargcount]:
        parameters.append((name, "keyword", name in (function.__kwdefaults__ or {})))
    return parameters


# Annotations


class _Mismatch(Exception):
    """A value of another type; the text says where, and what was expected."""


_SUPPORTED = "bool, int, float, str, bytes, None, list, dict, tuple, Literal, Optional and unions of these"


def _checker(hint: Any, name: str) -> tuple[Callable[[Any, str], Any], dict[str, Any]]:
    """
    The check of a value, which returns it or raises _Mismatch, and the JSON Schema of an annotation.
    Raises ValueError for one that is not supported.
    """
    check, schema, _ = _rule(hint, name)
    return check, schema


def _mismatch(path: str, expected: str, value: object) -> NoReturn:
    raise _Mismatch(f"{path}: expected {expected}, got {_shown(value)}")


def _shown(value: object) -> str:
    """A value in an error, as JSON where it is."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        text = f"a {type(value).__name__}"
    return text if len(text) <= _SHOWN_LENGTH_MAX else text[: _SHOWN_LENGTH_MAX - 1] + "…"


def _simple(expected: str, schema: dict[str, Any], fits: Callable[[Any], bool]) -> Any:
    def check(value: Any, path: str) -> Any:
        return value if fits(value) else _mismatch(path, expected, value)

    return check, schema, expected


def _rule(hint: Any, name: str) -> Any:
    if hint is None or hint is None.__class__:
        return _simple("None", {"type": "null"}, lambda value: value is None)
    if hint is bool:
        return _simple("bool", {"type": "boolean"}, lambda value: type(value) is bool)
    if hint is int:
        return _simple("int", {"type": "integer"}, lambda value: type(value) is int)
    if hint is float:
        return _simple("float", {"type": "number"}, lambda value: type(value) is float or type(value) is int)
    if hint is str:
        return _simple("str", {"type": "string"}, lambda value: type(value) is str)
    if hint is bytes:
        # Arguments are JSON, which has none.
        return _simple("bytes", {"not": {}}, lambda value: type(value) is bytes)
    if hint is list or hint is tuple or hint is dict:
        return _rule_of_many(hint, (), name)
    typing = sys.modules.get("typing")
    if typing is not None and hint is typing.Any or hint is object:
        return _simple("anything", {}, lambda value: True)
    origin, items = getattr(hint, "__origin__", None), getattr(hint, "__args__", ())
    if typing is not None:
        if hint in (typing.List, typing.Dict, typing.Tuple):
            return _rule_of_many(origin, (), name)
        if origin is typing.Literal:
            return _rule_of_literal(items, name)
        if hasattr(hint, "__metadata__"):
            return _rule(origin, name)
    if type(hint).__name__ == "UnionType" or (typing is not None and origin is typing.Union):
        return _rule_of_union(items, name)
    if origin is list or origin is dict or origin is tuple:
        return _rule_of_many(origin, items, name)
    shown = hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")
    raise ValueError(f"annotates {name} with {shown}, which cannot be checked; use {_SUPPORTED}, or no annotation")


def _rule_of_literal(items: tuple[Any, ...], name: str) -> Any:
    if not all(item is None or type(item) in (bool, int, str) for item in items):
        raise ValueError(f"annotates {name} with a Literal of other things than bool, int, str and None")
    expected = "one of " + ", ".join(_shown(item) for item in items) if len(items) != 1 else _shown(items[0])

    def fits(value: Any) -> bool:
        # 1 == True, but they are two values of JSON.
        return any(value.__class__ is item.__class__ and value == item for item in items)

    return _simple(expected, {"enum": list(items)}, fits)


def _rule_of_union(items: tuple[Any, ...], name: str) -> Any:
    rules = [_rule(item, name) for item in items]
    expected = " or ".join(rule[2] for rule in rules)

    def check(value: Any, path: str) -> Any:
        mistakes: list[_Mismatch] = []
        for rule in rules:
            try:
                return rule[0](value, path)
            except _Mismatch as mistake:
                mistakes.append(mistake)
        # A mistake within a list or dict says more than the union does.
        for each in mistakes:
            if not str(each).startswith(f"{path}: "):
                raise each
        _mismatch(path, expected, value)

    return check, {"anyOf": [rule[1] for rule in rules]}, expected


def _rule_of_many(kind: Any, items: tuple[Any, ...], name: str) -> Any:
    if kind is dict:
        key, value_rule = (str, None) if not items else (items[0], _rule(items[1], name))
        if key is not str:
            raise ValueError(f"annotates {name} with a dict whose keys are no str; JSON has no others")

        def check_dict(value: Any, path: str) -> Any:
            if type(value) is not dict:
                _mismatch(path, "dict", value)
            if value_rule is not None:
                for each in value:
                    value[each] = value_rule[0](value[each], f"{path}.{each}")
            return value

        schema: dict[str, Any] = {"type": "object"}
        if value_rule is not None:
            schema["additionalProperties"] = value_rule[1]
        return check_dict, schema, "dict"
    if kind is tuple and items and not (len(items) == 2 and items[1] is Ellipsis):
        return _rule_of_tuple(items, name)
    rule = _rule(items[0], name) if items else None

    def check_list(value: Any, path: str) -> Any:
        if type(value) is not list:
            _mismatch(path, "list", value)
        if rule is not None:
            for index, each in enumerate(value):
                value[index] = rule[0](each, f"{path}[{index}]")
        # JSON has no tuple: it comes as a list.
        return tuple(value) if kind is tuple else value

    return check_list, {"type": "array", **({} if rule is None else {"items": rule[1]})}, "list"


def _rule_of_tuple(items: tuple[Any, ...], name: str) -> Any:
    # `Tuple[()]` has one item, (), before Python 3.11.
    rules = [_rule(item, name) for item in items if item != ()]
    expected = f"a list of {len(rules)}"

    def check(value: Any, path: str) -> Any:
        if type(value) is not list or len(value) != len(rules):
            _mismatch(path, expected, value)
        return tuple(rule[0](each, f"{path}[{at}]") for at, (rule, each) in enumerate(zip(rules, value)))

    count = len(rules)
    schema = {"type": "array", "prefixItems": [rule[1] for rule in rules], "minItems": count, "maxItems": count}
    return check, schema, expected


def _argument_check(parameters: list[_Parameter]) -> Callable[[list[Any], dict[str, Any]], None] | None:
    """
    A function that checks the arguments of a job in place and raises _WrongArguments. None for a
    function that takes everything.
    """
    places = [each for each in parameters if each.kind in ("positional", "either")]
    by_name = {each.name: each for each in parameters if each.kind in ("either", "keyword")}
    rest = next((each for each in parameters if each.kind == "rest"), None)
    others = next((each for each in parameters if each.kind == "others"), None)
    if not places and not by_name and rest is not None and others is not None and not (rest.check or others.check):
        return None
    required = [each for each in parameters if each.kind not in ("rest", "others") and each.default is _missing]

    def check(args: list[Any], kwargs: dict[str, Any]) -> None:
        mistakes: list[str] = []

        def checked(parameter: _Parameter, value: Any, path: str) -> Any:
            if parameter.check is None:
                return value
            try:
                return parameter.check(value, path)
            except _Mismatch as mistake:
                mistakes.append(str(mistake))
                return value

        given = set()
        for index, value in enumerate(args):
            if index < len(places):
                given.add(places[index].name)
                args[index] = checked(places[index], value, places[index].name)
            elif rest is not None:
                args[index] = checked(rest, value, f"{rest.name}[{index - len(places)}]")
        if rest is None and len(args) > len(places):
            count = f"{len(places)} argument{'' if len(places) == 1 else 's'}"
            mistakes.append(f"it takes {count if places else 'no arguments'} by position, and got {len(args)}")
        for name, value in kwargs.items():
            parameter = by_name.get(name)
            if parameter is not None:
                if name in given:
                    mistakes.append(f"{name}: given twice, by position and by name")
                given.add(name)
                kwargs[name] = checked(parameter, value, name)
            elif others is not None:
                kwargs[name] = checked(others, value, name)
            else:
                mistakes.append(f"{name}: there is no such argument")
        for parameter in required:
            if parameter.name not in given:
                mistakes.append(f"{parameter.name}: missing")
        if mistakes:
            more = f"; and {len(mistakes) - _ISSUES_SHOWN} more" if len(mistakes) > _ISSUES_SHOWN else ""
            raise _WrongArguments("; ".join(mistakes[:_ISSUES_SHOWN]) + more)

    return check


def _schema_of(parameters: list[_Parameter]) -> dict[str, Any] | None:
    """
    JSON Schemas (draft 2020-12) of `args` and `kwargs`, for programs that ask a person. A parameter
    that can be given either way is in `args` alone, with its name as title. None if there is nothing to say.
    """

    def schema_of(parameter: _Parameter) -> dict[str, Any]:
        schema: dict[str, Any] = {"title": parameter.name, **parameter.schema}
        if parameter.default is not _missing:
            try:
                _check_json(parameter.default, "default", 8)
                schema["default"] = parameter.default
            except _NotJson:
                pass
        return schema

    places = [each for each in parameters if each.kind in ("positional", "either")]
    named = [each for each in parameters if each.kind == "keyword"]
    rest = next((each for each in parameters if each.kind == "rest"), None)
    others = next((each for each in parameters if each.kind == "others"), None)
    if not places and not named and not (rest and rest.schema) and not (others and others.schema):
        return None
    args: dict[str, Any] = {"type": "array"}
    if places:
        args["prefixItems"] = [schema_of(each) for each in places]
        args["minItems"] = sum(each.default is _missing for each in places)
    args["items"] = False if rest is None else (rest.schema or True)
    kwargs: dict[str, Any] = {"type": "object", "properties": {each.name: schema_of(each) for each in named}}
    kwargs["required"] = [each.name for each in named if each.default is _missing]
    if others is not None and others.schema:
        kwargs["additionalProperties"] = others.schema
    elif others is None and all(each.kind != "either" for each in places):
        kwargs["additionalProperties"] = False
    schema = {"args": args, "kwargs": kwargs}
    try:
        _check_json(schema, "schema", 8)
    except _NotJson:
        return None
    return schema if len(json.dumps(schema)) <= _SCHEMA_BYTES_MAX else None


# JSON of tasks: what it refuses is named by its path


class _NotJson(Exception):
    """A value that cannot travel; the text says which part of it, and why."""


_FORBIDDEN_KEYS = frozenset(("__proto__", "constructor", "prototype"))


def _check_json(value: Any, path: str, depth: int) -> None:
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return
    if isinstance(value, (int, float)):
        if isinstance(value, float):
            if value - value != 0:
                raise _NotJson(f"{path} is {value}, which JSON cannot express")
        elif not -_SAFE_INTEGER_MAX <= value <= _SAFE_INTEGER_MAX:
            raise _NotJson(f"{path} is a whole number beyond ±(2**53 - 1), which loses digits; send it as a string")
        return
    if isinstance(value, (list, tuple, dict)) and depth >= _JSON_DEPTH_MAX:
        raise _NotJson(f"{path} is nested deeper than {_JSON_DEPTH_MAX}, or in a circle")
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise _NotJson(f"{path} has the key {_shown(key)}, and keys of JSON are str")
            if key in _FORBIDDEN_KEYS:
                raise _NotJson(f"{path}: the key {key} is not allowed")
            if type(item) is not str:
                _check_json(item, f"{path}.{key}", depth + 1)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            item_kind = type(item)
            if item_kind is str or (item_kind is float and item - item == 0):
                continue
            _check_json(item, f"{path}[{index}]", depth + 1)
    elif not isinstance(value, str):
        tolist = getattr(value, "tolist", None)
        if not callable(tolist):
            raise _NotJson(f"{path} is a {kind.__name__}, which JSON cannot express")
        _check_json(tolist(), path, depth)


def _json_of(value: Any, name: str) -> str:
    """The JSON of a value of user code. Raises _NotJson."""
    _check_json(value, name, 1)
    try:
        return _encoder.encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise _NotJson(f"{name} cannot be sent: {error}") from None


def _data_frame(value: Any, name: str) -> bytes:
    """`{data, pack}` of a value of user code. Raises _NotJson."""
    frame = b'{"data":%b,"pack":%.3f}' % (_json_of(value, name).encode(), time.time())
    if len(frame) > _FRAME_BYTES_MAX:
        raise _NotJson(f"{name} makes a frame of {len(frame)} bytes, the limit is {_FRAME_BYTES_MAX}")
    return frame


def _error_frame(code: str, message: str) -> bytes:
    text = message if len(message) <= _ERROR_MESSAGE_LENGTH_MAX else message[: _ERROR_MESSAGE_LENGTH_MAX - 1] + "…"
    return b'{"data":%b,"pack":%.3f}' % (json.dumps({"code": code, "message": text}).encode(), time.time())


# The running job, for the functions that tasks call


class _Surroundings:
    """Where the functions of this module lead in this process. Outside the engine: to stdout."""

    def log(self, line: str) -> None:
        print(line)

    def progress(self, frame: bytes) -> None:
        pass

    def publish(self, topic: str, value: Any, content_type: str | None) -> bool:
        return False

    def pause(self, seconds: float) -> None:
        time.sleep(seconds)


_surroundings = _Surroundings()


def log(line: object) -> None:
    """Writes one line to the engine's output, marked with the worker and the task."""
    _surroundings.log(str(line))


def progress(data: Any) -> None:
    """
    Says how far the running job is: JSON, for its requestor. At most ten reports a second leave, the
    newest ones. It has no effect outside of a job. Raises TypeError for a value that is not JSON.
    """
    try:
        frame = _data_frame(data, "progress")
    except _NotJson as error:
        raise TypeError(str(error)) from None
    _surroundings.progress(frame)


def publish(topic: str, value: Any, content_type: str | None = None) -> bool:
    """
    Gives a value to the subscribers of a topic: JSON, or bytes and arrays of numpy as they are.
    `content_type` says what bytes are, such as `image/jpeg`. Returns False if the value is lost
    already. Raises TypeError for a wrong topic or value.
    """
    try:
        _topic(topic)
    except ValueError as error:
        raise TypeError(f"the topic {_shown(topic)} {error}") from None
    return _surroundings.publish(topic, value, content_type)


def sleep(seconds: float) -> None:
    """As time.sleep. It ends at once, by Aborted, when the job has to end; in other threads, too."""
    _surroundings.pause(seconds)


# Loading


class _Files:
    """What the task files define."""

    def __init__(self) -> None:
        self.tasks: dict[str, _Task] = {}
        self.sources: list[_Source] = []

    def listed(self) -> list[dict[str, Any]]:
        """All tasks as READY and the scan list them, with schemas as long as they fit together."""
        left = _SCHEMAS_BYTES_MAX
        listed: list[dict[str, Any]] = []
        for each in self.tasks.values():
            entry: dict[str, Any] = {"name": each.name}
            if each.schema is not None:
                left -= len(json.dumps(each.schema))
                if left >= 0:
                    entry["schema"] = each.schema
            listed.append({**entry, **each.policy})
        return listed


def _load_files(
    folder: str | None,
    on_broken: Callable[[str], None] | None = None,
    on_skipped: Callable[[str], None] | None = None,
) -> _Files:
    """
    Loads all Python files of the folder. Raises _StartError, whose one line names the file and the
    function at fault; with `on_broken` a broken file is left out instead.
    """
    files = _Files()
    if folder is None:
        return files
    real = _trusted_path(folder)
    if os.path.islink(folder):
        # A user who can replace a link to the folder can replace the folder.
        _trusted_path(os.path.dirname(os.path.abspath(folder)))
    if not os.path.isdir(real):
        raise _StartError(f"{folder} is not a folder; --tasks takes a folder of task files")
    sys.meta_path.insert(0, _TrustFinder())
    # Last, so that a file of a robot does not take the place of a module of Python.
    sys.path.append(real)
    paths = [os.path.join(real, name) for name in sorted(os.listdir(real)) if _is_task_file(name)]
    modules: dict[str, str] = {}
    for path in paths:
        if os.path.exists(path) and not os.path.isfile(path):
            continue
        try:
            module = _load_module(path)
            modules[module.__name__] = path
            if _add_definitions(files, module, path, modules) == 0 and on_skipped is not None:
                on_skipped(path)
        except _StartError as error:
            if on_broken is None:
                raise
            on_broken(str(error))
    if len(files.tasks) > _TASKS_MAX:
        raise _StartError(f"{folder} defines {len(files.tasks)} tasks; the limit is {_TASKS_MAX}")
    if len(files.sources) > _SOURCES_MAX:
        raise _StartError(f"{folder} defines {len(files.sources)} sources; the limit is {_SOURCES_MAX}")
    return files


def _is_task_file(name: str) -> bool:
    """No tests, and no files that editors and systems hide or leave behind."""
    stem, dot, ending = name.rpartition(".")
    is_test = stem.startswith("test_") or stem.endswith(("_test", ".test", ".spec")) or stem == "conftest"
    return ending == "py" and bool(dot) and name[0] not in ".#" and not is_test


def _load_module(path: str) -> Any:
    import importlib.machinery
    import importlib.util

    real = _trusted_path(path)
    stem = os.path.basename(path)[:-3]
    known = sys.modules.get(stem)
    if known is not None and getattr(known, "__file__", None) == path:
        # Another task file has imported it.
        return known
    spec = importlib.machinery.PathFinder.find_spec(stem) if stem.isidentifier() and known is None else None
    # An import by another file finds the same module, unless Python has one of that name.
    name = stem if spec is not None and spec.origin == path else f"{stem} (tasks)"
    spec = importlib.util.spec_from_file_location(name, real)
    assert spec is not None and spec.loader is not None
    _trusted_cache(spec)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with _time_limit(_TASK_LOAD_SECONDS):
            spec.loader.exec_module(module)
    except _Untrusted as error:
        raise _StartError(str(error)) from None
    except SyntaxError as error:
        where = f"{error.filename or path}:{error.lineno}:{error.offset}"
        prefix = "" if error.filename == real else f"{path} cannot be loaded: "
        raise _StartError(f"{prefix}{where} cannot be loaded: {error.msg}") from None
    except BaseException as error:
        line = _line_in(error, real)
        at = path if line is None else f"{path}:{line}"
        raise _StartError(f"{at} cannot be loaded: {_thrown_message(error, True)}") from None
    return module


def _line_in(error: BaseException, path: str) -> int | None:
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == path:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


class _time_limit:
    """Raises TimeoutError in the main thread after so many seconds; nothing in another thread."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.is_main = threading.current_thread() is threading.main_thread()

    def __enter__(self) -> None:
        def late(signum: int, frame: object) -> None:
            raise TimeoutError(f"still loading after {self.seconds * 1000:.0f} ms; is there a loop without end?")

        if self.is_main:
            self.before = signal.signal(signal.SIGALRM, late)
            signal.setitimer(signal.ITIMER_REAL, self.seconds)

    def __exit__(self, *_: object) -> None:
        if self.is_main:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, self.before)


def _add_definitions(files: _Files, module: Any, path: str, modules: dict[str, str]) -> int:
    """Returns the number of tasks and sources in the file."""
    found: list[int] = []
    count = 0
    for name, value in list(vars(module).items()):
        if not callable(value) or isinstance(value, type):
            if name.startswith("task_") and not isinstance(value, type(sys)):
                raise _StartError(f"{path}: {name} is no function; rename it if it is no task")
            continue
        definition = getattr(value, _DEFINITION, None)
        if not isinstance(definition, _Definition):
            definition = _Definition("task", {}) if name.lower().startswith("task_") else None
        home = getattr(value, "__module__", module.__name__)
        # What a file has imported from another task file is defined there.
        if definition is None or id(value) in found or (home != module.__name__ and home in modules):
            continue
        found.append(id(value))
        count += 1
        try:
            if definition.kind == "task":
                _add_task(files, name, value, definition, path)
            else:
                _add_source(files, name, value, definition, path)
        except ValueError as error:
            raise _StartError(f"{path}: {name} {error}") from None
    return count


def _add_task(files: _Files, name: str, value: Any, definition: _Definition, path: str) -> None:
    short = _short_name(name, "task_")
    if short.lower().startswith("task_"):
        raise ValueError("has the prefix task_ twice; remove one")
    other = files.tasks.get(short)
    if other is not None:
        raise ValueError(f"names the task {short}, which {other.file} defines already; rename one")
    files.tasks[short] = _Task(short, path, value, definition.given)


def _add_source(files: _Files, name: str, value: Any, definition: _Definition, path: str) -> None:
    new = _Source(_short_name(name, "source_"), path, value, definition.given)
    for other in files.sources:
        if new.name == other.name or new.topic == other.topic:
            what = f"the name {new.name}" if new.name == other.name else f"the topic {new.topic}"
            whose = other.name if other.file == path else f"{other.name} of {other.file}"
            raise ValueError(f"has {what}, as has {whose}; change one of them")
    files.sources.append(new)


def _short_name(name: str, prefix: str) -> str:
    short = name[len(prefix) :] if name.lower().startswith(prefix) else name
    most = _NAME_LENGTH_MAX - len(prefix)
    if 1 <= len(short) <= most and short.isascii():
        return short
    rule = f"1 to {most} characters of A-Z a-z 0-9 _ after {prefix}"
    raise ValueError(f"cannot be a {prefix[:-1]}'s name; it needs {rule}")


# Trust: code that another user can write is that user's code


class _Untrusted(ImportError):
    """A module that others can write. Its text says what to do."""


_trusted_paths: set[str] = set()


def _trusted_path(path: str, error_class: type[Exception] = _StartError) -> str:
    """
    The real path of a file or folder that only root and the user of the engine can change; the
    folders above it, too, since a user who can write there can put another file in its place. Else
    raises the error, which names the path at fault and what to do.
    """
    real = os.path.realpath(path)
    current = real
    while current not in _trusted_paths:
        try:
            status = os.stat(current)
        except OSError as error:
            why = "there is no such file or folder" if error.errno == errno.ENOENT else error.strerror
            raise error_class(f"{path} cannot be read: {why}") from None
        why, remedy = _distrust(status.st_uid, status.st_mode, current != real)
        if why:
            whose = "" if current == real else f", so that others can replace {real}"
            where = f"{current} is not safe to run tasks from: {why}{whose}"
            raise error_class(f"{where}; {remedy} {_shell_word(current)}")
        parent = os.path.dirname(current)
        if parent == current:
            break
        current = parent
    # As a folder above others it was checked less strictly, if it has the sticky bit.
    current = real
    while current not in _trusted_paths and (current == real or not os.stat(current).st_mode & 0o022):
        _trusted_paths.add(current)
        current = os.path.dirname(current)
    return real


def _distrust(uid: int, mode: int, is_above: bool) -> tuple[str, str]:
    """Why an owner and a mode cannot be trusted, and the remedy; empty if they can."""
    own = os.geteuid()
    if uid not in (0, own):
        return f"it belongs to user {uid}, the engine runs as user {own}", f"chown {own}"
    if not mode & 0o022 or (is_above and mode & 0o1000):
        return "", ""
    return f"others can write it (mode {mode & 0o7777:04o})", "chmod go-w"


def _shell_word(path: str) -> str:
    if all(char.isalnum() and char.isascii() or char in "_@%+=:,./-" for char in path):
        return path
    return "'" + path.replace("'", "'\\''") + "'"


def _trusted_cache(spec: Any) -> None:
    """The file of compiled code that Python takes instead of the source, where there is one."""
    try:
        cached = spec.cached
    except (AttributeError, NotImplementedError):
        return
    if cached and os.path.exists(cached):
        _trusted_path(cached, _Untrusted)


class _TrustFinder:
    """Holds all that is imported from here on to the rules of trust, before it runs."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            if finder is self or find is None:
                continue
            spec = find(name, path, target)
            if spec is not None:
                self._check(spec)
                return spec
        return None

    def _check(self, spec: Any) -> None:
        archive = getattr(spec.loader, "archive", None)
        if isinstance(archive, str):
            _trusted_path(archive, _Untrusted)
        elif spec.has_location and isinstance(spec.origin, str):
            _trusted_path(spec.origin, _Untrusted)
            _trusted_cache(spec)
        for folder in spec.submodule_search_locations or ():
            if os.path.isdir(folder):
                _trusted_path(folder, _Untrusted)


# What user code raises. It can be anything, and looking at it can raise again.


def _thrown_message(error: BaseException, with_type: bool = False) -> str:
    """One line: the message, with those of its causes in parentheses. Never raises."""
    seen: list[BaseException] = []

    def summary(each: BaseException) -> str:
        seen.append(each)
        own = _own_message(each, with_type)
        parts: list[str] = []
        for relation, reason in _reasons_of(each):
            if len(seen) > 8 or reason in seen:
                parts.append("…")
                break
            message = summary(reason)
            if relation == "" or not own.endswith(message):
                parts.append(f"{relation}{message}")
        return f"{own} ({'; '.join(parts)})" if parts else own

    try:
        return summary(error)
    except Exception:
        return "raised something that cannot be shown"


def _own_message(error: BaseException, with_type: bool) -> str:
    kind = type(error).__name__
    if isinstance(error, SystemExit):
        code = error.code
        return f"the task called sys.exit({'' if code is None else _shown(code)})"
    try:
        text = " ".join(str(error)[: _ERROR_MESSAGE_LENGTH_MAX + 1].split("\n")).replace("\r", " ").strip()
    except Exception:
        return f"{kind}, which cannot be shown"
    # The text of a KeyError is the key alone.
    if text and not with_type and not isinstance(error, (KeyError, AssertionError)):
        return text
    return f"{kind}: {text}" if text else kind


def _reasons_of(error: BaseException) -> list[tuple[str, BaseException]]:
    reasons: list[tuple[str, BaseException]] = []
    several = getattr(error, "exceptions", None)
    if isinstance(several, (list, tuple)):
        reasons += [("", each) for each in several if isinstance(each, BaseException)]
    if error.__cause__ is not None:
        reasons.append(("caused by: ", error.__cause__))
    return reasons


def _thrown_lines(error: BaseException) -> list[str]:
    """For the log: the message, then the traceback without this file's part, indented. Never raises."""
    try:
        import traceback

        trace = error.__traceback__
        own = _thrown_lines.__code__.co_filename
        while trace is not None and trace.tb_frame.f_code.co_filename == own:
            trace = trace.tb_next
        text = "".join(traceback.format_exception(type(error), error, trace))[: 16 * 1024]
        lines = text.rstrip().split("\n")[:100]
        return [_thrown_message(error), *(f"    {line}" for line in lines)]
    except Exception:
        return [_thrown_message(error)]


# ── Worker ────────────────────────────────────────────────────────────────────────────────────────

_BEAT_SECONDS = 3.0
_TAKE_OVER_SECONDS = 0.002
_UNANSWERED_BEATS_MAX = 2
_GOODBYE_SECONDS = 0.5
_REJOIN_SECONDS = 0.01
_REJOIN_SECONDS_MAX = 1.0
_ROUTER_ABSENT_SECONDS = 3.0
_MESSAGE_JOBS_MAX = 64
_QUEUE_JOBS_MAX = 2_048
_QUICK_MS = 0.2
_QUICK_RUNS_MIN = 16
_ANSWER_DELAY_SECONDS = 0.001
_AGAIN_SECONDS = 0.001
# Bytes that wait for a router that does not read: the answers of all jobs that a worker can hold.
_UNSENT_BYTES_MAX = 65 * _FRAME_BYTES_MAX
# The same for what may be lost, and for output that nobody reads.
_UNSENT_VALUES_BYTES_MAX = 1024 * 1024
_UNREAD_OUTPUT_BYTES_MAX = 4 * 1024 * 1024
# Seconds for the router to name the data workers, and for a data worker to answer, while a task waits.
_OWNERS_SECONDS = 0.2
_DIAL_SECONDS = 0.2
_LOG_FEED_SECONDS = 0.05
_LOG_FEED_LINES_MAX = 256
_JOB_LOG_BYTES_MAX = 64 * 1024
_CHANNEL_LINE_LENGTH_MAX = 4 * 1024 * 1024
_FAILURES_PER_SECOND_MAX = 5
_SOURCE_ERRORS_MAX = 8
_SOURCE_DELAYS_MAX = 4_096
_SOURCE_STUCK_SECONDS = 6.0
_ON_STOP_TRIES_MAX = 3
_RETRY_SECONDS = 0.1
_RECYCLE_LOOK_MS = 2.0
_CHANNEL_DESCRIPTOR = 3
_RECORD_DESCRIPTOR = 4
_SUPERVISOR_VARIABLE = "TASK_ENGINE_SUPERVISOR_PID"
_STRAY_ERROR_EXIT_CODE = 70

if TYPE_CHECKING:
    _Why = Tuple[str, str]


class _Shield:
    """
    `with _shield:` in the main thread puts an abort off to its end: an exception must not come in
    the middle of a message, or with a lock held.
    """

    def __init__(self) -> None:
        self.depth = 0
        # Raises the abort that was put off; set while a job can be aborted.
        self.late: Callable[[], None] | None = None
        self.main = threading.main_thread().ident

    def __enter__(self) -> None:
        if threading.get_ident() == self.main:
            self.depth += 1

    def __exit__(self, *_: object) -> None:
        if threading.get_ident() == self.main:
            self.depth -= 1
            if self.depth == 0 and self.late is not None:
                late, self.late = self.late, None
                late()


_shield = _Shield()


# Output


def _escape_table() -> dict[int, str]:
    codes = [*range(32), *range(127, 160), *range(0x2028, 0x202F), *range(0x2066, 0x206A), *range(0xD800, 0xE000)]
    return {code: f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" for code in codes}


class _Output:
    """
    stdout or stderr, line by line. It never waits for a reader: what nobody reads waits in memory,
    within a bound, and then it is lost and counted.
    """

    def __init__(self, descriptor: int) -> None:
        self._lock = threading.Lock()
        self._waiting = bytearray()
        self._lost = 0
        self.descriptor = self._open(descriptor)

    @staticmethod
    def _open(descriptor: int) -> int:
        """A pipe or terminal once more, as non-blocking: changing the shared one would break other programs."""
        try:
            os.lseek(descriptor, 0, os.SEEK_CUR)
            return descriptor  # A file, which never blocks.
        except OSError:
            pass
        try:
            return os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError:
            return descriptor

    @property
    def waits(self) -> bool:
        return bool(self._waiting)

    def line(self, text: str) -> None:
        with _shield, self._lock:
            if len(self._waiting) > _UNREAD_OUTPUT_BYTES_MAX:
                self._lost += 1
                return
            if self._lost:
                self._waiting += b"(%d lines are lost here: nobody has read)\n" % self._lost
                self._lost = 0
            self._waiting += text.encode() + b"\n"
            self._write()

    def flush(self) -> None:
        with _shield, self._lock:
            self._write()

    def _write(self) -> None:
        while self._waiting:
            try:
                count = os.write(self.descriptor, self._waiting)
            except BlockingIOError:
                return
            except OSError:
                # A closed terminal or a full disk: a robot's work is worth more than its log.
                self._waiting.clear()
                return
            del self._waiting[:count]


class _Log:
    """The lines of this process: `say` writes to stdout, `warn` and `error` to stderr."""

    def __init__(self) -> None:
        self._escapes = _escape_table()
        self.outputs = {"info": _Output(1), "warn": _Output(2)}
        # Lines for `$engine/log` while somebody follows it, and the number of those that were lost.
        self.feed: list[dict[str, Any]] | None = None
        self.feed_lost = 0
        self.feed_at: float | None = None
        self.wake: Callable[[], None] = lambda: None

    def say(self, line: str, job: int | None = None) -> None:
        self._write("info", line, job)

    def warn(self, line: str) -> None:
        self._write("warn", line, None)

    def error(self, line: str, job: int | None = None) -> None:
        self._write("error", line, job)

    def watch(self, is_watched: bool) -> None:
        self.feed, self.feed_lost, self.feed_at = ([] if is_watched else None), 0, None

    def take_feed(self) -> tuple[list[dict[str, Any]], int]:
        lines, self.feed = self.feed or [], []
        lost, self.feed_lost, self.feed_at = self.feed_lost, 0, None
        return lines, lost

    def _write(self, level: str, line: str, job: int | None) -> None:
        text = line.translate(self._escapes)
        output = self.outputs["info" if level == "info" else "warn"]
        output.line(text)
        feed = self.feed
        if feed is not None:
            if len(feed) >= _LOG_FEED_LINES_MAX:
                self.feed_lost += 1
            else:
                feed.append({"at": time.time(), "level": level, "text": text[:1000], "job": job})
            if self.feed_at is None:
                self.feed_at = time.monotonic() + _LOG_FEED_SECONDS
                self.wake()
        if output.waits:
            self.wake()


class _Printed(io.TextIOBase):
    """`sys.stdout` of a worker: whole lines of it go to the log."""

    encoding = "utf-8"

    def __init__(self, write_line: Callable[[str], None], descriptor: int, buffer: Any) -> None:
        self._write_line = write_line
        self._descriptor = descriptor
        self._begun = ""
        self.buffer = buffer

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def write(self, text: str) -> int:
        lines = (self._begun + text).split("\n")
        self._begun = lines.pop()
        for line in lines:
            self._write_line(line)
        if len(self._begun) > 8_192:
            self.end_line()
        return len(text)

    def end_line(self) -> None:
        """What was printed without a line end, at the end of a job."""
        if self._begun:
            line, self._begun = self._begun, ""
            self._write_line(line)


def _print_to(write_line: Callable[[str], None]) -> _Printed:
    """From now on what is printed goes there, line by line."""
    printed = _Printed(write_line, 1, getattr(sys.stdout, "buffer", None))
    stdout: Any = printed
    sys.stdout = stdout
    return printed


class _FailureLog:
    """Logs failures, and never so often that the log becomes the robot's main work."""

    def __init__(self, log: _Log) -> None:
        self._log = log
        self._second = float("-inf")
        self._shown = self._hidden = 0

    def add(self, lines: Callable[[], list[str]], job: int | None = None) -> None:
        now = time.monotonic()
        if now - self._second >= 1:
            if self._hidden > 0:
                self._log.error(f"… and {self._hidden} more failures, not shown")
            self._second, self._shown, self._hidden = now, 0, 0
        if self._shown >= _FAILURES_PER_SECOND_MAX:
            self._hidden += 1
            return
        self._shown += 1
        for line in lines():
            self._log.error(line, job)


# The supervisor


class _Channel:
    """Lines of JSON from and to the supervisor. Any thread may send, one thread receives."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        os.set_inheritable(descriptor, False)
        self._lock = threading.Lock()
        self._begun = b""

    def send(self, message: dict[str, Any]) -> None:
        data = json.dumps(message).encode() + b"\n"
        with _shield, self._lock:
            try:
                while data:
                    data = data[os.write(self.descriptor, data) :]
            except OSError:
                pass  # It is gone, which the reading thread finds out.

    def receive(self) -> list[dict[str, Any]] | None:
        """The messages that have come, after a poll; None if the supervisor is gone."""
        try:
            data = os.read(self.descriptor, 65_536)
        except OSError:
            return None
        if not data:
            return None
        lines = (self._begun + data).split(b"\n")
        self._begun = lines.pop()
        if len(self._begun) > _CHANNEL_LINE_LENGTH_MAX:
            return None
        messages: list[dict[str, Any]] = []
        for line in lines:
            try:
                message = json.loads(line)
            except ValueError:
                continue  # A task has written into it.
            if isinstance(message, dict):
                messages.append(message)
        return messages


def _under_supervisor() -> _Channel | None:
    """
    Makes the kernel kill this process when its supervisor dies, even in an endless loop. None for a
    process that a person has started. To be called first of all.
    """
    supervisor = os.environ.pop(_SUPERVISOR_VARIABLE, None)
    if supervisor is None:
        return None
    import ctypes

    ctypes.CDLL(None).prctl(1, int(signal.SIGKILL), 0, 0, 0)  # PR_SET_PDEATHSIG
    if str(os.getppid()) != supervisor:
        # It died before the prctl.
        os._exit(1)
    # killall and systemd signal all processes of the engine; the supervisor is one of them, and decides.
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # A function, since programs that tasks start would inherit SIG_IGN.
        signal.signal(each, lambda *_: None)
    # The record, and this file.
    for descriptor in range(_RECORD_DESCRIPTOR, _RECORD_DESCRIPTOR + 2):
        try:
            os.set_inheritable(descriptor, False)
        except OSError:
            pass
    return _Channel(_CHANNEL_DESCRIPTOR)


class _Record:
    """
    The record of the begun job, in memory that outlives this process: which job of the router has
    begun last, and which task. src/process/begun.ts has its form.
    """

    def __init__(self, tasks: Iterable[str]) -> None:
        import mmap

        memory = mmap.mmap(_RECORD_DESCRIPTOR, 0)
        names = list(tasks)
        text = json.dumps(names).encode()
        memory[64 : 64 + len(text)] = text
        self._job = memoryview(memory)[:8].cast("d")
        self._marks = memoryview(memory)[8:24].cast("I")
        self._marks[3] = len(text)
        self._places = {name: index + 1 for index, name in enumerate(names)}

    def begins(self, task: str, job: int) -> None:
        # One store each: a process that dies in between leaves a whole number behind.
        self._marks[0] = self._places.get(task, 0)
        self._marks[1] = 1
        self._job[0] = float(job)  # type: ignore[call-overload]

    def ended(self) -> None:
        self._marks[1] = 0


# The router


class _Unread(Exception):
    """The router does not read, and a message is lost."""


class _BackendSocket(ZmtpSocket):
    """A socket that never waits for its peer: what that does not read waits in memory."""

    def __init__(self, connected: socket.socket, message_bytes_max: int) -> None:
        super().__init__(connected, message_bytes_max)
        self._behind = bytearray()
        self.wake: Callable[[], None] = lambda: None

    @property
    def unsent_bytes(self) -> int:
        return len(self._behind)

    def send_raw(self, data: bytes) -> None:
        with _shield, self._sending:
            if not self._behind:
                try:
                    sent = self._socket.send(data, socket.MSG_DONTWAIT)
                except BlockingIOError:
                    sent = 0
                except OSError:
                    return  # The reading thread finds out.
                if sent == len(data):
                    return
                data = data[sent:]
            if len(self._behind) + len(data) > _UNSENT_BYTES_MAX:
                raise _Unread
            self._behind += data
        self.wake()

    def send_now(self, frames: list[bytes]) -> bool:
        """Sends one message; False if earlier ones still wait for the peer to read."""
        if self._behind:
            return False
        self.send_raw(encode_message(frames))
        return True

    def send_rest(self) -> None:
        """After a poll for room."""
        with _shield, self._sending:
            try:
                del self._behind[: self._socket.send(self._behind[:262_144], socket.MSG_DONTWAIT)]
            except OSError:
                pass


def _unsent_bytes(connection: _BackendSocket | CurveSocket) -> int:
    return connection.unsent_bytes if isinstance(connection, _BackendSocket) else 0


class _Lateness:
    """
    Tells by how many ms a message is late, compared with the quickest one so far. It needs no common
    clock, and shows how long a message lay unread.
    """

    _DRIFT_MAX = 1e-4

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """The sender's clock is another one from now on."""
        self._least = float("inf")
        self._heard = 0.0

    def of(self, sent_ms: float, now_ms: float) -> float:
        took = now_ms - sent_ms
        self._least = min(self._least + (now_ms - self._heard) * self._DRIFT_MAX, took)
        self._heard = now_ms
        return took - self._least


class _RouterLink:
    """
    The connection to the router. One thread at a time turns it: reads it and the supervisor's
    channel, beats, and sends what could not be sent at once. Between two jobs that is the main
    thread, so that no job waits until another thread has handed it over; while a job runs that is
    the thread of the link, once the job has run for `_TAKE_OVER_SECONDS`.
    """

    def __init__(
        self,
        endpoint: str,
        ready: dict[str, Any],
        log: _Log,
        tag: str,
        channel: _Channel | None,
        keys: Keys | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.keys = keys
        self._ready = [json.dumps(ready).encode()]
        self._log = log
        self._tag = tag
        self._channel = channel
        self._socket: _BackendSocket | CurveSocket | None = None
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        log.wake = self.wake
        self._lateness = _Lateness()
        self._refusal: str | None = None
        self._has_warned = False
        self.has_joined = False
        self._unread_warned = False
        self._unanswered = 0
        # One of the engine's own workers.
        self.is_own = endpoint.startswith("ipc://")
        # A worker elsewhere finds by silence that its machine or the network is gone.
        self._watches_silence = not self.is_own
        self._retry_seconds = _REJOIN_SECONDS
        self._retry_at: float | None = 0.0
        self._beat_at = 0.0
        self._timers: list[tuple[float, Callable[[], None]]] = []
        self._requests: list[Callable[[], None]] = []
        # Held by the thread that turns.
        self._turning = threading.Lock()
        # The thread of the link sleeps until it is released: the main thread turns.
        self._follower = threading.Lock()
        self._follower.acquire()
        self._is_follower_asleep = False
        # How often the main thread has begun to turn.
        self._leads = self._seen_leads = 0
        self._has_handed_over = False
        self._is_main_done = False
        self.gone: queue.SimpleQueue[None] = queue.SimpleQueue()
        # Set before `start`.
        self.on_welcome: Callable[[], None] = lambda: None
        self.on_lost: Callable[[], None] = lambda: None
        self.on_message: Callable[[dict[str, Any], list[bytes], float], None] = lambda header, bodies, late_ms: None
        self.on_order: Callable[[dict[str, Any]], None] = lambda message: None
        self.is_sound: Callable[[], bool] = lambda: True
        self.on_beat: Callable[[], None] = lambda: None
        self.on_owners: Callable[[list[dict[str, Any]]], None] = lambda workers: None

    def start(self, main_leads: bool = False) -> None:
        """@param main_leads: the main thread calls `lead` between two jobs, and at last `main_is_done`"""
        # A process that a task forks must say nothing here, and stop nothing.
        os.register_at_fork(after_in_child=self._forget)
        self._is_main_done = not main_leads
        threading.Thread(target=self._run, name="task-engine", daemon=True).start()

    def _forget(self) -> None:
        self._socket, self._channel, self._retry_at = None, None, None
        self._log.watch(False)

    # From any thread

    def wake(self) -> None:
        try:
            os.write(self._wake_write, b"\0")
        except OSError:
            pass  # It is full, so the thread wakes up.

    def request(self, work: Callable[[], None]) -> None:
        """Has it done by the link's thread. For signal handlers, too."""
        self._requests.append(work)
        self.wake()

    def after(self, seconds: float, work: Callable[[], None]) -> None:
        at = time.monotonic() + seconds
        self.request(lambda: self._timers.append((at, work)))

    @property
    def is_connected(self) -> bool:
        return self._socket is not None

    @property
    def can_take_values(self) -> bool:
        connection = self._socket
        return connection is not None and _unsent_bytes(connection) < _UNSENT_VALUES_BYTES_MAX

    def send(self, header: bytes, bodies: list[bytes]) -> bool:
        """Returns False if the message is lost: there is no connection, or the router does not read."""
        connection = self._socket
        if connection is None:
            return False
        try:
            with _shield:
                connection.send([header, *bodies])
            return True
        except Lost:
            return False  # The reading thread finds out.
        except _Unread:
            if not self._unread_warned:
                self._unread_warned = True
                self._log.warn(f"{self._tag} Lost a message: the router does not read; further ones are not logged")
            return False

    def tell(self, **message: Any) -> None:
        """To the supervisor, if there is one."""
        if self._channel is not None:
            self._channel.send(message)

    def say(self, kind: str, **more: Any) -> None:
        self.send(json.dumps({"type": kind, **more}).encode(), [])

    # The main thread

    def lead(self, has_work: Callable[[], object]) -> bool:
        """Turns until there is work. False if the thread of the link turns, and hands work over."""
        if not self._turning.acquire(False):
            if not self._has_handed_over:
                return False
            self._turning.acquire()
        self._leads += 1
        try:
            while not has_work():
                self._turn()
        except BaseException as error:
            self._fail(error)
        finally:
            self._turning.release()
        if self._is_follower_asleep:
            self._wake_follower()
        return True

    def main_is_done(self) -> None:
        """From now on the thread of the link turns."""
        self._is_main_done = True
        self._wake_follower()

    def _wake_follower(self) -> None:
        self._is_follower_asleep = False
        _release(self._follower)

    # The thread

    def _run(self) -> None:
        try:
            while True:
                if not self._is_main_done:
                    self._follow()
                    continue
                with self._turning:
                    while True:
                        self._turn()
        except BaseException as error:
            self._fail(error)

    def _follow(self) -> None:
        """Turns once the main thread has run one job for a while, until it has handed over another."""
        self._is_follower_asleep = True
        # While job follows job, looking now and then costs less than being woken for each.
        is_quiet = self._leads == self._seen_leads
        # The main thread looks at both the other way round, so one of the two sees the other.
        if is_quiet and self._turning.locked() and not self._is_main_done:
            self._follower.acquire()
        self._is_follower_asleep = False
        leads = self._seen_leads = self._leads
        time.sleep(_TAKE_OVER_SECONDS)
        if self._leads != leads or not self._turning.acquire(False):
            return
        try:
            self._has_handed_over = False
            while not self._has_handed_over and not self._is_main_done:
                self._turn()
        finally:
            self._turning.release()

    def hand_over(self) -> None:
        """The main thread has got work, and turns by itself once that is done."""
        self._has_handed_over = True

    def _fail(self, error: BaseException) -> NoReturn:
        for line in _thrown_lines(error):
            self._log.error(f"{self._tag} The thread of the connection has failed: {line}")
        os._exit(_STRAY_ERROR_EXIT_CODE)

    def _turn(self) -> None:
        now = time.monotonic()
        times = [self._beat_at, *(at for at, _ in self._timers)]
        if self._socket is None and self._retry_at is not None:
            times.append(self._retry_at)
        if self._log.feed_at is not None:
            times.append(self._log.feed_at)
        poller = select.poll()
        poller.register(self._wake_read, select.POLLIN)
        if self._channel is not None:
            poller.register(self._channel.descriptor, select.POLLIN)
        connection = self._socket
        if isinstance(connection, CurveSocket):
            for descriptor in connection.descriptors():
                poller.register(descriptor, select.POLLIN)
            if connection.pending:
                times.append(now)
        elif connection is not None:
            writes = select.POLLOUT if connection.unsent_bytes > 0 else 0
            poller.register(connection.fileno(), select.POLLIN | writes)
        for output in self._log.outputs.values():
            if output.waits:
                poller.register(output.descriptor, select.POLLOUT)
        wait_ms = max(0.0, (min(times) - now) * 1000)
        ready = dict(poller.poll(wait_ms + 0.5 if wait_ms > 0 else 0))
        if self._channel is not None and self._channel.descriptor in ready:
            self._read_channel(self._channel)
        if self._wake_read in ready:
            try:
                os.read(self._wake_read, 4096)
            except BlockingIOError:
                pass
        for output in self._log.outputs.values():
            if output.waits:
                output.flush()
        if connection is not None and connection is self._socket:
            if isinstance(connection, CurveSocket):
                self._read_router(connection)
            else:
                events = ready.get(connection.fileno(), 0)
                if events & select.POLLOUT:
                    connection.send_rest()
                if events & ~select.POLLOUT:
                    self._read_router(connection)
        self._look_at_clock()

    def _look_at_clock(self) -> None:
        while self._requests:
            self._requests.pop(0)()
        now = time.monotonic()
        due = [timer for timer in self._timers if timer[0] <= now]
        for timer in due:
            self._timers.remove(timer)
            timer[1]()
        if self._log.feed_at is not None and self._log.feed_at <= now:
            lines, lost = self._log.take_feed()
            self.tell(type="log", lines=lines, lost=lost)
        if self._socket is None and self._retry_at is not None and self._retry_at <= now:
            self._connect()
        if self._beat_at <= now:
            # After a pause of the whole process the answers may lie unread: see `_read_router`.
            self._beat(now)

    def _beat(self, now: float) -> None:
        self._beat_at = now + _BEAT_SECONDS
        if self._socket is not None:
            if self._watches_silence and self._unanswered >= _UNANSWERED_BEATS_MAX:
                self._lose(f"the router has answered none of {_UNANSWERED_BEATS_MAX} beats")
                return
            self._unanswered += 1
            self.send(b'{"type":"BEAT"}', [])
        self.on_beat()

    def _connect(self) -> None:
        connection: Any
        try:
            if self.keys is None:
                connection = _BackendSocket.connect(self.endpoint, timeout=1.0)
                connection.wake = self.wake
            else:
                connection = CurveSocket(self.endpoint, self.keys, 2.0, _MESSAGE_BYTES_MAX)
        except (OSError, BadArgs) as error:
            if isinstance(error, NotZmtp) and str(error) != self._refusal:
                self._refusal = str(error)
                self._log.warn(f"{self._tag} {self.endpoint}: {error}; retrying")
            self._retry_at = time.monotonic() + self._retry_seconds
            self._retry_seconds = min(2 * self._retry_seconds, _REJOIN_SECONDS_MAX)
            return
        self._retry_seconds = _REJOIN_SECONDS
        self._unanswered = 0
        self._unread_warned = False
        self._socket = connection
        self.send(self._ready[0], [])

    def _lose(self, why: str) -> None:
        connection, self._socket = self._socket, None
        if connection is not None:
            connection.close()
        self._retry_at = time.monotonic()
        if self._watches_silence:
            self._log.warn(f"{self._tag} Lost the router: {why}")
        self.on_lost()

    def close(self) -> None:
        """Waits a little for the router to read the rest, then ends the connection for good."""
        deadline = time.monotonic() + _GOODBYE_SECONDS
        while self._socket is not None and _unsent_bytes(self._socket) > 0 and time.monotonic() < deadline:
            time.sleep(0.005)
        self._retry_at = None

    def _read_router(self, connection: _BackendSocket | CurveSocket) -> None:
        try:
            messages = connection.recv_all(0)
        except Lost as error:
            if self._socket is connection and self._retry_at is not None:
                self._lose(str(error))
            return
        if not messages:
            return
        self._unanswered = 0
        for header_frame, *bodies in messages:
            try:
                header = loads(header_frame)
                if not isinstance(header, dict):
                    raise ValueError("the header is no object")
                self._handle(header, bodies)
            except (ValueError, KeyError, TypeError, IndexError) as error:
                self._warn_of_garbage(error)

    def _warn_of_garbage(self, error: Exception) -> None:
        if not self._has_warned:
            self._has_warned = True
            why = f"{type(error).__name__}: {error}"
            self._log.warn(f"{self._tag} Dropped a message of the router: {why}; further ones are not logged")

    def _handle(self, header: dict[str, Any], bodies: list[bytes]) -> None:
        kind = header["type"]
        if kind == "WELCOME":
            self._lateness.reset()
        late_ms = self._lateness.of(header["at"], time.monotonic() * 1000) if "at" in header else 0.0
        if kind == "WELCOME":
            self._refusal = None
            if not self.has_joined:
                self.has_joined = True
                self._log.say(f"{self._tag} Joined {self.endpoint}")
            self.on_welcome()
        elif kind == "WHO":
            self.send(self._ready[0], [])
        elif kind == "REFUSED":
            self.on_lost()
            message = str(header["message"])
            if message != self._refusal:
                self._refusal = message
                self._log.warn(f"{self._tag} Not admitted by the router: {message}; retrying")
        elif kind == "GOODBYE":
            self.gone.put(None)
        elif kind == "OWNERS":
            self.on_owners(header["workers"])
        elif kind != "BEAT":
            self.on_message(header, bodies, late_ms)

    def _read_channel(self, channel: _Channel) -> None:
        messages = channel.receive()
        if messages is None:
            # Without a supervisor nobody would end what runs here.
            os._exit(1)
        for message in messages:
            kind = message.get("type")
            if kind == "ping":
                if self.is_sound():
                    self.tell(type="pong")
            elif kind == "watchLog":
                self._log.watch(message.get("isWatched") is True)
            else:
                self.on_order(message)


# Jobs


class _Job:
    """A job of the router, or (`safe`) an on_stop for a job that has ended elsewhere."""

    __slots__ = ("id", "body", "serial", "expires", "why", "held", "name", "safe", "halts", "log_bytes")

    def __init__(self, id: int, body: bytes, serial: str, expires: float | None, held: dict[int, _Job]) -> None:
        self.id = id
        self.body = body
        self.serial = serial
        self.expires = expires
        self.held = held
        # Why it has to end, by the engine.
        self.why: _Why | None = None
        self.name = ""
        # Of an on_stop alone: how its job has ended.
        self.safe: _Why | None = None
        self.halts: list[int] = []
        # Of its log so far.
        self.log_bytes = 0


class _Binary:
    __slots__ = ("data", "content_type")

    def __init__(self, data: bytes, content_type: dict[str, Any]) -> None:
        self.data = data
        self.content_type = content_type


def _encoded_result(value: Any) -> bytes | _Binary:
    """A DATA frame, or the bytes of a binary result. Raises _NotJson."""
    try:
        binary = binary_of(value)
    except BadArgs as error:
        raise _NotJson(f"result: {error.message}") from None
    if binary is None:
        return _data_frame(value, "result")
    data, content_type = binary
    if len(data) > _FRAME_BYTES_MAX:
        raise _NotJson(f"result has {len(data)} bytes, the limit is {_FRAME_BYTES_MAX}")
    return _Binary(bytes(data), content_type)


def _task_name(name: str) -> str:
    return name[5:] if name[:5] in ("task_", "TASK_") else name


class _Answers:
    """Answers of one type that leave in one message."""

    def __init__(self, link: _RouterLink) -> None:
        self._link = link
        self._kind = b""
        self._jobs: list[int] = []
        self._ms: list[float] = []
        self._unsafe: list[int] = []
        self._types: dict[int, dict[str, Any]] = {}
        self._bodies: list[bytes] = []
        self._since = 0.0

    def add(self, kind: bytes, job: int, ms: float, body: bytes | _Binary, is_unsafe: bool) -> None:
        if kind != self._kind and self._jobs:
            self.flush()
        now = time.monotonic()
        if not self._jobs:
            self._kind, self._since = kind, now
        if is_unsafe:
            self._unsafe.append(job)
        if isinstance(body, _Binary):
            self._types[len(self._jobs)] = body.content_type
            body = body.data
        self._jobs.append(job)
        self._ms.append(ms)
        self._bodies.append(body)
        if len(self._jobs) >= _MESSAGE_JOBS_MAX or now - self._since >= _ANSWER_DELAY_SECONDS:
            self.flush()

    def flush(self) -> None:
        if not self._jobs:
            return
        more = ""
        if self._unsafe:
            more += f',"unsafe":{self._unsafe}'
        if self._types:
            types = [self._types.get(index) for index in range(len(self._jobs))]
            more += f',"contentTypes":{json.dumps(types)}'
        ms = ",".join(f"{each:.3f}" for each in self._ms)
        header = f'{{"type":"{self._kind.decode()}","jobs":{self._jobs},"ms":[{ms}]{more}}}'
        bodies = self._bodies
        self._jobs, self._ms, self._unsafe, self._types, self._bodies = [], [], [], {}, []
        self._link.send(header.encode(), bodies)


class _Executor(_Surroundings):
    """
    Runs jobs in the main thread, one at a time, in the order in which they came; an on_stop alone
    goes before all waiting jobs. Other methods than `run` are for the thread of the link.
    """

    def __init__(self, tasks: dict[str, _Task], link: _RouterLink, log: _Log, tag: str, record: _Record | None) -> None:
        self._tasks = tasks
        self._link = link
        self._log = log
        self._tag = tag
        self._record = record
        self._failures = _FailureLog(log)
        self._answers = _Answers(link)
        self._safes: collections.deque[_Job] = collections.deque()
        self._waiting: collections.deque[_Job] = collections.deque()
        self._held: dict[int, _Job] = {}
        self._tokens: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._is_idle = False
        self._is_leaving = False
        # The job that can be aborted; None while none runs, and during an on_stop.
        self._running: _Job | None = None
        self._can_abort = False
        # The task whose code runs, and the router's number of its job.
        self._current: tuple[str, int | None] | None = None
        self._progress_at = float("-inf")
        self._progress_waits: bytes | None = None
        self._quick: dict[str, int] = {}
        self.stopped: dict[str, Any] | None = None
        self.job_ended: Callable[[float], None] = lambda ms: None
        self.verbose = False
        self.values = _Values(link, log, tag)
        self._pid = os.getpid()
        self._main = threading.get_ident()
        self._signal = signal.SIGRTMAX - 3
        signal.signal(self._signal, self._on_signal)
        # The abort of the running job, once it has been raised.
        self._raised: Aborted | None = None
        self._report_ignored = sys.unraisablehook
        sys.unraisablehook = self._on_ignored
        # What is printed in this process.
        self.printed: _Printed | None = None

    # For the link's thread

    def take(self, header: dict[str, Any], bodies: list[bytes], late_ms: float) -> None:
        """Handles a message of the router."""
        kind = header["type"]
        if kind == "JOBS":
            came = time.monotonic() - late_ms / 1000
            ttls = header.get("ttlMs")
            for index, id in enumerate(header["jobs"]):
                ttl = None if ttls is None else ttls[index]
                expires = None if ttl is None else came + ttl / 1000
                self._submit(_Job(id, bodies[index], header["serials"][index], expires, self._held), self._waiting)
        elif kind == "ABORT":
            job = self._held.get(header["job"])
            if job is not None:
                self._stop(job, (header["code"], header["message"]))
        elif kind == "SAFE":
            job = _Job(header["job"], b"", "", None, self._held)
            job.name, job.safe = _task_name(header["task"]), (header["code"], header["message"])
            self._submit(job, self._safes)
        elif "jobs" in header:
            for id in header["jobs"]:
                self._fail(id, "UNAVAILABLE", "a task worker keeps no data")

    def _submit(self, job: _Job, line: collections.deque[_Job]) -> None:
        if self._is_leaving:
            self._link.say("RETURN", jobs=[job.id])
            return
        if self.stopped is not None and job.safe is None and not self._is_allowed(job):
            # Given back, not refused: the router may know of a reset that has not come here yet.
            self._link.say("RETURN", jobs=[job.id])
            return
        if len(self._waiting) >= _QUEUE_JOBS_MAX:
            self._fail(job.id, "QUEUE_FULL", "the worker's queue is full")
            return
        self._held[job.id] = job
        line.append(job)
        self._wake()

    def _wake(self) -> None:
        if self._is_idle:
            self._is_idle = False
            self._link.hand_over()
            self._tokens.put(None)

    def _is_allowed(self, job: _Job) -> bool:
        try:
            task = self._tasks.get(_task_name(loads(job.body)["task"]))
        except (ValueError, KeyError, TypeError):
            return False
        return task is not None and task.allowed_when_stopped

    def _stop(self, job: _Job, why: _Why) -> bool:
        """Ends a job early: a waiting one at once, a running one by a signal. Returns True if it runs."""
        try:
            self._waiting.remove(job)
        except ValueError:
            if job.why is None:
                job.why = why
            if self._running is not job:
                return False
            signal.pthread_kill(self._main, self._signal)
            return True
        if self._release(job):
            self._fail(job.id, *why)
        return False

    def drop(self) -> None:
        """The router has given up all jobs here: the running one is aborted, and none is answered."""
        held = list(self._held.values())
        self._held = {}
        for job in held:
            job.held = {}
            if job.safe is None:
                self._stop(job, ("INTERRUPTED", "the connection to the router is lost"))

    def halt(self, number: int | None, why: _Why, spares: bool) -> None:
        """Ends all jobs of tasks, and tells the supervisor once none runs any more."""
        running = self._running
        for job in list(self._waiting):
            if not (spares and self._is_allowed(job)):
                self._stop(job, why)
        if running is not None and not (spares and self._is_allowed(running)):
            if number is not None:
                running.halts.append(number)
            self._stop(running, why)
            if self._running is not running:
                self._tell_still(running)
        elif number is not None:
            self._link.tell(type="still", halt=number)

    def _tell_still(self, job: _Job) -> None:
        # Both threads may be here; each number is told once.
        while job.halts:
            try:
                self._link.tell(type="still", halt=job.halts.pop())
            except IndexError:
                return

    def leave(self) -> None:
        """Takes no further job; `run` returns once the running one has ended."""
        if self._is_leaving:
            return
        self._is_leaving = True
        self._link.say("LEAVE")
        for line in (self._safes, self._waiting):
            while line:
                job = line.popleft()
                if self._release(job):
                    self._link.say("RETURN", jobs=[job.id])
        self._wake()

    def _fail(self, id: int, code: str, message: str) -> None:
        self._link.send(b'{"type":"FAIL","jobs":[%d],"ms":[0]}' % id, [_error_frame(code, message)])

    def _release(self, job: _Job) -> bool:
        """True if the router waits for it; it does not any more."""
        return job.held is self._held and job.held.pop(job.id, None) is not None

    # For the main thread

    def run(self) -> None:
        """Runs jobs until `leave`."""
        while True:
            job = self._next()
            if job is None:
                self._answers.flush()
                self._link.main_is_done()
                return
            self._start(job)

    def _next(self) -> _Job | None:
        while True:
            try:
                return self._safes.popleft() if self._safes else self._waiting.popleft()
            except IndexError:
                pass
            self._answers.flush()
            if self._link.lead(self._has_work):
                if self._is_leaving and not self._safes and not self._waiting:
                    return None
                continue
            self._is_idle = True
            if self._safes or self._waiting:
                self._is_idle = False
                continue
            if self._is_leaving:
                return None
            self._tokens.get()
            self._is_idle = False

    def _has_work(self) -> bool:
        return bool(self._safes or self._waiting or self._is_leaving)

    def _start(self, job: _Job) -> None:
        began = time.monotonic()
        if job.safe is not None:
            self._run_safe(job, began)
            return
        try:
            frame = loads(job.body)
            name, args, kwargs = _task_name(frame["task"]), frame["args"], frame["kwargs"]
            if not isinstance(args, list) or not isinstance(kwargs, dict):
                raise ValueError("args must be a list, and kwargs an object")
        except (ValueError, KeyError, TypeError) as error:
            self._refuse(job, "BAD_FRAME", f"TASK: {error}")
            return
        job.name = name
        if self.verbose:
            self._log.say(f"{self._tag} Received task: {job.body.decode('utf-8', 'replace')}")
        task = self._tasks.get(name)
        if task is None:
            self._refuse(job, "UNKNOWN_TASK", f"this worker has no task {_shown(name)}")
        elif job.expires is not None and began > job.expires:
            self._refuse(job, "EXPIRED", "it was not started within its ttlMs")
        elif self.stopped is not None and not task.allowed_when_stopped:
            self._refuse(job, "STOPPED", _stopped_message(self.stopped))
        else:
            self._run_task(task, job, args, kwargs, began)

    def _refuse(self, job: _Job, code: str, message: str) -> None:
        self._answer(job, b"FAIL", 0, _error_frame(code, message), False)

    def _run_task(self, task: _Task, job: _Job, args: list[Any], kwargs: dict[str, Any], began: float) -> None:
        if self._record is not None:
            self._record.begins(task.name, job.id)
        self._current = (task.name, job.id)
        thrown: BaseException | None = None
        body: bytes | _Binary = b""
        has_entered = False
        # Twice: the abort may come right where an exception of the task has ended the inner one.
        try:
            try:
                self._running = job
                self._can_abort = True
                if job.why is not None:
                    self._can_abort = False
                    raise Aborted(*job.why)
                if task.check is not None:
                    task.check(args, kwargs)
                has_entered = True
                result = task.run(*args, **kwargs)
                if hasattr(result, "__await__"):
                    result = _finished(result)
                body = _encoded_result(result)
                self._can_abort = False
            except BaseException as error:
                self._can_abort = False
                thrown = error
        except Aborted as error:
            thrown = error
        self._can_abort = False
        self._running = None
        self._raised = None
        if os.getpid() != self._pid:
            # A copy of this process that the task has forked, and that has not ended itself.
            os._exit(_STRAY_ERROR_EXIT_CODE)
        ms = (time.monotonic() - began) * 1000
        # A signal that came too late must reach no other code.
        _shield.late = None
        self._progress_waits = None
        self._progress_at = float("-inf")
        if job.halts:
            self._tell_still(job)
        if self.printed is not None:
            self.printed.end_line()
        why = job.why
        if thrown is not None:
            own = self._failed(task, job, thrown)
            why = why or own
        if why is None:
            self._finish(job, b"DONE", ms, body, False)
            return
        is_unsafe = False
        if has_entered and task.on_stop is not None:
            self._answers.flush()
            if job.held is self._held and job.id in job.held:
                self._link.send(b'{"type":"SAFING","job":%d}' % job.id, [])
            is_unsafe = self._make_safe(task, job, why) is not None
        self._finish(job, b"FAIL", ms, _error_frame(*why), is_unsafe)

    def _failed(self, task: _Task, job: _Job, thrown: BaseException) -> _Why:
        if isinstance(thrown, _WrongArguments):
            return "BAD_ARGS", str(thrown)
        self._log_failure(task, job, thrown)
        return "TASK_ERROR", _thrown_message(thrown)

    def _log_failure(self, task: _Task, job: _Job, thrown: BaseException) -> None:
        if isinstance(thrown, (Aborted, _WrongArguments)):
            return
        serial = f" ({job.serial})" if job.serial else ""

        def lines() -> list[str]:
            first, *rest = [str(thrown)] if isinstance(thrown, _NotJson) else _thrown_lines(thrown)
            for line in (first, *rest):
                self._log_of(job, "error", line)
            return [f"{self._tag} Task failed: {task.name}{serial}: {first}", *rest]

        self._failures.add(lines, job.id)

    def _log_of(self, job: _Job, level: str, text: str) -> None:
        """To the router: a line of the job's log. One beyond its limit says so."""
        if job.held is not self._held or job.log_bytes > _JOB_LOG_BYTES_MAX or not self._link.can_take_values:
            return
        job.log_bytes += len(text.encode("utf-8", "replace"))
        data = {"level": level, "text": text if len(text) <= 1000 else text[:999] + "…"}
        if job.log_bytes > _JOB_LOG_BYTES_MAX:
            data = {"level": "warn", "text": f"further lines are not kept: {_JOB_LOG_BYTES_MAX} bytes"}
        frame = b'{"data":%b,"pack":%.3f}' % (json.dumps(data).encode(), time.time())
        self._link.send(b'{"type":"LOG","job":%d}' % job.id, [frame])

    def _run_safe(self, job: _Job, began: float) -> None:
        assert job.safe is not None
        task = self._tasks.get(job.name)
        if task is None or task.on_stop is None:
            code = "UNKNOWN_TASK" if task is None else "UNAVAILABLE"
            what = f"this worker has no task {_shown(job.name)}"
            self._refuse(job, code, what if task is None else f"the task {job.name} of this worker has no onStop")
            return
        if self._record is not None:
            self._record.begins(task.name, job.id)
        failure = self._make_safe(task, job, job.safe)
        ms = (time.monotonic() - began) * 1000
        if failure is None:
            self._finish(job, b"DONE", ms, _data_frame(None, "result"), False)
        else:
            self._finish(job, b"FAIL", ms, _error_frame(*failure), False)

    def _make_safe(self, task: _Task, job: _Job, why: _Why) -> _Why | None:
        """Runs the task's on_stop, which nothing aborts. Returns why it is not known to be safe."""
        self._current = (task.name, None)
        began = time.monotonic()
        failure: _Why | None = None
        lines: list[str] = []
        try:
            task.stop(*why)
        except BaseException as error:
            failure = "TASK_ERROR", _thrown_message(error)
            lines = _thrown_lines(error)
        if (time.monotonic() - began) * 1000 > task.on_stop_ms:
            failure = "TIMEOUT", f"it took longer than {task.on_stop_ms:g} ms"
            lines = [failure[1]]
        if self.printed is not None:
            self.printed.end_line()
        if failure is not None:
            which = f"{task.name} ({job.serial})" if job.serial else task.name
            first = f"{self._tag} Not known to be safe: the onStop of {which} has failed: {lines[0]}"
            self._failures.add(lambda: [first, *lines[1:]])
        return failure

    def _finish(self, job: _Job, kind: bytes, ms: float, body: bytes | _Binary, is_unsafe: bool) -> None:
        if self._record is not None:
            self._record.ended()
        self._current = None
        name = job.name
        self._quick[name] = self._quick.get(name, 0) + 1 if ms < _QUICK_MS else 0
        self._answer(job, kind, ms, body, is_unsafe)
        self.job_ended(ms)

    def _answer(self, job: _Job, kind: bytes, ms: float, body: bytes | _Binary, is_unsafe: bool) -> None:
        if not self._release(job):
            return
        if self.verbose:
            shown = body if isinstance(body, bytes) else b"%d bytes" % len(body.data)
            self._log.say(f"{self._tag} Task complete: {shown.decode('utf-8', 'replace')}")
        self._answers.add(kind, job.id, ms, body, is_unsafe)
        # The next job may block this process, so earlier answers leave first, unless its task is quick.
        if self._safes or not self._waiting or self._quick.get(job.name, 0) < _QUICK_RUNS_MIN:
            self._answers.flush()

    def _on_signal(self, signum: int, frame: object) -> None:
        job = self._running
        if not self._can_abort or job is None or job.why is None:
            return
        if _shield.depth > 0:
            _shield.late = self._abort_late
            return
        if self._is_reporting(frame):
            # Python would ignore it there, and not report that again.
            self._abort_soon(job)
            return
        self._can_abort = False
        self._raised = Aborted(*job.why)
        raise self._raised

    def _on_ignored(self, ignored: Any) -> None:
        """Python ignores what is raised in a finalizer, a weakref's callback, or one of C code."""
        job = self._running
        if job is None or self._raised is None or ignored.exc_value is not self._raised:
            self._report_ignored(ignored)
            return
        # The job has not seen its abort. It comes again once this has ended, where it can be seen.
        self._can_abort = True
        self._abort_soon(job)

    def _is_reporting(self, frame: Any) -> bool:
        """True within `_on_ignored`."""
        while frame is not None and frame.f_code is not _Executor._on_ignored.__code__:
            frame = frame.f_back
        return frame is not None

    def _abort_soon(self, job: _Job) -> None:
        def abort() -> None:
            if self._running is job:
                signal.pthread_kill(self._main, self._signal)

        self._link.after(_AGAIN_SECONDS, abort)

    def _abort_late(self) -> None:
        self._on_signal(0, sys._getframe())

    # For code of tasks

    def log(self, line: str) -> None:
        current = self._current
        if current is None:
            self._log.say(f"{self._tag} {line}")
        else:
            self._log.say(f"{self._tag} {current[0]}: {line}", current[1])
            job = self._running
            if job is not None:
                self._log_of(job, "info", line)

    def progress(self, frame: bytes) -> None:
        job = self._running
        if job is None or job.held is not self._held:
            return
        with _shield:
            now = time.monotonic()
            left = self._progress_at + _PROGRESS_SECONDS - now
            if left <= 0:
                self._send_progress(job, frame, now)
                return
            is_planned = self._progress_waits is not None
            self._progress_waits = frame
            if not is_planned:
                self._link.after(left, self._send_late_progress)

    def _send_late_progress(self) -> None:
        job = self._running
        frame, self._progress_waits = self._progress_waits, None
        if frame is not None and job is not None:
            self._send_progress(job, frame, time.monotonic())

    def _send_progress(self, job: _Job, frame: bytes, now: float) -> None:
        self._progress_at = now
        if self._link.can_take_values:
            self._link.send(b'{"type":"PROGRESS","job":%d}' % job.id, [frame])

    def publish(self, topic: str, value: Any, content_type: str | None) -> bool:
        current = self._current
        return self.values.give(topic, value, content_type, "" if current is None else current[0])

    def pause(self, seconds: float) -> None:
        if threading.get_ident() == self._main:
            time.sleep(seconds)
            return
        # The signal reaches the main thread alone.
        job, until = self._running, time.monotonic() + seconds
        while True:
            left = until - time.monotonic()
            if job is not None and job.why is not None:
                raise Aborted(*job.why)
            if left <= 0:
                return
            time.sleep(min(left, 0.02))


class _Values(_Topics):
    """
    What tasks and sources publish. It goes to the data workers' stream ports once they are known;
    before that, and where they cannot be reached, JSON goes by the router.
    """

    def __init__(self, link: _RouterLink, log: _Log, tag: str) -> None:
        self._link = link
        self._log = log
        self._tag = tag
        self._ports: dict[str, _Port] = {}
        self._owners: list[tuple[str, str]] | None = None
        self._has_asked = False
        self._named = threading.Event()
        self._has_warned: set[str] = set()
        link.on_owners = self._take_owners

    def give(self, topic: str, value: Any, content_type: str | None, task: str) -> bool:
        """Publishes a value of a task; False if it is lost. Raises TypeError for one that cannot travel."""
        try:
            kind, payload = self._encoded(value, content_type)
        except (BadArgs, _NotJson) as error:
            raise TypeError(error.message if isinstance(error, BadArgs) else str(error)) from None
        if not self._has_asked:
            self._has_asked = True
            self._link.say("OWNERS")
        if kind and self._owners is None:
            # Bytes do not go by the router; its answer comes once.
            self._named.wait(_OWNERS_SECONDS)
        with _shield:
            meta = b'{"version":0.3,"type":"DATA"%b,"pack":%.3f}' % (kind, time.time())
            try:
                if self._owners is not None and self._port_of(topic).publish([topic.encode(), meta, payload]):
                    return True
            except (TaskEngineError, OSError, _Unread):
                pass
            if kind:
                self._warn("LOST", topic, "bytes are lost: no data worker can be reached")
                return False
            if not self._link.can_take_values:
                return False
            header = {"type": "PUBLISH", "topic": topic, **({"task": task} if task else {})}
            return self._link.send(json.dumps(header).encode(), [b'{"data":%b,"pack":%.3f}' % (payload, time.time())])

    def welcome(self) -> None:
        """The router knows this worker now; it may be another router."""
        if self._has_asked:
            self._link.say("OWNERS")

    @staticmethod
    def _encoded(value: Any, content_type: str | None) -> tuple[bytes, bytes]:
        """What META says of a payload that is not JSON, and the payload."""
        binary = binary_of(value, content_type)
        if binary is not None:
            return b"," + json.dumps(binary[1]).encode()[1:-1], bytes(binary[0])
        if content_type is None:
            payload = _json_of(value, "value").encode()
            if len(payload) > _FRAME_BYTES_MAX - 64:
                raise _NotJson(f"value has {len(payload)} bytes, the limit is {_FRAME_BYTES_MAX - 64}")
            return b"", payload
        if not isinstance(value, str):
            raise _NotJson(f"a value of type {content_type} must be bytes or text, not {type(value).__name__}")
        return b',"contentType":' + json.dumps(content_type).encode(), value.encode()

    def _take_owners(self, workers: list[dict[str, Any]]) -> None:
        router = "tcp://127.0.0.1:0" if self._link.is_own else self._link.endpoint
        owners = [
            (str(each["publications"]), _reachable(router, str(each["stream"])))
            for each in workers
            if each.get("stream") is not None
        ]
        self._owners = owners or None
        self._named.set()

    def owners(self) -> list[tuple[str, str]]:
        if self._owners is None:
            raise error_of("UNAVAILABLE", "the engine has no data worker at present")
        return self._owners

    def forget(self) -> None:
        # The router names others by itself.
        pass

    def dial(self, endpoint: str, is_patient: bool) -> Any:
        if self._link.is_own:
            # The engine's own workers have a socket beside the port, which asks for no keys.
            socket = f"{self._link.endpoint.rpartition('/')[0]}/python-{endpoint.rpartition(':')[2]}.sock"
            if os.path.exists(socket[6:]):
                endpoint = socket
        try:
            if self._link.keys is None:
                most = _DATA_MESSAGE_BYTES_MAX
                return _BackendSocket.connect(endpoint, timeout=_DIAL_SECONDS, message_bytes_max=most)
            return CurveSocket(endpoint, self._link.keys, _DIAL_SECONDS, _DATA_MESSAGE_BYTES_MAX)
        except OSError as error:
            if isinstance(error, NotZmtp):
                self._warn("DIAL", endpoint, f"the data worker cannot be reached directly: {error}")
            raise NoAnswer("NO_ANSWER", str(error)) from None

    def refused(self, topic: str, error: TaskEngineError, count: int) -> None:
        self._warn(error.code, topic, f"values are not taken: {error}")

    def _warn(self, kind: str, what: str, why: str) -> None:
        """One line for each kind."""
        if kind not in self._has_warned:
            self._has_warned.add(kind)
            self._log.warn(f"{self._tag} {_shown(what)}: {why}; further ones are not logged")


def _stopped_message(stopped: dict[str, Any]) -> str:
    try:
        seconds = float(stopped["since"])
        when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds * 1000) % 1000:03d}Z"
    except (KeyError, TypeError, ValueError, OverflowError):
        when = "a time that is not known"
    reason = f" ({stopped['reason']})" if stopped.get("reason") else ""
    return f"in emergency stop since {when}{reason}; task-engine reset ends it"


# The roles


class _Recycle:
    """When a worker is to be replaced: after so many jobs, or above so much resident memory."""

    def __init__(self, jobs_max: int | None, memory_bytes_max: int | None, on_over: Callable[[str], None]) -> None:
        self._jobs_max = jobs_max
        self._memory_bytes_max = memory_bytes_max
        self._on_over = on_over
        self._jobs = 0
        self._unseen_ms = 0.0
        self._is_over = False

    def job_ended(self, ms: float) -> None:
        if self._is_over:
            return
        self._jobs += 1
        if self._jobs_max is not None and self._jobs >= self._jobs_max:
            self._over(f"it has run {self._jobs} jobs")
            return
        # Measuring costs as much as a short job.
        self._unseen_ms += ms
        if self._unseen_ms >= _RECYCLE_LOOK_MS:
            self.look()

    def look(self) -> None:
        # A worker that is too large before its first job would be replaced without ever running one.
        if self._is_over or self._jobs == 0 or self._memory_bytes_max is None:
            return
        self._unseen_ms = 0
        with open("/proc/self/statm", "rb") as statm:
            size = int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")
        if size > self._memory_bytes_max:
            most = f"--worker-memory-max {round(self._memory_bytes_max / 2**20)}"
            self._over(f"it holds {round(size / 2**20)} MiB of memory, more than {most}")

    def _over(self, why: str) -> None:
        self._is_over = True
        self._on_over(why)


def _exit(code: int, link: _RouterLink | None = None) -> NoReturn:
    """Ends the process: threads that tasks have left behind would keep it alive."""
    import atexit

    try:
        # Libraries free their devices there.
        atexit._run_exitfuncs()
    except BaseException:
        pass
    if link is not None:
        link.close()
    os._exit(code)


def _run_task_worker(flags: _Flags, channel: _Channel | None, keys: Keys | None = None) -> NoReturn:
    global _surroundings
    log = _Log()
    pid = os.getpid()
    tag = f"[WORKER-{pid}(TASK)]"
    _print_to(lambda line: log.say(f"{tag} {line}"))
    files = _load_files(flags.folder())
    ready: dict[str, Any] = {"type": "READY", "role": "task", "id": f"TASK-{pid}", "pid": pid, "endpoint": ""}
    ready.update(tasks=files.listed(), language="python", protocol=0.3)
    if channel is not None:
        ready["supervised"] = True
    link = _RouterLink(flags.one("backend"), ready, log, tag, channel, keys)
    record = None if channel is None else _Record(files.tasks)
    executor = _Executor(files.tasks, link, log, tag, record)
    executor.printed = _print_to(executor.log)
    _surroundings = executor
    executor.verbose = flags.has("verbose")

    def leave(why: str) -> None:
        # The supervisor is told first: an end without a word counts as a crash.
        link.tell(type="recycle", why=why)
        link.request(executor.leave)

    recycle = _Recycle(flags.number("jobs-max"), flags.mebibytes("memory-max"), leave)
    executor.job_ended = recycle.job_ended
    link.on_beat = recycle.look
    link.on_message = executor.take
    link.on_lost = executor.drop

    def welcome() -> None:
        link.tell(type="online")
        executor.values.welcome()

    link.on_welcome = welcome

    def order(message: dict[str, Any]) -> None:
        kind = message.get("type")
        if kind == "stop":
            leave("it was told to end")
        elif kind == "stopped":
            executor.stopped = message["stopped"]
        elif kind == "halt":
            executor.halt(message["halt"], (message["code"], message["message"]), message["spares"] is True)

    link.on_order = order
    _leave_by_signals(link, executor, log, leave, channel is not None)
    if channel is None:
        link.after(_ROUTER_ABSENT_SECONDS, lambda: _warn_of_absence(link, log, tag))
    link.start(main_leads=True)
    executor.run()
    if link.is_connected:
        try:
            link.gone.get(timeout=_GOODBYE_SECONDS)
        except queue.Empty:
            pass
    _exit(0, link)


def _warn_of_absence(link: _RouterLink, log: _Log, tag: str) -> None:
    if not link.has_joined:
        log.warn(f"{tag} No router answers at {link.endpoint}; retrying until one does")


def _leave_by_signals(
    link: _RouterLink, executor: _Executor, log: _Log, leave: Callable[[str], None], supervised: bool
) -> None:
    # A person may replace one worker.
    signal.signal(signal.SIGTERM, lambda *_: link.request(lambda: leave("it was told to end")))
    if supervised:
        return
    interrupts: list[int] = []

    def interrupted(*_: object) -> None:
        interrupts.append(1)
        if len(interrupts) == 1:
            link.request(first)
        elif len(interrupts) == 2:
            link.request(second)
        else:
            os._exit(130)

    def first() -> None:
        log.say("Leaving the engine once the running job has ended; Ctrl-C ends at once")
        leave("it was told to end")

    def second() -> None:
        log.error("task-engine: stopped at once, on a second signal; the running job was cut off")
        executor.halt(None, ("INTERRUPTED", "its worker was told to end at once"), False)
        seconds = max([0.0, *(each.on_stop_ms + 500 for each in executor._tasks.values() if each.on_stop)]) / 1000
        link.after(seconds, lambda: os._exit(130))

    signal.signal(signal.SIGINT, interrupted)


class _SourceLoop:
    """
    Calls a source at its rate: at multiples of it since one start, so that no delay adds up. What is
    late by a whole period, or due while a call has not ended, is left out and counted.
    """

    def __init__(self, source: _Source, start: float, log: Callable[[str], None]) -> None:
        self.source = source
        self._start = start
        self._every = source.every_ms / 1000
        self._turn = 0
        self._log = log
        self._overruns = self._errors = 0
        self._logged: set[str] = set()
        self._calls = -1
        self._since = self._last = 0.0
        self._hz: float | None = None
        self._jitter_ms: float | None = None
        self._delays: list[float] = []
        self._is_running = False

    @property
    def due(self) -> float:
        return self._start + self._turn * self._every

    def call(self, publish: Callable[[str, Any], None]) -> None:
        began = time.monotonic()
        self._skip_to(self._turn_at(began + 0.0005))
        self._began(began, (began - self.due) * 1000)
        self._is_running = True
        try:
            value = _finished(self.source.run())
            if value is not None:
                publish(self.source.topic, value)
        except Exception as error:
            self._failed(error)
        except (SystemExit, KeyboardInterrupt) as error:
            self._failed(error)
        self._is_running = False
        self._turn += 1
        # A call that is due just now was due while the last one ran.
        self._skip_to(self._turn_at(time.monotonic()) + 1)

    def report(self) -> dict[str, Any]:
        """For `status`. Rate and jitter are those since the last report. From the link's thread."""
        now = time.monotonic()
        missed = max(0, self._turn_at(now) - self._turn) if self._is_running else 0
        if self._calls > 0 and self._last > self._since:
            self._hz = round(self._calls / (self._last - self._since), 3)
            self._since, self._calls = self._last, 0
        elif self._hz is not None and now - self._last > 2 * self._every:
            self._hz = 0
        delays, self._delays = sorted(self._delays), []
        if delays:
            self._jitter_ms = round(delays[-(-99 * len(delays) // 100) - 1], 3)
        return {
            "name": self.source.name,
            "hz": self._hz,
            "jitterMs": self._jitter_ms,
            "overruns": self._overruns + missed,
            "errors": self._errors,
        }

    def _began(self, now: float, delay_ms: float) -> None:
        self._calls += 1
        if self._calls == 0:
            self._since = now
        self._last = now
        if len(self._delays) < _SOURCE_DELAYS_MAX:
            self._delays.append(abs(delay_ms))

    def _failed(self, error: BaseException) -> None:
        self._errors += 1
        kind = str(error) if isinstance(error, TypeError) else _thrown_message(error)
        if len(self._logged) >= _SOURCE_ERRORS_MAX or kind in self._logged:
            return
        self._logged.add(kind)
        first, *rest = _thrown_lines(error)
        is_last = len(self._logged) == _SOURCE_ERRORS_MAX
        others = "all further errors of it are only counted" if is_last else "the same again is only counted"
        self._log(f"The source {self.source.name} has failed ({others}): {first}")
        for line in rest:
            self._log(line)

    def _turn_at(self, now: float) -> int:
        return int((now - self._start) // self._every)

    def _skip_to(self, turn: int) -> None:
        if turn > self._turn:
            self._overruns += turn - self._turn
            self._turn = turn


class _SourceSurroundings(_Surroundings):
    def __init__(self, values: _Values, log: _Log, tag: str) -> None:
        self._values = values
        self._log = log
        self._tag = tag
        self.name = ""

    def log(self, line: str) -> None:
        self._log.say(f"{self._tag} {self.name}: {line}" if self.name else f"{self._tag} {line}")

    def publish(self, topic: str, value: Any, content_type: str | None) -> bool:
        return self._values.give(topic, value, content_type, f"source_{self.name}" if self.name else "")


def _run_source_worker(flags: _Flags, channel: _Channel | None) -> NoReturn:
    global _surroundings
    log = _Log()
    pid = os.getpid()
    tag = f"[WORKER-{pid}(SOURCE)]"
    _print_to(lambda line: _surroundings.log(line))
    ready: dict[str, Any] = {"type": "READY", "role": "source", "id": f"SOURCE-{pid}", "pid": pid, "tasks": []}
    files = _load_files(flags.folder())
    ready.update(endpoint="", language="python", protocol=0.3, sources=[each.listed() for each in files.sources])
    if channel is not None:
        ready["supervised"] = True
    link = _RouterLink(flags.one("backend"), ready, log, tag, channel)
    values = _Values(link, log, tag)
    surroundings = _SourceSurroundings(values, log, tag)
    _surroundings = surroundings
    welcomed: queue.SimpleQueue[bool] = queue.SimpleQueue()
    loops: list[_SourceLoop] = []
    # When the call that runs has begun; None between two calls.
    began: list[float | None] = [None]

    def refuse(header: dict[str, Any], bodies: list[bytes], late_ms: float) -> None:
        for id in header.get("jobs", []) if header["type"] != "SAFE" else [header["job"]]:
            frame = _error_frame("UNKNOWN_TASK", "a source worker runs no tasks")
            link.send(b'{"type":"FAIL","jobs":[%d],"ms":[0]}' % id, [frame])

    def welcome() -> None:
        # A source that ends the process must not end it before it counts as started.
        link.tell(type="online")
        values.welcome()
        welcomed.put(True)

    def leave() -> None:
        link.tell(type="recycle", why="it was told to end")
        link.say("LEAVE")
        time.sleep(0.02)
        _exit(0, link)

    def is_sound() -> bool:
        since = began[0]
        return since is None or time.monotonic() - since < _SOURCE_STUCK_SECONDS

    link.on_message = refuse
    link.on_welcome = welcome
    link.on_order = lambda message: leave() if message.get("type") == "stop" else None
    link.on_beat = lambda: link.say("SOURCES", sources=[loop.report() for loop in loops]) if loops else None
    link.is_sound = is_sound
    if channel is None:
        signal.signal(signal.SIGTERM, lambda *_: link.request(leave))
    link.start()
    welcomed.get()
    start = time.monotonic()
    loops += [_SourceLoop(each, start, lambda line: log.error(f"{tag} {line}")) for each in files.sources]

    def publish(topic: str, value: Any) -> None:
        surroundings.publish(topic, value, None)

    while True:
        loop = min(loops, key=lambda each: each.due) if loops else None
        if loop is None:
            time.sleep(3600)
            continue
        left = loop.due - time.monotonic()
        if left > 0:
            time.sleep(left)
        began[0] = time.monotonic()
        surroundings.name = loop.source.name
        loop.call(publish)
        surroundings.name = ""
        began[0] = None


def _is_used(stem: str, path: str) -> bool:
    """Whether another module has imported something of this file."""
    for name, module in list(sys.modules.items()):
        if name == stem or not isinstance(module, type(sys)):
            continue
        if getattr(module, "__file__", None) == path:
            return True
        if os.path.dirname(getattr(module, "__file__", None) or "") == os.path.dirname(path):
            values = list(vars(module).values())
            if any(value is sys.modules.get(stem) or getattr(value, "__module__", "") == stem for value in values):
                return True
    return False


def _run_scan(flags: _Flags) -> NoReturn:
    """Prints a JSON list of all tasks, and on a second line one of the sources if there are any."""
    # A task file, or a program that it starts, may print as it loads, and must not write into the answer.
    answer = os.dup(1)
    os.dup2(2, 1)
    without: list[str] = []
    files = _load_files(flags.folder(), on_skipped=without.append)
    log = _Log()
    for path in without:
        if not _is_used(os.path.basename(path)[:-3], path):
            log.warn(f"{path} has no task: a task is a function whose name begins with task_, or one with @task")
    lists: list[list[dict[str, Any]]] = [files.listed()]
    for entry in lists[0]:
        if "schedule" in entry:
            # For the engine's message, should the expression be none.
            entry["file"] = files.tasks[entry["name"]].file
    if files.sources:
        keys = ("name", "topic", "everyMs")
        lists.append([{key: each.listed()[key] for key in keys} for each in files.sources])
    text = "".join(json.dumps(sorted(each, key=lambda entry: str(entry["name"]))) + "\n" for each in lists)
    data = text.encode()
    while data:
        data = data[os.write(answer, data) :]
    sys.stdout.flush()
    _exit(0)


def _run_safe(flags: _Flags) -> NoReturn:
    """
    Brings hardware into its safe state from a fresh process. Everything runs at the same time, since
    one task that hangs must not hold up the others: each within its time, up to three times.
    """
    log = _Log()
    tag = f"[SAFE-{os.getpid()}]"
    why = (flags.one("code"), flags.one("message"))
    _print_to(lambda line: log.say(f"{tag} {line}"))
    # Ctrl-C is meant for the engine.
    for each in (signal.SIGINT, signal.SIGHUP):
        signal.signal(each, lambda *_: None)
    files = _load_files(flags.folder(), on_broken=lambda message: log.error(f"{tag} Skipped: {message}"))
    results: queue.SimpleQueue[bool] = queue.SimpleQueue()

    def attempt(what: str, task: _Task | None, work: Callable[[_Task], None]) -> None:
        if task is None:
            log.error(f"{tag} {what} cannot be run: there is no such task")
            results.put(False)
            return
        if what.startswith("The onStop") and task.on_stop is None:
            log.error(f"{tag} {what} cannot be run: the task has none")
            results.put(False)
            return
        for tries in range(1, _ON_STOP_TRIES_MAX + 1):
            failure = _once(task, work)
            if failure is None:
                results.put(True)
                return
            log.error(f"{tag} {what} has failed (try {tries} of {_ON_STOP_TRIES_MAX}): {failure}")
            if tries < _ON_STOP_TRIES_MAX:
                time.sleep(_RETRY_SECONDS * 2 ** (tries - 1))
        results.put(False)

    def whole(task: _Task) -> None:
        args: list[Any] = []
        kwargs: dict[str, Any] = {"code": why[0], "message": why[1]}
        if task.check is not None:
            task.check(args, kwargs)
        _finished(task.run(*args, **kwargs))

    jobs: list[tuple[str, str, Callable[[_Task], None]]] = []
    for name in flags.all("on-stop"):
        jobs.append((f"The onStop of {name}", name, lambda task: task.stop(*why)))
    if flags.has("run"):
        jobs.append((f"The task {flags.one('run')}", flags.one("run"), whole))
    for what, name, work in jobs:
        threading.Thread(target=attempt, args=(what, files.tasks.get(name), work), daemon=True).start()
    is_safe = [results.get() for _ in jobs]
    _exit(0 if all(is_safe) else 1)


def _once(task: _Task, work: Callable[[_Task], None]) -> str | None:
    """Why it has failed. Work that does not end when its time is over is left behind."""
    ended: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def run() -> None:
        try:
            work(task)
            ended.put(None)
        except BaseException as error:
            ended.put(_thrown_message(error))

    threading.Thread(target=run, daemon=True).start()
    try:
        return ended.get(timeout=task.on_stop_ms / 1000)
    except queue.Empty:
        return f"it took longer than {task.on_stop_ms:g} ms"


# ── main ──────────────────────────────────────────────────────────────────────────────────────────

_USAGE = """usage: task_engine.py worker --router ENDPOINT [--key FILE] [--server-key FILE] [FOLDER]

Runs the tasks of FOLDER (default: tasks) for the engine whose port for workers is ENDPOINT, such as
tcp://robot.local:9001. The keys are those of `task-engine worker`. SIGTERM or Ctrl-C: it ends the
running job and leaves; a second Ctrl-C aborts that job."""


class _Flags:
    """`--flag value` and `--flag=value`; other words are `words`. Raises _UsageError."""

    _SWITCHES = ("verbose", "help")

    def __init__(self, argv: list[str]) -> None:
        self.words: list[str] = []
        self._values: dict[str, list[str]] = {}
        waiting = list(argv)
        while waiting:
            word = waiting.pop(0)
            if not word.startswith("--"):
                self.words.append(word)
                continue
            name, equals, value = word[2:].partition("=")
            if not equals and name not in self._SWITCHES:
                if not waiting:
                    raise _UsageError(f"--{name} needs a value")
                value = waiting.pop(0)
            self._values.setdefault(name, []).append(value)

    def has(self, name: str) -> bool:
        return name in self._values

    def all(self, name: str) -> list[str]:
        return self._values.get(name, [])

    def one(self, name: str) -> str:
        if name not in self._values:
            raise _UsageError(f"--{name} is missing")
        return self._values[name][-1]

    def number(self, name: str) -> int | None:
        if name not in self._values:
            return None
        text = self.one(name)
        if not text.isascii() or not text.isdigit() or int(text) < 1:
            raise _UsageError(f"--{name} must be a whole number from 1 on, not {text}")
        return int(text)

    def mebibytes(self, name: str) -> int | None:
        number = self.number(name)
        return None if number is None else number * 2**20

    def folder(self) -> str | None:
        if self.has("tasks"):
            return self.one("tasks")
        if_any = self.all("tasks-if-any")
        return if_any[-1] if if_any and os.path.isdir(if_any[-1]) else None

    def set(self, name: str, value: str) -> None:
        self._values[name] = [value]


class _UsageError(Exception):
    """Wrong flags, in one line."""


def _run_worker_elsewhere(flags: _Flags) -> NoReturn:
    if flags.has("help"):
        print(_USAGE)
        sys.exit(0)
    if len(flags.words) > 1:
        raise _UsageError(f"it takes one folder, and got {' '.join(flags.words)}")
    flags.set("backend", flags.one("router"))
    _address(flags.one("backend"))
    if not flags.has("tasks"):
        flags.set("tasks", flags.words[0] if flags.words else "tasks")
    # Before any task file is loaded.
    keys = read_keys(*(flags.one(name) if flags.has(name) else None for name in ("key", "server-key")))
    if keys is not None:
        try:
            import zmq  # noqa: F401
        except ImportError:
            raise _StartError("keys need pyzmq: apt install python3-zmq (--key none uses no keys)") from None
    _run_task_worker(flags, None, keys)


def _main(argv: list[str]) -> int:
    # Task files import this module by its name.
    sys.modules.setdefault("task_engine", sys.modules["__main__"])
    role = argv[0] if argv else ""
    channel: _Channel | None = None
    try:
        flags = _Flags(argv[1:])
        if role == "worker":
            _run_worker_elsewhere(flags)
        if role not in ("task-worker", "source-worker", "scan", "safe"):
            print(_USAGE, file=sys.stderr)
            return 2
        channel = _under_supervisor()
        if role == "task-worker":
            _run_task_worker(flags, channel)
        if role == "source-worker":
            _run_source_worker(flags, channel)
        if role == "scan":
            _run_scan(flags)
        _run_safe(flags)
    except _StartError as error:
        if channel is not None:
            channel.send({"type": "fatal", "message": str(error)})
        else:
            print(f"task-engine: {error}", file=sys.stderr)
        os._exit(1)
    except (_UsageError, BadArgs) as error:
        print(f"task-engine: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
