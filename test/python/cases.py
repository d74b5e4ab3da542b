"""Cases of the parts of task_engine.py that need no process of their own; prints one line of JSON for each: name, found, expected."""

import importlib
import json
import os
import sys
import tempfile
from typing import Any, Dict, List, Literal, Optional, Tuple, Union

sys.path.insert(0, sys.argv[1])
te: Any = importlib.import_module("task_engine")


def said(name, found, expected):
    print(json.dumps([name, found, expected]))


def outcome(function, args, kwargs=None):
    """What the function returns for these arguments, or what is wrong with them."""
    kwargs = kwargs or {}
    check = te._Task("t", "t.py", function, {}).check
    try:
        if check is not None:
            check(args, kwargs)
        result = function(*args, **kwargs)
        return list(result) if isinstance(result, tuple) else result
    except te._WrongArguments as error:
        return str(error)


def definition(function, **given):
    try:
        return te._Task("t", "t.py", function, given).policy
    except ValueError as error:
        return str(error)


def drive(speed: float, seconds: float = 1.0, *, mode: Literal["slow", "fast"] = "slow"):
    return [speed, seconds, mode]


def one(value):
    return value


def annotated(hint):
    def function(value):
        return value

    function.__annotations__ = {"value": hint}
    return function


said("arguments that fit", outcome(drive, [1, 2.5], {"mode": "fast"}), [1, 2.5, "fast"])
said("a wrong type", outcome(drive, ["far"]), 'speed: expected float, got "far"')
said("a bool is no number", outcome(drive, [True]), "speed: expected float, got true")
said("a missing one", outcome(drive, []), "speed: missing")
said("one too many", outcome(drive, [1, 2, 3]), "it takes 2 arguments by position, and got 3")
said("an unknown one", outcome(drive, [1], {"fast": 1}), "fast: there is no such argument")
said("one given twice", outcome(drive, [1], {"speed": 2}), "speed: given twice, by position and by name")
said("a literal", outcome(drive, [1], {"mode": "x"}), 'mode: expected one of "slow", "fast", got "x"')
said("several mistakes", outcome(drive, ["a", "b"]), 'speed: expected float, got "a"; seconds: expected float, got "b"')
said("no annotations", outcome(one, [["any", 1]]), ["any", 1])
said("no arguments", outcome(lambda: 1, [1]), "it takes no arguments by position, and got 1")
said("rest and others", outcome(lambda *args, **kwargs: [list(args), kwargs], [1, 2], {"a": 3}), [[1, 2], {"a": 3}])


def numbers(*values: int, **named: str):
    return list(values)


said("items of *args", outcome(numbers, [1, "x"]), 'values[1]: expected int, got "x"')
said("items of **kwargs", outcome(numbers, [], {"a": 1}), "a: expected str, got 1")

fits: List[Tuple[Any, Any, Any]] = [
    (int, 3, 3),
    (int, 3.0, "value: expected int, got 3.0"),
    (int, True, "value: expected int, got true"),
    (bool, 1, "value: expected bool, got 1"),
    (str, None, "value: expected str, got null"),
    (bytes, "x", 'value: expected bytes, got "x"'),
    (None, None, None),
    (None, 0, "value: expected None, got 0"),
    (Optional[int], None, None),
    (Optional[int], "x", 'value: expected int or None, got "x"'),
    (Union[int, str], [], "value: expected int or str, got []"),
    (list, [1, "a"], [1, "a"]),
    (list, {}, "value: expected list, got {}"),
    (List[int], [1, "a"], 'value[1]: expected int, got "a"'),
    (List[List[float]], [[1], ["x"]], 'value[1][0]: expected float, got "x"'),
    (Dict[str, int], {"a": "b"}, 'value.a: expected int, got "b"'),
    (Union[None, List[int]], ["x"], 'value[0]: expected int, got "x"'),
    (Tuple[int, str], [1, "a"], [1, "a"]),
    (Tuple[int, str], [1], "value: expected a list of 2, got [1]"),
    (Tuple[int, ...], [1, "a"], 'value[1]: expected int, got "a"'),
    (Any, {"x": 1}, {"x": 1}),
    (Literal[1, None], None, None),
    (Literal[1], True, "value: expected 1, got true"),
    ("float", "x", 'value: expected float, got "x"'),
]
if sys.version_info >= (3, 10):
    fits.append((int | None, "x", 'value: expected int or None, got "x"'))
