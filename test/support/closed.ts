/** Fail closed: whatever is wrong or missing on either side, not one message gets through. */
import { describe, expect, test } from "bun:test";
import { chmodSync } from "node:fs";
import { warn } from "../../src/process/log.ts";
import { programText } from "../../src/python/program.ts";
import { writeCertificate } from "../../src/security/certificate.ts";
import { curveClient, curveServer } from "../../src/security/curve.ts";
import { Gate } from "../../src/security/gate.ts";
import { makeKeyPair } from "../../src/security/keys.ts";
import { startZap } from "../../src/security/zap.ts";
import { Keyring } from "../../src/supervisor/keyring.ts";
import { ZmqListener } from "../../src/transport/zmq/listener.ts";
import { Dealer, Router, XPublisher } from "../../src/transport/zmq/socket.ts";
import { makeKeys } from "./keys.ts";
import { python } from "./manager.ts";
import { countArrivals, deliveredOf } from "./strangers.ts";
import { tempFolder } from "./temp-folder.ts";

/** ms. A test that waits as long has failed. */
const patienceMs = 20_000;

const keys = makeKeys();
const { engine, laptop, security } = keys;
const asLaptop = curveClient(engine.publicKey, laptop);

/** Connects so many times, with the task_engine.py of its stdin, and says what becomes of it. */
const knocking = `import sys
names = {"__name__": "task_engine"}
exec(sys.stdin.read(), names)
for _ in range(int(sys.argv[2])):
    try:
        names["ZmtpSocket"].connect("ipc://" + sys.argv[1]).send([b"let me in"])
        print("sent")
    except OSError as error:
        print(type(error).__name__)
`;

const text = (frames: readonly Buffer[], index: number): string => Buffer.from(frames[index] ?? []).toString();

const bound = (options = curveServer(engine)): Router => {
  const port = new Router({ ...options, receiveHighWaterMark: 0 });
  port.bind("tcp://127.0.0.1:*");
  return port;
};

