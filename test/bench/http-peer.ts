/**
 * What the gateway is measured beside: `http-peer.ts bare` answers `{"args": [2, 3]}` itself, and `http-peer.ts bridge ENDPOINT STATE` has the
 * engine answer it, with nothing of the gateway around the call. Prints its port.
 */
import { connect } from "../../src/client/client.ts";

const [mode, endpoint, state = ""] = process.argv.slice(2);
const engine = mode === "bridge" ? connect(endpoint, { state }) : null;
const answer =
  engine === null
    ? ([left = 0, right = 0]: readonly number[]) => left + right
    : (args: readonly number[]) => engine.call("count", [...args]);

const server = Bun.serve({
  port: 0,
  hostname: "127.0.0.1",
  development: false,
  fetch: async (request) => {
    const { args } = (await request.json()) as { args: number[] };
    return Response.json({ data: await answer(args) });
  },
});
process.stdout.write(`${server.port}\n`);