for hint, value, expected in fits:
    said(f"{hint} of {value!r}", outcome(annotated(hint), [value]), expected)

unsupported = "which cannot be checked; use " + te._SUPPORTED + ", or no annotation"
said("another class", definition(annotated(complex)), f"annotates value with complex, {unsupported}")
said("a set", definition(annotated(List[set])), f"annotates value with set, {unsupported}")
said("keys of a dict", definition(annotated(Dict[int, int])), "annotates value with a dict whose keys are no str; JSON has no others")
said(
    "an unknown name",
    definition(annotated("Speed")),
    "has an annotation of value, Speed, that cannot be read: name 'Speed' is not defined",
)

said(
    "the schema",
    te._Task("t", "t.py", drive, {}).schema,
    {
        "args": {
            "type": "array",
            "prefixItems": [{"title": "speed", "type": "number"}, {"title": "seconds", "type": "number", "default": 1.0}],
            "minItems": 1,
            "items": False,
        },
        "kwargs": {
            "type": "object",
            "properties": {"mode": {"title": "mode", "enum": ["slow", "fast"], "default": "slow"}},
            "required": [],
        },
    },
)
said("no schema", te._Task("t", "t.py", lambda *args, **kwargs: 1, {}).schema, None)


# Policies

said(
    "a policy",
    definition(
        one,
        ttl_ms=1,
        timeout_ms=5000,
        deadman_ms=50,
        grace_ms=0,
        idempotent={"tries": 3, "backoff_ms": 10, "on_error": True},
        resources=("motors", "arm"),
        preemptible=True,
        moves=False,
        on_stop=lambda: None,
        on_stop_ms=50,
    ),
    {
        "ttlMs": 1,
        "timeoutMs": 5000,
        "deadmanMs": 50,
        "graceMs": 0,
        "idempotent": {"tries": 3, "backoffMs": 10, "onError": True},
        "resources": ["motors", "arm"],
        "preemptible": True,
        "moves": False,
        "onStopMs": 50,
        "onStop": True,
    },
)
keys = ", ".join(te._policy_rows)
said("a misspelt key", definition(one, timout_ms=1), f"has the key timout_ms, which is not one of {keys}")
said("a wrong time", definition(one, ttl_ms="1"), "has a wrong ttl_ms: must be a number of ms, 1 to 604800000")
said("a short dead man", definition(one, deadman_ms=49), "has a wrong deadman_ms: must be a number of ms, 50 to 604800000")
said("a name alone", definition(one, resources="motors"), "has a wrong resources: must be a list of up to 16 names of 1 to 128 characters")
said("no function", definition(one, on_stop=3), "has a wrong on_stop: must be a function")
rule = "has a wrong on_stop: it may take nothing, or the code, or the code and the message"
said("an on_stop that wants more", definition(one, on_stop=lambda a, b, c: None), rule)

policy = definition(one, moves=False, schedule={"misfire": "once", "cron": "@daily"}, durable=True)
said("a schedule", policy, {"moves": False, "schedule": {"cron": "@daily", "misfire": "once"}, "durable": True})
policy = definition(one, resumes_after_restart=True, schedule="* * * * *")
said("a schedule alone", policy, {"resumesAfterRestart": True, "schedule": {"cron": "* * * * *"}})
said("an interval", definition(one, moves=False, every_ms=1000), {"moves": False, "everyMs": 1000})
rule = "has a wrong every_ms: must be a whole number of ms from 1000 to 31622400000"
said("a short interval", definition(one, moves=False, every_ms=999), rule)
rule = "has a wrong schedule: must be a cron expression, or a dict with cron, zone and misfire"
for number, wrong in enumerate([5, {}, {"zone": "UTC"}, {"cron": "@daily", "zon": "UTC"}, {"cron": 5}]):
    said(f"no schedule {number}", definition(one, moves=False, schedule=wrong), rule)
