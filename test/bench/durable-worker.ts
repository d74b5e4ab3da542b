/** The worker of a queue beside ours: `bun durable-worker.ts beanstalkd|bullmq PORT`. It runs `count` and forgets the job. */
import { connect } from "node:net";
import { join } from "node:path";

const [system, port = ""] = process.argv.slice(2);
const count = (args: readonly number[]): number => args.reduce((sum, value) => sum + value, 0);

if (system === "beanstalkd") {
  // It has as many jobs reserved as ours has dispatched, and tells of the end of each.
  const socket = connect(Number(port), "127.0.0.1");
  let text = "";
  socket.setNoDelay(true);
  socket.on("data", (bytes) => {
    text += bytes.toString("latin1");
    for (;;) {
      const line = text.indexOf("\r\n");
      if (line < 0) return;
      const [word, id = "", size = "0"] = text.slice(0, line).split(" ");
      const end = line + 2 + (word === "RESERVED" ? Number(size) + 2 : 0);
      if (text.length < end) return;
      if (word === "RESERVED") {
        count(JSON.parse(text.slice(line + 2, end - 2)).args);
        socket.write(`delete ${id}\r\nreserve\r\n`);
      }
      text = text.slice(end);
    }
  });
  socket.write("reserve\r\n");
} else {
  const { Worker } = await import(join(process.env.BENCH_MODULES ?? "", "bullmq"));
  new Worker("bench", async (job: { data: { args: number[] } }) => count(job.data.args), {
    connection: { host: "127.0.0.1", port: Number(port) },
    concurrency: 64,
  });
}
process.send?.("ready");
