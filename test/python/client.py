"""
Uses the client as programs do: `client.py ENDPOINT SECRET_KEY_FILE PUBLIC_KEY_FILE GROUP` does the checks of a group. Each check
has a name, which client.test.ts reads here; the script prints `ok name`, or `FAILED name: traceback`.
"""
import array
import asyncio
import concurrent.futures
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../../src/python"))

import task_engine  # noqa: E402
from task_engine import Binary, TaskEngineError, aconnect, connect  # noqa: E402

endpoint, secret_key, public_key, group = sys.argv[1:5]
checks = []


def check(name, group="quick"):
    """The groups: `quick` and `waiting` run side by side, `stop` alone."""
    return lambda function: checks.append((name, group, function))


def code_of(function, *args, **kwargs):
    try:
        result = function(*args, **kwargs)
    except TaskEngineError as error:
        assert "\n" not in str(error)
        return error.code
    raise AssertionError(f"no error, but {result!r}")


def until(condition):
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it never came to that")


class Events:
    """What the engine says of its jobs, from now on."""

    def __init__(self, engine):
        self.values = engine.subscribe("$engine/jobs", exact=True, last_ms=None)
        self.heard = []
        # The engine says nothing before it knows of a subscriber.
        while self.values.read(10) is None:
            engine.call("count")

    def until(self, serial, event):
        """Returns the event, once it comes."""
        for heard in self.heard:
            if (heard["serial"], heard["event"]) == (serial, event):
                return heard
        while True:
            value = self.values.read(20_000)
            if value is None:
                raise AssertionError(f"no {event} of {serial}, but {self.heard[-20:]}")
            if value.data["task"] == "count":
                continue
            self.heard.append(value.data)
            if (value.data["serial"], value.data["event"]) == (serial, event):
                return value.data


def publish(engine, topic, value):
    """Loses none, as fast as the data worker takes them."""
    while not engine.publish(topic, value):
        time.sleep(0.001)


@check("a call passes arguments and named arguments, and returns the task's result")
def _(engine, events):
    assert engine.call("count", 2, 3) == 5
    sent = engine.call("echo", 1, None, "ä\ud800", [1.5, True], {"a": {}}, task="x", self="y", wait_ms=1)
    assert sent == {"args": [1, None, "ä\ud800", [1.5, True], {"a": {}}], "kwargs": {"task": "x", "self": "y", "wait_ms": 1}}


@check("errors have the code of the engine and a class of their own")
def _(engine, events):
    assert code_of(engine.call, "fly") == "UNKNOWN_TASK"
    try:
        engine.call("fail", "the arm is stuck")
    except task_engine.TaskError as error:
        assert (error.code, error.message) == ("TASK_ERROR", "the arm is stuck")
    assert code_of(engine.get, "no/such") == "UNKNOWN_TOPIC"
    assert code_of(engine.cancel, "nobody") == "UNKNOWN_SERIAL"
    assert code_of(engine.options(ttl_ms=0).call, "count") == "BAD_FRAME"


@check("what JSON cannot hold is refused before it is sent, and nothing else is lost")
def _(engine, events):
    job = engine.submit("count", 1, 1)
    deep = []
    for _ in range(100_000):
        deep = [deep]
    for value in (float("nan"), float("inf"), {1, 2}, 2**53, [{"a": -(2**53)}], b"bytes", deep, object()):
        assert code_of(engine.call, "echo", value) == "BAD_ARGS", value
    assert code_of(engine.call, "echo", "x" * 3_000_000) == "TOO_LARGE"
    assert engine.call("echo", 2**53 - 1)["args"] == [2**53 - 1]
    assert job.result() == 2


@check("numbers and arrays of numpy are arguments")
def _(engine, events):
    import numpy

    assert engine.call("count", numpy.float32(2), numpy.int64(3)) == 5
    assert engine.call("echo", numpy.arange(3))["args"] == [[0, 1, 2]]