wrong = {"cron": "@daily", "misfire": "twice"}
rule = 'has a wrong schedule: its misfire is neither "skip" nor "once"'
said("another misfire", definition(one, moves=False, schedule=wrong), rule)
rule = "has both schedule and every_ms; remove one"
said("two schedules", definition(one, moves=False, schedule="@daily", every_ms=5000), rule)
rule = "has deadman_ms and every_ms; nobody need be there when it runs; remove one"
said("a schedule and a dead man", definition(one, moves=False, every_ms=5000, deadman_ms=500), rule)
said("durable and a dead man", definition(one, moves=False, durable=True, deadman_ms=500), rule.replace("every_ms", "durable"))
rule = "has durable and may move something; write `moves=False` if it does not, or `resumes_after_restart=True`"
said("durable, and it may move something", definition(one, durable=True), rule)
said("not durable", definition(one, durable=False), {"durable": False})
rule = "has schedule and may move something; write `moves=False` if it does not, or `resumes_after_restart=True`"
said("a schedule of what moves", definition(one, schedule="@daily"), rule)

heard = []


class Motor:
    def stop(self):
        heard.append("stop")


def off(speed=0):
    heard.append(speed)


for on_stop in (Motor().stop, off, lambda code: heard.append(code), lambda code, message: heard.append(message), heard.clear):
    if on_stop == heard.clear:
        said("what an on_stop gets", list(heard), ["stop", 0, "CANCELLED", "why"])
    te._Task("t", "t.py", one, {"on_stop": on_stop}).stop("CANCELLED", "why")
said("an on_stop of C", heard, [])


def source(**given):
    try:
        return te._Source("s", "s.py", one, given).listed()
    except ValueError as error:
        return str(error)


said("a source", source(every_ms=20, topic="d", stale_ms=100), {"name": "s", "topic": "d", "everyMs": 20.0, "staleMs": 100})
said("no rate", source(topic="d"), "needs every_ms")
said("a fast one", source(every_ms=0.5, topic="d"), "has a wrong every_ms: must be a number of ms, 1 to 86400000")
topic_rule = "must be 1 to 128 characters, without NUL, that do not begin with $"
said("a topic of the engine", source(every_ms=1, topic="$engine/x"), f"has a wrong topic: {topic_rule}")
stale = "has a wrong stale_ms: must be at least every_ms, 20: else the topic is stale between two calls"
said("stale too soon", source(every_ms=20, topic="d", stale_ms=10), stale)


# Results


def encoded(value):
    try:
        return json.loads(te._json_of(value, "result"))
    except te._NotJson as error:
        return str(error)


loop: List[Any] = []
loop.append(loop)
said("plain values", encoded({"a": [1, 2.5, None, True, ("x",)]}), {"a": [1, 2.5, None, True, ["x"]]})
said("NaN", encoded([1.0, float("nan")]), "result[1] is nan, which JSON cannot express")
said("infinity", encoded({"a": float("-inf")}), "result.a is -inf, which JSON cannot express")
long = "is a whole number beyond ±(2**53 - 1), which loses digits; send it as a string"
said("a long number", encoded([2**53]), f"result[0] {long}")
said("the longest", encoded(-(2**53) + 1), -(2**53) + 1)
said("a set", encoded({"a": {1}}), "result.a is a set, which JSON cannot express")
said("bytes within", encoded([b"x"]), "result[0] is a bytes, which JSON cannot express")
said("keys that are numbers", encoded({1: 2}), "result has the key 1, and keys of JSON are str")
said("a forbidden key", encoded({"__proto__": 2}), "result: the key __proto__ is not allowed")
said("a circle", str(encoded(loop))[-35:], "is nested deeper than 64, or in a circle"[-35:])


