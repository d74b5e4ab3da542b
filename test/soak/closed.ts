/** Fail closed, a hundred tries for each way in. */
import { setDefaultTimeout } from "bun:test";
import { closedSuite } from "../support/closed.ts";

setDefaultTimeout(120_000);
closedSuite(100, 3_000);