@check("a detached job goes on by itself, and is found by its id")
def _(engine, events):
    detached = engine.options(detach=True)
    job = detached.call("photo", "front")
    assert (len(job.id), job.existing) == (16, False)
    assert job.result() == ["front"] == engine.result(job.id)
    assert job.report()["state"] == "done"
    assert [line["text"] for line in engine.logs(job=job.id)] == ["click"]
    assert detached.submit("photo").result().result() == []
    assert job.id in [each["job"] for each in engine.jobs(task="photo", states=["done"])]
    assert code_of(engine.job, "a" * 16) == "UNKNOWN_JOB"
    assert code_of(detached.call, "echo") == "BAD_ARGS"  # it may move something
    with connect(endpoint) as other:
        assert other.result(job.id) == ["front"]


@check("a detached job may be unique, begin later, and be cancelled")
def _(engine, events):
    job = engine.options(detach=True, unique={"key": "garden", "window_ms": 0}).call("wait", 60)
    same = engine.options(detach=True, unique="garden").call("wait", 60)
    assert (same.id, same.existing) == (job.id, True)
    assert code_of(job.result, 50) == "NO_ANSWER"
    assert job.cancel() is True
    assert code_of(job.result) == "CANCELLED" == job.report()["code"]
    assert job.cancel() is False and engine.cancel(job.id) == 0
    later = engine.options(detach=True, delay_ms=60_000).call("photo")
    assert later.state == "delayed" and engine.cancel(later.id) == 1
    soon = engine.options(detach=True, not_before=time.time() + 0.1).call("photo")
    assert soon.result() == []


@check("the schedules are listed, paused, resumed and run")
def _(engine, events):
    assert [(each["name"], each["when"]) for each in engine.schedules()] == [("yearly", "@yearly")]
    paused = engine.schedule("yearly", "pause")
    assert (paused["name"], paused["paused"], paused["failure"]) == ("yearly", True, None)
    assert engine.schedule("yearly", "resume")["paused"] is False
    engine.schedule("yearly", "run")
    until(lambda: engine.schedules()[0]["code"] == "done")
    assert code_of(engine.schedule, "hourly", "pause") == "UNKNOWN_TASK"


@check("jobs of a paused task wait until it is resumed")
def _(engine, events):
    since = time.time()
    paused = engine.pause("photo")
    assert abs(paused["paused"] - since) < 60 and paused["failure"] is None
    waiting = engine.submit("photo", "later")
    events.until(waiting.serial, "accepted")
    assert not waiting.done() and engine.jobs(task="photo", states=["queued"])[0]["serial"] == waiting.serial
    assert engine.resume("photo") == {"paused": None, "failure": None}
    assert waiting.result() == ["later"]
    assert code_of(engine.pause, "nonsense") == "UNKNOWN_TASK"


@check("a dead letter is listed, retried where that is confirmed, or discarded")
def _(engine, events):
    def fails():
        """The id of one: the first of two runs in a worker fails."""
        while True:
            job = engine.options(durable=True, detach=True).call("patrol")
            try:
                job.result()
            except TaskEngineError as error:
                assert (error.code, error.message) == ("TASK_ERROR", "the gate is closed")
                return job.id

    id = fails()
    assert id in [each["job"] for each in engine.jobs(dead=True)]
    assert code_of(engine.retry, id) == "UNCONFIRMED"
    retried = engine.retry(id, confirm=True)
    assert retried != id and id not in [each["job"] for each in engine.jobs(dead=True)]
    assert code_of(engine.discard, id) == "UNKNOWN_JOB"
    id = fails()
    engine.discard(id)
    assert id not in [each["job"] for each in engine.jobs(dead=True)]
    assert code_of(engine.retry, id, confirm=True) == "UNKNOWN_JOB"