# Errors


def raised(error):
    return te._thrown_message(error)


cause = ValueError("outer")
cause.__cause__ = OSError("inner")
said("a cause", raised(cause), "outer (caused by: inner)")
said("a key", raised(KeyError("speed")), "KeyError: 'speed'")
said("no text", raised(ValueError()), "ValueError")
said("lines", raised(ValueError("a\nb")), "a b")
said("an exit", raised(SystemExit("no sensor")), 'the task called sys.exit("no sensor")')


# Files


def loaded(files, **modes):
    folder = os.path.realpath(tempfile.mkdtemp())
    os.chmod(folder, 0o755)
    for name, content in files.items():
        path = os.path.join(folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(content)
        os.chmod(path, modes.get(name.replace(".", "_"), 0o644))
    paths, finders = list(sys.path), list(sys.meta_path)
    modules = set(sys.modules)
    try:
        found = te._load_files(folder)
        return sorted(found.tasks) + [source.name for source in found.sources]
    except te._StartError as error:
        return str(error).replace(folder, "")
    finally:
        sys.path[:], sys.meta_path[:] = paths, finders
        for name in set(sys.modules) - modules:
            del sys.modules[name]


sys.modules["task_engine"] = te
said(
    "tasks, decorated ones and sources",
    loaded(
        {
            "a.py": "from task_engine import task, source\nfrom helper import speed\ndef task_a(): pass\n@task\ndef b(): pass\n"
            "@task()\nasync def task_c(): pass\n@source(every_ms=1, topic='t')\ndef source_s(): pass\nTASK_RETRIES = 3\n",
            "helper.py": "speed = 3\n",
            "again.py": "from a import task_a, b\ndef task_d(): pass\n",
            "test_a.py": "1/0",
            ".hidden.py": "1/0",
            "random.py": "def task_random(): pass\n",
        }
    ),
    ["a", "b", "c", "d", "random", "s"],
)
said(
    "one name twice",
    loaded({"a.py": "def task_a(): pass", "b.py": "def task_a(): pass"}),
    "/b.py: task_a names the task a, which /a.py defines already; rename one",
)
said("a syntax error", loaded({"a.py": "x = 1\ndef f(:\n"}), "/a.py:2:7 cannot be loaded: invalid syntax")
said("an error", loaded({"a.py": "\nx = {}['k']\n"}), "/a.py:2 cannot be loaded: KeyError: 'k'")
said(
    "a helper with a syntax error",
    loaded({"a.py": "import helper", "helper.py": "f("})[:62],
    "/a.py cannot be loaded: /helper.py:1:2 cannot be loaded: '(' was never closed"[:62]
    if sys.version_info >= (3, 10)
    else "/a.py cannot be loaded: /helper.py:1:3 cannot be loaded: unexpected EOF while parsing"[:62],
)
said(
    "a wrong policy",
    loaded({"a.py": "from task_engine import task\n@task(ttl_ms=0)\ndef a(): pass"}),
    "/a.py: a has a wrong ttl_ms: must be a number of ms, 1 to 604800000",
)
said("no function", loaded({"a.py": "task_a = 3"}), "/a.py: task_a is no function; rename it if it is no task")
unsafe = "is not safe to run tasks from: others can write it (mode 0666); chmod go-w"
said("a file that others can write", loaded({"a.py": "def task_a(): pass"}, a_py=0o666), f"/a.py {unsafe} /a.py")
said(
    "a helper that others can write",
    loaded({"a.py": "import helper2\ndef task_a(): pass", "helper2.py": ""}, helper2_py=0o666),
    f"/helper2.py {unsafe} /helper2.py",
)
said(
    "a package that others can write",
    loaded({"a.py": "from pack.sub import x\ndef task_a(): pass", "pack/__init__.py": "", "pack/sub.py": "x = 1"}, **{"pack/sub_py": 0o666}),
    f"/pack/sub.py {unsafe} /pack/sub.py",
)
