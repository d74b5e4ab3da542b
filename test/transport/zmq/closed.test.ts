import { expect, setDefaultTimeout, test } from "bun:test";
import { curveServer } from "../../../src/security/curve.ts";
import { Router } from "../../../src/transport/zmq/socket.ts";
import { closedSuite } from "../../support/closed.ts";

setDefaultTimeout(60_000); // on a busy machine

closedSuite(5, 200);

test("no error message shows a secret key", () => {
  const secretKey = "not a key, but somebody's mistake in pasting one";
  expect(() => new Router(curveServer({ secretKey }))).toThrow(/^cannot set curveSecretKey to the value given/);
});