@check("a task's bytes and arrays come as they are")
def _(engine, events):
    picture = engine.call("picture")
    assert picture == b"\xff\xd8\x00" and isinstance(picture, Binary) and picture.content_type == "image/jpeg"
    matrix = engine.call("matrix")
    assert (matrix.dtype, matrix.shape) == ("float32", (2, 3))
    assert matrix.array().tolist() == [[0, 1, 2], [3, 4, 5]]
    assert engine.submit("picture").result() == picture


@check("many threads have many calls in flight")
def _(engine, events):
    wrong = []

    def work(number):
        for step in range(50):
            if engine.call("count", number, step) != number + step:
                wrong.append((number, step))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@check("hundreds of jobs are in flight, and are futures")
def _(engine, events):
    jobs = [engine.submit("count", number, 1) for number in range(400)]
    assert [job.result() for job in jobs] == [number + 1 for number in range(400)]
    jobs = [engine.submit("count", number, 1) for number in range(100)]
    assert len(concurrent.futures.wait(jobs, 20).done) == 100
    assert sorted(job.result() for job in concurrent.futures.as_completed(jobs)) == list(range(1, 101))
    assert isinstance(engine.submit("fail", "no").exception(), task_engine.TaskError)
    done = threading.Event()
    engine.submit("count", 1).add_done_callback(lambda job: done.set())
    assert done.wait(20)


@check("a callback may call the engine")
def _(engine, events):
    results = []
    jobs = [engine.submit("count", number) for number in range(20)]
    for job in jobs:
        job.add_done_callback(lambda job: results.append(engine.call("count", job.result(), 1)))
    assert [job.result() for job in jobs] == list(range(20))
    until(lambda: len(results) == 20)
    assert sorted(results) == list(range(1, 21))


@check("map gives results in order, and errors in their places if it is told to")
def _(engine, events):
    assert engine.map("count", ((number, 1) for number in range(2500))) == [number + 1 for number in range(2500)]
    assert engine.map("count", []) == []
    results = engine.options(return_errors=True).map("count", [[1], ["x"], [float("nan")], [2]])
    assert [getattr(result, "code", result) for result in results] == [1, "TASK_ERROR", "BAD_ARGS", 2]
    assert code_of(engine.map, "count", [[1], ["x"]]) == "TASK_ERROR"
    seen = []
    engine.options(on_progress=seen.append).map("count", [[number] for number in range(1200)])
    assert seen[-1] == 1200 and seen == sorted(seen)


@check("a job that is cancelled ends as CANCELLED, whether it waits or runs")
def _(engine, events):
    jobs = [engine.submit("rest") for _ in range(6)]  # more than there are workers
    events.until(jobs[0].serial, "running")
    for job in jobs:
        assert not job.done() and job.cancel()
    assert [type(job.exception(20)) for job in jobs] == 6 * [task_engine.Cancelled]
    assert not jobs[0].cancel()
    job = engine.submit("rest")
    assert engine.cancel(job.serial) == 1
    assert job.exception().code == "CANCELLED"


@check("the client waits wait_ms, then cancels the job", "waiting")
def _(engine, events):
    brief = engine.options(wait_ms=200)
    jobs = [brief.submit("rest"), brief.submit("rest")]
    try:
        brief.call("rest")
        raise AssertionError("it ended")
    except task_engine.NoAnswer as error:
        assert "within 200 ms" in str(error)
    assert concurrent.futures.wait(jobs, 20).done == set(jobs)
    assert [job.exception().code for job in jobs] == ["NO_ANSWER", "NO_ANSWER"]
    for job in jobs:
        assert events.until(job.serial, "ended")["code"] == "CANCELLED"


@check("result with a timeout gives up the wait, not the job")
def _(engine, events):
    job = engine.submit("rest", 0.3)
    try:
        job.result(0.01)
    except concurrent.futures.TimeoutError:
        pass
    assert job.result() == "rested"


