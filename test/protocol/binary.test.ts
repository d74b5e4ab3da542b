/** Replies with a binary result, and typed arrays as bytes. */
import { expect, test } from "bun:test";
import { arrayOf, bytesIn, typeOfArray } from "../../src/protocol/arrays.ts";
import { ProtocolError } from "../../src/protocol/errors.ts";
import { decodeMeta } from "../../src/protocol/frames.ts";
import { decodeReply, encodeBinaryMeta, encodeReplyMeta } from "../../src/protocol/replies.ts";

test("the type of a result goes through META, also after META of JSON that begins alike", () => {
  const type = { contentType: 'text/x; a="pack":', dtype: undefined, shape: undefined };
  const json = encodeReplyMeta("TASK-1", "ACK", 0.3, "s-1");
  for (let round = 0; round < 2; round++) {
    expect(decodeReply([json, '{"data":1,"pack":1}'])).toMatchObject({ kind: "ack", data: 1 });
    const reply = decodeReply([encodeBinaryMeta("TASK-1", type, "s-1"), "text"]);
    expect(reply).toMatchObject({
      kind: "binary",
      type: { contentType: type.contentType },
      bytes: Buffer.from("text"),
    });
  }
});

test("a reply whose bytes do not fit its type is none", () => {
  const type = { contentType: "application/octet-stream", dtype: "int32", shape: [2] } as const;
  expect(decodeReply([encodeBinaryMeta("TASK-1", type), Buffer.alloc(8)])).toMatchObject({ kind: "binary" });
  expect(decodeReply([encodeBinaryMeta("TASK-1", type), Buffer.alloc(7)])).toBeInstanceOf(ProtocolError);
  const meta = encodeReplyMeta("TASK-1", "ACK", 0.3).replace("}", ',"contentType":7}');
  expect(decodeReply([meta, Buffer.alloc(7)])).toBeInstanceOf(ProtocolError);
});

test("META with onBehalf that does not say the rights of that person is refused", () => {
  const meta = '{"id":"a","role":"requestor","version":0.3,"type":"REQ","pack":1,"onBehalf":"eve"}';
  expect(decodeMeta(meta)).toMatchObject({
    code: "BAD_FRAME",
    message: 'META.onBehalf: Invalid type: Expected Object but received "eve"',
  });
});

test.each([
  new Int8Array([-1]),
  new Uint8Array([255]),
  new Int16Array([-2]),
  new Uint16Array([65_535]),
  new Float16Array([0.5]),
  new Int32Array([-3]),
  new Uint32Array([2 ** 32 - 1]),
  new Float32Array([0.25]),
  new BigInt64Array([-4n]),
  new BigUint64Array([2n ** 63n]),
  new Float64Array([0.1]),
])("%p comes back as it went, also from bytes that are not aligned", (array) => {
  const type = typeOfArray(array, {});
  const unaligned = Buffer.concat([Buffer.alloc(1), bytesIn(array)]).subarray(1);
  const back = arrayOf(unaligned, type);
  expect(back).toEqual(array);
  expect(back.constructor).toBe(array.constructor);
});
