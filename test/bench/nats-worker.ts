/** A worker of NATS, as its documentation writes one: `bun nats-worker.ts MODULE URL`. */
const [, , module = "nats", servers = ""] = process.argv;
const { connect } = await import(module);
const connection = await connect({ servers, waitOnFirstConnect: true, reconnectTimeWait: 20 });
const decoder = new TextDecoder();
for await (const message of connection.subscribe("count", { queue: "workers" })) {
  const { args } = JSON.parse(decoder.decode(message.data));
  message.respond(JSON.stringify({ data: args[0] + args[1], pack: Date.now() / 1000 }));
}