@check("progress comes while the job runs")
def _(engine, events):
    seen = []
    assert engine.options(on_progress=seen.append).call("report") == "reported"
    assert seen == [{"step": 0}, {"step": 1}]
    job = engine.submit("report")
    job.result()
    assert job.progress == {"step": 1}


@check("threads that wait keep their jobs alive, each its own", "waiting")
def _(engine, events):
    alive = engine.options(deadman_ms=500)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        calls = [
            pool.submit(alive.call, "rest", 1),
            # The task's own dead man, of which the engine tells.
            pool.submit(engine.call, "rest_guarded", 1),
            pool.submit(alive.map, "rest", [[1], [0]]),
        ]
        assert [call.result() for call in calls] == ["rested", "rested", ["rested", "rested"]]


@check("a job that no thread waits for ends as DEADMAN, if nothing keeps it alive", "waiting")
def _(engine, events):
    alive = engine.options(deadman_ms=500)
    left, kept = alive.submit("rest", 1), alive.submit("rest", 1)
    while not kept.done():
        kept.keep_alive()
        time.sleep(0.05)
    assert left.exception().code == "DEADMAN" and kept.result() == "rested"


@check("a program whose main thread hangs loses its job", "waiting")
def _(engine, events):
    code = f"""
import sys; sys.path.insert(0, {os.path.dirname(task_engine.__file__)!r})
from task_engine import connect
engine = connect({endpoint!r})
job = engine.options(deadman_ms=300).submit("rest")
job.add_done_callback(lambda job: print(job.exception().code, flush=True))
while True: pass
"""
    program = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert program.stdout.readline() == "DEADMAN\n" and program.poll() is None
    finally:
        program.kill()
        program.communicate()


@check("Ctrl-C in a call cancels the job")
def _(engine, events):
    main = threading.main_thread().ident
    serials = []

    def interrupt():
        until(lambda: engine._pending)
        serials.extend(engine._pending)
        events.until(serials[0], "running")
        signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        engine.call("rest")
        raise AssertionError("it was not interrupted")
    except KeyboardInterrupt:
        pass
    thread.join()
    assert events.until(serials[0], "ended")["code"] == "CANCELLED"


@check("close ends what is in flight as CLOSED, and cancels it")
def _(engine, events):
    other = connect(endpoint)
    job = other.submit("rest")
    events.until(job.serial, "running")
    other.close()
    assert job.exception(20).code == "CLOSED" and code_of(other.call, "count") == "CLOSED"
    assert events.until(job.serial, "ended")["code"] == "CANCELLED"


@check("values are published, got, and kept as history: JSON, bytes and arrays")
def _(engine, events):
    import numpy

    assert engine.publish("arm/angle", 30, confirm=True)
    assert engine.publish("arm/angle", {"deg": 31})
    assert engine.publish("arm/angle", "far", content_type="text/plain", confirm=True)
    assert [value.data for value in engine.history("arm/angle")] == [30, {"deg": 31}, b"far"]
    assert [value.seq for value in engine.history("arm/angle", limit=2)] == [2, 3]
    value = engine.get("arm/angle")
    assert (value.topic, value.data, value.data.content_type) == ("arm/angle", b"far", "text/plain")
    assert abs(value.pack - time.time()) < 60
    for binary in (b"\xff\x00", bytearray(b"\xff\x00"), memoryview(b"\xff\x00"), array.array("B", [255, 0])):
        engine.publish("arm/raw", binary if not isinstance(binary, array.array) else binary.tobytes(), confirm=True)
        assert engine.get("arm/raw").data == b"\xff\x00"
    engine.publish("arm/scan", numpy.arange(6, dtype=">f4").reshape(2, 3), confirm=True)
    assert engine.get("arm/scan").data.array().tolist() == [[0, 1, 2], [3, 4, 5]]
    large = os.urandom(3_000_000)
    engine.publish("arm/large", large, confirm=True)
    assert engine.get("arm/large").data == large
    listed = {topic["topic"]: topic["contentType"] for topic in engine.topics("arm/")}
    assert listed["arm/scan"] == "application/octet-stream" and listed["arm/angle"] == "text/plain"
    engine.remove("arm/large")
    assert code_of(engine.get, "arm/large") == "UNKNOWN_TOPIC"
    for topic, value in (("", 1), ("$x", 1), ("x" * 129, 1), ("x", float("nan")), ("x", object())):
        assert code_of(engine.publish, topic, value) == "BAD_ARGS"


