import ctypes
import os
import time

from task_engine import sleep, task


def turn(speed):
    with open(os.environ["MOTOR"], "w") as motor:
        motor.write(str(speed))


def off():
    turn(0)


@task(resources=["motors"], deadman_ms=300, on_stop=off)
def drive(seconds: float, speed: float = 1):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        turn(speed)
        sleep(0.01)
    turn(0)
    return "there"


@task(resources=["motors"], deadman_ms=300, timeout_ms=1000, on_stop=off)
def spin(seconds: float):
    turn(1)
    while True:
        pass


# C code that keeps the interpreter's lock: nothing of Python runs until it returns.
@task(resources=["motors"], deadman_ms=300, timeout_ms=1000, on_stop=off)
def hold(seconds: float):
    turn(1)
    ctypes.PyDLL(None).sleep(int(seconds))
