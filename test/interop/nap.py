"""Tasks for a worker on another machine: `nap` of so many seconds, whose safe state is to be awake, and `add`."""
from task_engine import progress, sleep, task


def awake():
    print("awake")


@task(grace_ms=1000, on_stop=awake)
def nap(seconds: float):
    progress("naps")
    sleep(seconds)
    return "rested"


def task_add(a, b):
    return a + b
