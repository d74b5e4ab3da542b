import { expect, test } from "bun:test";
import { closeSync } from "node:fs";
import { join } from "node:path";
import { Channel, openChannelPair } from "../../src/process/channel.ts";
import type { ChildMessage, SupervisorMessage } from "../../src/process/messages.ts";
import { supervisorVariable } from "../../src/process/supervised.ts";

const startChild = (script: string, supervisor: number) => {
  const { ours, theirs } = openChannelPair();
  const child = Bun.spawn([process.execPath, "-e", script], {
    stdio: ["ignore", "pipe", "inherit", theirs],
    env: { ...process.env, [supervisorVariable]: String(supervisor) },
  });
  closeSync(theirs);
  return { child, channel: new Channel<ChildMessage, SupervisorMessage>(ours, () => undefined) };
};

test("what the supervisor says before a role listens is heard when it does", async () => {
  const script = `
    import { dieWithSupervisor, onSupervisorMessage } from ${JSON.stringify(join(import.meta.dir, "../../src/process/supervised.ts"))};
    dieWithSupervisor();
    await Bun.sleep(100);
    const heard = [];
    onSupervisorMessage((message) => {
      heard.push(message.type);
      if (message.type === "drain") { console.log(heard.join()); process.exit(0); }
    });`;
  const { child, channel } = startChild(script, process.pid);
  channel.send({ type: "tasks", tasks: [] });
  channel.send({ type: "drain" });
  expect(await child.stdout.text()).toBe("tasks,drain\n");
  expect(await child.exited).toBe(0);
});

test("a role whose supervisor is not its parent any more ends at once", async () => {
  const script = `
    import { dieWithSupervisor } from ${JSON.stringify(join(import.meta.dir, "../../src/process/supervised.ts"))};
    dieWithSupervisor();
    console.log("lives on");`;
  const { child } = startChild(script, process.pid + 1);
  expect(await child.stdout.text()).toBe("");
  expect(await child.exited).toBe(1);
});