@check("a subscriber gets the newest value of each topic, then every later one")
def _(engine, events):
    engine.publish("leg/left", 1, confirm=True)
    with engine.subscribe("leg/") as values:
        assert [(value.topic, value.data) for value in [next(values)]] == [("leg/left", 1)]
        for number in range(2000):
            publish(engine, "leg/right", number)
        assert [next(values).data for _ in range(2000)] == list(range(2000))
        assert values.read(timeout_ms=20) is None and values.dropped == {}
    with engine.subscribe("leg/left", "leg/right", exact=True, last_ms=60_000) as values:
        assert sum(1 for value in iter(lambda: values.read(100), None)) == 2001
    with engine.subscribe("leg/right", mode="latest") as values:
        assert values.read(5000).data == 1999
        for number in range(500):
            publish(engine, "leg/right", number)
        until(lambda: values.read(5000).data == 499)
    assert code_of(engine.subscribe, mode="some") == "BAD_ARGS"


@check("more values than a subscriber may have on the way come to one that reads them all")
def _(engine, events):
    with engine.subscribe("bulk", last_ms=None) as values:
        assert values.read(timeout_ms=100) is None
        for number in range(40):
            engine.publish("bulk", bytes([number]) * 100_000, confirm=True)
            assert values.read(5000).data[0] == number
    assert values.dropped == {} and values.read() is None


@check("a subscription that another thread closes ends its loop")
def _(engine, events):
    values = engine.subscribe("quiet/")
    threading.Timer(0.1, values.close).start()
    assert list(values) == []


@check("status, tasks, emergency stop and reset", "stop")
def _(engine, events):
    assert {"count", "rest"} <= {task["name"] for task in engine.tasks()}
    stop = engine.estop("a hand is in the arm")
    try:
        assert stop["stopped"]["reason"] == "a hand is in the arm" and stop["durable"] is True
        assert engine.status()["stopped"]["reason"] == "a hand is in the arm"
        try:
            engine.call("count")
            raise AssertionError("it ran")
        except task_engine.Stopped:
            pass
    finally:
        engine.reset()
    assert engine.call("count", 1) == 1


@check("a reload says how many tasks there are", "stop")
def _(engine, events):
    reloaded = engine.reload()
    assert reloaded["failure"] is None and reloaded["tasks"] == len(engine.tasks())


@check("coroutines call tasks side by side, and one that is cancelled cancels its job", "waiting")
def _(engine, events):
    async def main():
        async with await aconnect(endpoint) as other:
            assert await asyncio.gather(*(other.call("count", number, 1) for number in range(100))) == list(range(1, 101))
            assert await other.options(deadman_ms=500).call("rest", 0.8) == "rested"
            assert await other.map("count", [[1], [2]]) == [1, 2]
            try:
                await asyncio.wait_for(other.call("rest"), 0.2)
                raise AssertionError("it ended")
            except asyncio.TimeoutError:
                pass
            await other.publish("async", 7, confirm=True)
            assert (await other.get("async")).data == 7 and (await other.history("async"))[0].data == 7
            async for value in other.subscribe("async"):
                assert value.data == 7
                break
            assert (await other.status())["stopped"] is None
            assert (await other.pause("matrix"))["paused"] and (await other.resume("matrix"))["paused"] is None
            assert (await other.schedule("yearly", "resume"))["paused"] is False

    asyncio.run(main())


