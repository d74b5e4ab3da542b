import { expect, setDefaultTimeout, test } from "bun:test";
import { closeSync, writeSync } from "node:fs";
import { channelLineLengthMax } from "../../src/limits.ts";
import { Channel, channelDescriptor, openChannelPair } from "../../src/process/channel.ts";

setDefaultTimeout(60_000); // a busy machine computes slowly

type Message = { readonly text: string };

/** Both ends in this process, and what the first has heard. */
const connected = () => {
  const { ours, theirs } = openChannelPair();
  const heard: Message[] = [];
  return { channel: new Channel<Message, Message>(ours, (message) => heard.push(message)), theirs, heard };
};

test("messages arrive whole and in their order, long ones too, in both directions", async () => {
  const { ours, theirs } = openChannelPair();
  const all = Promise.withResolvers<Message[]>();
  const heard: Message[] = [];
  const messages = Array.from({ length: 50 }, (_, index) => ({ text: `ü${"x".repeat(index * 2_000)}` }));
  const left = new Channel<Message, Message>(ours, (message) => {
    heard.push(message);
    if (heard.length === messages.length) all.resolve(heard);
  });
  const right = new Channel<Message, Message>(theirs, (message) => right.send(message));
  for (const message of messages) left.send(message);
  expect(await all.promise).toEqual(messages);
});

test("what is no message is of no meaning, and an endless line ends the channel", async () => {
  const { channel, theirs, heard } = connected();
  const sink = Bun.file(theirs).writer();
  sink.write('null\n7\n{"text":\n\n{"text":"hello"}\n');
  sink.write("x".repeat(channelLineLengthMax + 1));
  await Promise.all([sink.flush(), channel.ended]);
  closeSync(theirs);
  expect(heard).toEqual([{ text: "hello" }]);
});

test("an end that is gone is noticed, and told nothing more", async () => {
  const { channel, theirs, heard } = connected();
  writeSync(theirs, '{"text":"last words"}\n');
  // Unread by the other end: to it that is a reset, not an end.
  channel.send({ text: "never read" });
  closeSync(theirs);
  await channel.ended;
  channel.send({ text: "to nobody" });
  expect(heard).toEqual([{ text: "last words" }]);
});

test("what a process says right before its end is heard", async () => {
  const { ours, theirs } = openChannelPair();
  const heard: Message[] = [];
  const channel = new Channel<Message, Message>(ours, (message) => heard.push(message));
  const script = `
    import { Channel, channelDescriptor } from ${JSON.stringify(`${import.meta.dir}/../../src/process/channel.ts`)};
    const channel = new Channel(channelDescriptor, () => undefined);
    channel.send({ text: "online" });
    channel.send({ text: "fatal" });
    process.exit(0);`;
  const command = [process.execPath, "-e", script];
  const child = Bun.spawn(command, { stdio: ["ignore", "inherit", "inherit", theirs] });
  closeSync(theirs);
  await Promise.all([child.exited, channel.ended]);
  expect(channelDescriptor).toBe(3);
  expect(heard).toEqual([{ text: "online" }, { text: "fatal" }]);
});

test.each([10, 5_000, 1_000_000])("a message of %d characters to an end that is gone harms nobody", async (length) => {
  const { channel, theirs } = connected();
  closeSync(theirs);
  // At once: that the other end has gone is not noticed yet. A rejection that nobody handles fails the test.
  channel.send({ text: "x".repeat(length) });
  await channel.ended;
  await Bun.sleep(1);
  channel.send({ text: "to nobody" });
});
