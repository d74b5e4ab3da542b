import { expect, test } from "bun:test";
import { join } from "node:path";
import { supervisorVariable } from "../src/lifecycle.ts";

test("what the supervisor says before a role listens is heard when it does", async () => {
  const script = `
    import { dieWithSupervisor, onSupervisorMessage } from ${JSON.stringify(join(import.meta.dir, "../src/lifecycle.ts"))};
    dieWithSupervisor();
    await Bun.sleep(100);
    const heard = [];
    onSupervisorMessage((message) => {
      heard.push(message.type);
      if (message.type === "drain") { console.log(heard.join()); process.exit(0); }
    });`;
  const child = Bun.spawn([process.execPath, "-e", script], {
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, [supervisorVariable]: String(process.pid) },
    serialization: "json",
    ipc: () => undefined,
  });
  child.send({ type: "tasks", names: [] });
  child.send({ type: "drain" });
  expect(await child.stdout.text()).toBe("tasks,drain\n");
  expect(await child.exited).toBe(0);
});

test("a role whose supervisor is not its parent any more ends at once", async () => {
  const script = `
    import { dieWithSupervisor } from ${JSON.stringify(join(import.meta.dir, "../src/lifecycle.ts"))};
    dieWithSupervisor();
    console.log("lives on");`;
  const child = Bun.spawn([process.execPath, "-e", script], {
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, [supervisorVariable]: String(process.pid + 1) },
    serialization: "json",
    ipc: () => undefined,
  });
  expect(await child.stdout.text()).toBe("");
  expect(await child.exited).toBe(1);
});