@check("an event loop that hangs loses its job", "waiting")
def _(engine, events):
    async def main():
        async with await aconnect(endpoint) as other:
            call = asyncio.ensure_future(other.options(deadman_ms=200).call("rest"))
            await asyncio.sleep(0.1)
            time.sleep(0.6)
            try:
                await call
            except TaskEngineError as error:
                return error.code

    assert asyncio.run(main()) == "DEADMAN"


@check("a connection that was closed while it was quiet is replaced, and no request is lost")
def _(engine, events):
    other = connect(endpoint)
    assert other.call("count", 1) == 1
    other._link._socket.shutdown(socket.SHUT_RDWR)
    time.sleep(0.1)
    assert other.call("count", 2) == 2
    other.close()


@check("a bad endpoint, an absent engine and other programs have one line each")
def _(engine, events):
    def line_of(endpoint, **options):
        try:
            connect(endpoint, **options)
        except TaskEngineError as error:
            assert "\n" not in str(error)
            return str(error)
        raise AssertionError("it connects")

    for bad in ("robot", "tcp://robot", "tcp://:9000", "tcp://*:9000", "tcp://h:0", "tcp://h:99999", "ipc:///x", "udp://h:1"):
        assert line_of(bad).startswith("BAD_ARGS: endpoint ") and "tcp://HOST:PORT" in line_of(bad), bad
    with socket.create_server(("127.0.0.1", 0)) as listener:
        free = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
    assert f"no connection to {free}: nobody listens there (ECONNREFUSED)" in line_of(free)
    assert "nobody listens there" in line_of(free, wait_ms=150)

    def answering(said):
        listener = socket.create_server(("127.0.0.1", 0))

        def answer():
            connection = listener.accept()[0]
            connection.sendall(said)
            while said and connection.recv(64):
                pass
            connection.close()
            listener.close()

        threading.Thread(target=answer).start()
        return f"tcp://127.0.0.1:{listener.getsockname()[1]}"

    assert 'another program listens there, which sends "SSH-2.0-OpenSSH' in line_of(answering(b"SSH-2.0-OpenSSH\r\n"))
    assert "another program listens there" in line_of(answering(b"HTTP/1.1 400 Bad Request\r\n\r\n" + bytes(80)))
    assert "closes the connection at once" in line_of(answering(b""))
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00"
    assert "the engine there has keys" in line_of(answering(greeting + b"CURVE".ljust(20, b"\0") + bytes(32)))
    assert "absurd length" in line_of(answering(greeting + b"NULL".ljust(20, b"\0") + bytes(32) + b"\x06" + b"\xff" * 8))


@check("keys without pyzmq have one line that says what to install")
def _(engine, events):
    present = {name: module for name, module in sys.modules.items() if name == "zmq" or name.startswith("zmq.")}
    sys.modules["zmq"] = None
    try:
        connect(endpoint, key=secret_key, server_key=public_key)
    except TaskEngineError as error:
        assert "apt install python3-zmq" in str(error) and "\n" not in str(error)
    finally:
        del sys.modules["zmq"]
        sys.modules.update(present)


@check("a file of keys that cannot be used has one line")
def _(engine, events):
    for key, server_key, words in (
        ("/nowhere", public_key, "/nowhere cannot be read"),
        (public_key, public_key, "chmod go-rwx"),
        (secret_key, __file__, "has no public-key"),
    ):
        try:
            connect(endpoint, key=key, server_key=server_key)
            raise AssertionError("it connects")
        except task_engine.BadArgs as error:
            assert words in str(error), error


def main():
    with connect(endpoint) as engine:
        events = Events(engine)
        for name, of, function in checks:
            if of != group:
                continue
            begun = time.monotonic()
            try:
                function(engine, events)
                print(f"ok {name} ({time.monotonic() - begun:.2f} s)", flush=True)
            except BaseException:
                print(f"FAILED {name}: {traceback.format_exc()!r}", flush=True)


if __name__ == "__main__":
    main()
