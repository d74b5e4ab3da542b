/** Typed arrays as bytes, and bytes as the typed array that their `dtype` names. */
import { arrayType, type BinaryType, type ItemType, type PayloadType } from "./values.ts";

const arrays = {
  bool: Uint8Array,
  int8: Int8Array,
  uint8: Uint8Array,
  int16: Int16Array,
  uint16: Uint16Array,
  float16: Float16Array,
  int32: Int32Array,
  uint32: Uint32Array,
  float32: Float32Array,
  int64: BigInt64Array,
  uint64: BigUint64Array,
  float64: Float64Array,
} as const satisfies Record<ItemType, unknown>;

/** The bytes of a binary value, in the typed array that its `dtype` names, else as they are. */
export type BinaryData = InstanceType<(typeof arrays)[ItemType]>;

/** Returns `uint8` for an array without a `dtype` of its own: DataView, ArrayBuffer. */
const itemTypeOf = (value: ArrayBufferView | ArrayBufferLike): ItemType =>
  (Object.keys(arrays) as ItemType[]).findLast((dtype) => value instanceof arrays[dtype]) ?? "uint8";

const isBuffer = (value: unknown): value is ArrayBufferLike =>
  value instanceof ArrayBuffer || value instanceof SharedArrayBuffer;

/** True for a typed array, a Buffer, a DataView and an ArrayBuffer. */
export const isBinary = (value: unknown): value is ArrayBufferView | ArrayBufferLike =>
  ArrayBuffer.isView(value) || isBuffer(value);

/** Without a copy. */
export const bytesIn = (value: ArrayBufferView | ArrayBufferLike): Buffer =>
  isBuffer(value) ? Buffer.from(value) : Buffer.from(value.buffer, value.byteOffset, value.byteLength);

/** The type of an array of which nothing else is said: one dimension of its items. */
export const typeOfArray = (value: ArrayBufferView | ArrayBufferLike, { dtype, shape }: PayloadType): BinaryType => {
  const item = dtype ?? itemTypeOf(value);
  return {
    contentType: arrayType,
    dtype: item,
    shape: shape ?? [Math.floor(value.byteLength / arrays[item].BYTES_PER_ELEMENT)],
  };
};

/** A copy, since an array of longer items cannot begin anywhere. */
export const arrayOf = (bytes: Uint8Array, { dtype = "uint8" }: PayloadType): BinaryData =>
  new arrays[dtype](new Uint8Array(bytes).buffer);
