/** How NATS knows who connects: the seed of an nkey in a file of one's own, and TLS. */
import { test as anyTest, expect, setDefaultTimeout } from "bun:test";
import { chmodSync, writeFileSync } from "node:fs";
import { nkeys } from "@nats-io/transport-node";
import { connect } from "task-engine";
import { oneWorker, runCommand, startEngine } from "../support/engine.ts";
import { taskEngine } from "../support/executable.ts";
import { lacksNats, startHub } from "../support/nats.ts";
import { rejection } from "../support/rejection.ts";
import { tempFolder } from "../support/temp-folder.ts";

setDefaultTimeout(120_000);

const test = anyTest.skipIf(lacksNats);

test("a hub that demands nkeys and TLS lets in who has them, and a stranger gets one line", async () => {
  const user = nkeys.createUser();
  using folder = tempFolder({ "seed.nk": new TextDecoder().decode(user.getSeed()) });
  const certificate = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
  const names = ["-subj", "/CN=hub", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"];
  const files = ["-keyout", folder.at("key.pem"), "-out", folder.at("cert.pem")];
  expect(Bun.spawnSync(["openssl", ...certificate, ...names, ...files]).exitCode).toBe(0);
  const tls = `tls { cert_file: "${folder.at("cert.pem")}", key_file: "${folder.at("key.pem")}" }`;
  await using hub = await startHub(
    `jetstream: enabled\n${tls}\nauthorization { users: [{ nkey: ${user.getPublicKey()} }] }`,
  );
  const flags = [
    "--nats",
    hub.url,
    "--robot",
    "r7",
    "--nats-creds",
    folder.at("seed.nk"),
    "--nats-ca",
    folder.at("cert.pem"),
  ];
  const open = { robot: "r7", creds: folder.at("seed.nk"), ca: folder.at("cert.pem") };
  expect(await rejection(connect(hub.url as `nats://${string}`, open))).toMatchObject({
    code: "BAD_ARGS",
    message: expect.stringMatching(/is a secret that others can read or write/),
  });
  chmodSync(folder.at("seed.nk"), 0o600);
  const env = { PATH: process.env.PATH ?? "" };
  // The engine has keys, too: its link needs none, as a program of its own user.
  expect(await runCommand(taskEngine, ["keygen", "engine", "--dir", folder.path], { env })).toMatchObject({
    exitCode: 0,
  });
  writeFileSync(folder.at("authorized"), "# nobody\n", { mode: 0o600 });
  const settings = '[link]\nallow = ["send:count"]\n';
  writeFileSync(folder.at("task-engine.toml"), settings, { mode: 0o644 });
  const keys = ["--key", folder.at("engine.key_secret")];
  await using engine = await startEngine({ cwd: folder.path, flags: [...oneWorker, ...keys, ...flags] });
  await engine.line(/\[LINK\] r7 listens/);
  await using robot = await connect(hub.url as `nats://${string}`, open);
  expect(await robot.call("count", [2, 3])).toBe(5);
  expect(await rejection(robot.reset())).toMatchObject({
    code: "UNAUTHORIZED",
    message: "client fleet lacks the right control",
  });
  const seen = await runCommand(taskEngine, ["robots", ...flags.slice(0, 2), ...flags.slice(4)], { env });
  expect(seen).toMatchObject({ exitCode: 0, stdout: expect.stringMatching(/^r7 +ready/m) });
  const stop = await runCommand(taskEngine, ["estop", ...flags], { env });
  expect(stop).toMatchObject({ exitCode: 0, stdout: expect.stringMatching(/^r7: stopped since/) });
  const { creds: _, ...stranger } = open;
  expect(await rejection(connect(hub.url as `nats://${string}`, stranger))).toMatchObject({ code: "UNAUTHORIZED" });
});
