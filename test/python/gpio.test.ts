/** Real drivers: Debian's `python3-gpiozero` with its mock pins; where it is missing this is left out. */
import { expect, test } from "bun:test";
import { connect } from "../../src/client/client.ts";
import { oneWorker, startEngine } from "../support/engine.ts";
import { python } from "../support/manager.ts";
import { tempFolder } from "../support/temp-folder.ts";

const hasGpiozero = Bun.spawnSync([python, "-c", "import gpiozero"]).success;

const robot = `
from gpiozero import LED, Motor
from task_engine import sleep, task

lamp = LED(17)
motor = Motor(forward=4, backward=14, pwm=False)

def off():
    lamp.off()
    motor.stop()
    print("lamp and motor are off")

@task(resources=["lamp"], on_stop=lamp.off)
def blink(times: int = 1):
    for _ in range(times):
        lamp.on()
        sleep(0.01)
        lamp.off()
    return times

@task(resources=["motors"], deadman_ms=300, on_stop=off)
def drive(seconds: float):
    lamp.on()
    motor.forward()
    sleep(seconds)
    off()

def task_pins():
    return {"lamp": lamp.is_lit, "motor": motor.value}
`;

test.skipIf(!hasGpiozero && process.env.CI === undefined)(
  "a lamp and a motor of gpiozero are tasks, and are off after a cancellation and after the death of their worker",
  async () => {
    using folder = tempFolder({
      "tasks/robot.py": robot,
      "task-engine.toml": '[env]\nGPIOZERO_PIN_FACTORY = "mock"\n',
    });
    const flags = [...oneWorker, "--python", python];
    await using engine = await startEngine({ cwd: folder.path, flags });
    await using client = connect(engine.endpoint);
    expect(await client.call("blink", [3])).toBe(3);

    const cancel = new AbortController();
    const { signal } = cancel;
    const running = client.call("drive", [60], {}, { signal });
    await until(async () => (await client.status()).workers.some(({ state }) => state === "busy"));
    cancel.abort();
    await expect(running).rejects.toMatchObject({ code: "CANCELLED" });
    expect(await client.call("pins")).toEqual({ lamp: false, motor: 0 });

    const again = client.call("drive", [60]).catch((failure: { code: string }) => failure.code);
    await until(async () => (await client.status()).workers.some(({ state }) => state === "busy"));
    const { workers } = await client.status();
    const pid = workers.find(({ language }) => language === "python")?.pid ?? 0;
    process.kill(pid, "SIGKILL");
    expect(await again).toBe("INTERRUPTED");
    expect(await client.call("pins")).toEqual({ lamp: false, motor: 0 });
    const off = [...engine.lines, ...engine.errorLines].filter((line) => line.endsWith("lamp and motor are off"));
    expect(off).toHaveLength(2);
  },
  60_000,
);

const until = async (isSo: () => Promise<boolean>): Promise<void> => {
  while (!(await isSo())) await Bun.sleep(5);
};