/** @param settleMs ms in which a message would come, if it were to come */
export const closedSuite = (tries: number, settleMs: number): void => {
  test("whoever is authorized comes in, each time", async () => {
    using gate = new Gate(security, warn);
    using port = bound(gate.serverOptions);
    expect(await deliveredOf(port, patienceMs, () => asLaptop, tries)).toBe(tries);
    expect(gate.userOf(port)).toBe("laptop");
  });

  describe("nobody comes in", () => {
    const strangers = {
      "without keys (NULL)": () => ({}),
      "with a password (PLAIN)": () => ({ plainUsername: "laptop", plainPassword: "secret" }),
      "with another server's key": () => curveClient(makeKeyPair().publicKey, laptop),
      "with a key that is not authorized": () => curveClient(engine.publicKey, makeKeyPair()),
      "with an authorized public key alone": () =>
        curveClient(engine.publicKey, { publicKey: laptop.publicKey, secretKey: makeKeyPair().secretKey }),
    };
    test.each(Object.entries(strangers))("%s", async (_, options) => {
      using gate = new Gate(security, warn);
      using port = bound(gate.serverOptions);
      expect(await deliveredOf(port, settleMs, options, tries)).toBe(0);
      expect(await deliveredOf(port, patienceMs, () => asLaptop, 1)).toBe(1);
    });

    test("where there is no ZAP handler (any more)", async () => {
      const gate = new Gate(security, warn);
      using port = bound(gate.serverOptions);
      expect(await deliveredOf(port, patienceMs, () => asLaptop, 1)).toBe(1);
      gate[Symbol.dispose]();
      expect(await deliveredOf(port, settleMs, () => asLaptop, tries)).toBe(0);
    });

    test("where the ZAP handler does not answer", async () => {
      using hung = new Router();
      hung.bind("inproc://zeromq.zap.01");
      using port = bound();
      expect(await deliveredOf(port, settleMs, () => asLaptop, tries)).toBe(0);
      expect(hung.readable).toBe(true);
      hung.unbind("inproc://zeromq.zap.01");
    });

    test("where the ZAP domain is empty: there is no such port, and no such question is answered with yes", async () => {
      for (const hole of [{ zapDomain: "" }, { zapEnforceDomain: false }]) {
        expect(() => new Router({ ...curveServer(engine), ...hole })).toThrow("needs a ZAP domain");
      }
      expect(() => new Router({ curveServer: true, curveSecretKey: engine.secretKey })).toThrow("needs a ZAP domain");
      using _ = startZap(() => "laptop");
      using asker = new Dealer();
      asker.connect("inproc://zeromq.zap.01");
      const key = new Uint8Array(32);
      const codeFor = async (...question: (string | Uint8Array)[]): Promise<string> => {
        asker.trySend(["", "1.0", "1", ...question]);
        return text(await asker.receive(), 3);
      };
      expect(await codeFor("task-engine", "127.0.0.1", "", "CURVE", key)).toBe("200");
      for (let count = 0; count < tries; count++) {
        expect(await codeFor("", "127.0.0.1", "", "CURVE", key)).toBe("400");
      }
      expect(await codeFor("task-engine", "127.0.0.1", "", "NULL")).toBe("400");
      expect(await codeFor("task-engine", "127.0.0.1", "", "PLAIN", "laptop", "secret")).toBe("400");
      expect(await codeFor("task-engine", "127.0.0.1", "", "CURVE", key.subarray(1))).toBe("400");
      expect(await codeFor()).toBe("400");
    });

    test("whose key is revoked, over a connection from before or a new one; the others stay connected", async () => {
      const other = makeKeyPair();
      const others = `${other.publicKey} phone send\n`;
      using gate = new Gate({ ...security, authorized: security.authorized + others }, warn);
      using port = bound(gate.serverOptions);
      gate.guard(port, 0);
      const connect = (options: object): Dealer => {
        const dealer = new Dealer({ ...options, hiccupMessage: "lost", reconnectInterval: 50 });
        dealer.connect(port.lastEndpoint);
        return dealer;
      };
      const untilSent = async (dealer: Dealer): Promise<void> => {
        while (dealer.trySend(["", "hello"]) !== "sent") await Bun.sleep(5);
        while (port.tryReceive() === null) await Bun.sleep(1);
      };
      using phone = connect(curveClient(engine.publicKey, other));
      await untilSent(phone);
      expect(gate.userOf(port)).toBe("phone");
      const laptops = Array.from({ length: tries }, () => connect(asLaptop));
      for (const dealer of laptops) {
        await untilSent(dealer);
        expect(gate.userOf(port)).toBe("laptop");
      }
      // Two of them have a message on its way, which comes from nobody.
      gate.admit(others);
      for (const dealer of laptops) expect(text(await dealer.receive(), 0)).toBe("lost");
      for (const dealer of laptops) dealer.trySend(["", "let me in"]);
      expect(await countArrivals(port, settleMs, tries)).toBe(0);
      expect(await deliveredOf(port, settleMs, () => asLaptop, tries)).toBe(0);
      await untilSent(phone);
      expect(gate.userOf(port)).toBe("phone");
      expect(phone.tryReceive()).toBeNull();
      for (const dealer of laptops) dealer.close();
    });

    test("where the file of authorized clients is missing, unreadable, another's, or wrong", async () => {
      using folder = tempFolder();
      writeCertificate(folder.path, "engine", engine, false);
      const texts: (string | null)[] = [null, "not a line", security.authorized];
      for (const text of texts) {
        if (text !== null) await Bun.write(folder.at("authorized"), text);
        if (text === security.authorized) chmodSync(folder.at("authorized"), 0o666);
        const keyring = new Keyring(folder.at("engine.key_secret"), folder.at("authorized"));
        using gate = new Gate(keyring.security, warn);
        using port = bound(gate.serverOptions);
        expect(await deliveredOf(port, settleMs, () => asLaptop, tries)).toBe(0);
        if (text !== security.authorized) continue;
        chmodSync(folder.at("authorized"), 0o644);
        gate.admit(keyring.readAgain());
        expect(await deliveredOf(port, patienceMs, () => asLaptop, 1)).toBe(1);
      }
    });

    test.skipIf(process.geteuid?.() !== 0)("as another user, at the socket of Python's workers", async () => {
      using gate = new Gate(security, warn);
      using folder = tempFolder();
      chmodSync(folder.path, 0o755);
      const listener = new ZmqListener(gate.localRouterOptions, "⇒");
      using port = listener.socket;
      listener.bindLocal(folder.at("python.sock"));
      const knock = (user: readonly string[], count: number) =>
        Bun.spawn([...user, python, "-c", knocking, folder.at("python.sock"), `${count}`], {
          stdin: Buffer.from(programText),
          stdout: "pipe",
        });
      const nobody = ["setpriv", "--reuid=65534", "--clear-groups"];
      expect(await knock(nobody, tries).stdout.text()).toBe("PermissionError\n".repeat(tries));
      // Even where anybody may open it.
      chmodSync(folder.at("python.sock"), 0o666);
      const stranger = knock(nobody, tries);
      expect(await countArrivals(port, settleMs, tries)).toBe(0);
      expect(await stranger.stdout.text()).not.toContain("sent");
      const own = knock([], 1);
      // It, and the end of its connection.
      expect(await countArrivals(port, patienceMs, 2)).toBe(2);
      expect(await own.stdout.text()).toBe("sent\n");
    });

    test("at a port of publications, for which a subscription is a message too", async () => {
      using gate = new Gate(security, warn);
      using port = new XPublisher(gate.serverOptions);
      port.bind("tcp://127.0.0.1:*");
      expect(await deliveredOf(port, settleMs, () => ({}), tries)).toBe(0);
    });
  });
};
