/**
 * Writes protobuf messages of unknown length into one growing buffer: for what is encoded once (plans)
 * and for log records. Data points do not come this way, see points.ts.
 */
import type { Attributes } from "../../../contract.ts";
import { ANY_VALUE, ARRAY_VALUE, KEY_VALUE } from "./fields.ts";

export type AttributeValue = string | number | boolean | readonly string[];

/** Bytes of `value` as a varint; value below 2^53. */
export function varintBytes(value: number): number {
  let bytes = 1;
  for (let rest = value; rest >= 128; rest = Math.floor(rest / 128)) bytes++;
  return bytes;
}

/** Writes a varint and returns the position after it. */
export function putVarint(bytes: Uint8Array, position: number, value: number): number {
  let at = position;
  let rest = value;
  while (rest >= 128) {
    bytes[at++] = (rest % 128) | 128;
    rest = Math.floor(rest / 128);
  }
  bytes[at++] = rest;
  return at;
}

export class Writer {
  #bytes: Buffer;
  #length = 0;

  constructor(capacity = 1024) {
    this.#bytes = Buffer.allocUnsafeSlow(capacity);
  }

  get length(): number {
    return this.#length;
  }

  /** What was written, in memory that the next `reset` gives away again. */
  view(): Buffer {
    return this.#bytes.subarray(0, this.#length);
  }

  /** What was written, in memory of its own. */
  copy(): Buffer {
    return Buffer.from(this.view());
  }

  reset(): void {
    this.#length = 0;
  }

  #reserve(bytes: number): void {
    const need = this.#length + bytes;
    if (need <= this.#bytes.length) return;
    const grown = Buffer.allocUnsafeSlow(Math.max(need, this.#bytes.length * 2));
    this.#bytes.copy(grown, 0, 0, this.#length);
    this.#bytes = grown;
  }

  byte(value: number): void {
    this.#reserve(1);
    this.#bytes[this.#length++] = value;
  }

  varint(tag: number, value: number): void {
    this.#reserve(11);
    this.#bytes[this.#length++] = tag;
    this.#length = putVarint(this.#bytes, this.#length, value);
  }

  /** An int64 field: a negative number takes ten bytes (two's complement). */
  int64(tag: number, value: number): void {
    if (value >= 0) return this.varint(tag, value);
    this.byte(tag);
    this.#reserve(10);
    let rest = BigInt.asUintN(64, BigInt(value));
    while (rest >= 128n) {
      this.#bytes[this.#length++] = Number(rest & 127n) | 128;
      rest >>= 7n;
    }
    this.#bytes[this.#length++] = Number(rest);
  }

  double(tag: number, value: number): void {
    this.byte(tag);
    this.#reserve(8);
    this.#length = this.#bytes.writeDoubleLE(value, this.#length);
  }

  /** A fixed64 field in nanoseconds from microseconds. */
  nanos(tag: number, time_us: number): void {
    this.byte(tag);
    this.#reserve(8);
    const high = Math.floor(time_us / 4294967296);
    const low = (time_us - high * 4294967296) * 1000;
    this.#bytes.writeInt32LE(low | 0, this.#length);
    this.#bytes.writeInt32LE((high * 1000 + Math.floor(low / 4294967296)) | 0, this.#length + 4);
    this.#length += 8;
  }

  string(tag: number, text: string): void {
    const bytes = Buffer.byteLength(text);
    this.varint(tag, bytes);
    this.#reserve(bytes);
    this.#bytes.write(text, this.#length, bytes, "utf8");
    this.#length += bytes;
  }

  bytes(tag: number, value: Uint8Array): void {
    this.varint(tag, value.length);
    this.raw(value);
  }

  raw(value: Uint8Array): void {
    this.#reserve(value.length);
    this.#bytes.set(value, this.#length);
    this.#length += value.length;
  }

  /** Begins a message field; `end` takes what this returns. */
  begin(tag: number): number {
    this.byte(tag);
    return this.#length;
  }

  /** Ends a message: puts its length before it. */
  end(begun: number): void {
    const size = this.#length - begun;
    const prefix = varintBytes(size);
    this.#reserve(prefix);
    this.#bytes.copyWithin(begun + prefix, begun, this.#length);
    putVarint(this.#bytes, begun, size);
    this.#length += prefix;
  }

  /** KeyValue fields under `tag`, one an attribute. */
  attributes(tag: number, attributes: Attributes | Readonly<Record<string, AttributeValue>>): void {
    for (const [key, value] of Object.entries(attributes)) {
      const pair = this.begin(tag);
      this.string(KEY_VALUE.key, key);
      const any = this.begin(KEY_VALUE.value);
      this.anyValue(value);
      this.end(any);
      this.end(pair);
    }
  }

  /** The fields of an AnyValue. A number without a fraction is an int, as people mean it in YAML. */
  anyValue(value: AttributeValue): void {
    if (typeof value === "string") this.string(ANY_VALUE.string, value);
    else if (typeof value === "boolean") this.varint(ANY_VALUE.bool, value ? 1 : 0);
    else if (typeof value === "number") {
      if (Number.isSafeInteger(value)) this.int64(ANY_VALUE.int, value);
      else this.double(ANY_VALUE.double, value);
    } else {
      const array = this.begin(ANY_VALUE.array);
      for (const item of value) {
        const any = this.begin(ARRAY_VALUE.values);
        this.string(ANY_VALUE.string, item);
        this.end(any);
      }
      this.end(array);
    }
  }
}
