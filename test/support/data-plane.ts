/** A data worker's stream port in this process, and a router by hand that leads to it. */
import { StreamPort } from "../../src/data/stream-port.ts";
import { warn } from "../../src/process/log.ts";
import { Gate } from "../../src/security/gate.ts";
import { handRouter, untilFree } from "./hand-router.ts";
import { freePorts } from "./ports.ts";
import { storeOf } from "./store.ts";

export const startDataPlane = (historyBytesMax?: number, valueBytesMax?: number) => {
  const publications = `tcp://127.0.0.1:${freePorts(1)}`;
  const port = freePorts(1);
  const make = () => {
    const gate = new Gate(null, warn);
    const store = storeOf(gate, historyBytesMax, valueBytesMax);
    return { gate, store, stream: new StreamPort(store, gate) };
  };
  const bind = (): void => worker.stream.bind({ host: "127.0.0.1", port, socket: null });
  let worker = make();
  bind();
  const end = (): void => {
    worker.store.close();
    worker.stream.close();
    worker.gate[Symbol.dispose]();
  };
  const router = handRouter();
  const dataWorkers = [{ publications, stream: `tcp://127.0.0.1:${port}` }];
  router.serve((arrived) => arrived.ack({ tasks: [], data: [publications], dataWorkers }));
  return {
    router: router.endpoint,
    /** The data worker dies, and another one begins at its port. */
    restart: async (): Promise<void> => {
      end();
      worker = make();
      await untilFree(bind);
    },
    [Symbol.dispose]: (): void => {
      end();
      router[Symbol.dispose]();
    },
  };
};
