/**
 * What a serial device says: a message's `example` with moving values in the place of its groups, in
 * the frame that the profile describes. The inverse of adapters/sources/serial, from the same profile.
 */
import type { Device } from "#adapters/contract.ts";
import { checksumOf } from "#adapters/sources/serial/checksum.ts";
import type { SerialOptions } from "#adapters/sources/serial/options.ts";
import type { SerialMessage, SerialPoint } from "#profiles/schema.ts";
import { valueOf } from "../values.ts";

/** The bytes of a message at a time. */
export type Speak = (time_us: number) => Buffer;

/** Throws where the profile does not say how the message looks. */
export function compileAnswer(message: SerialMessage, device: Device<SerialPoint, SerialOptions>): Speak {
  const { example } = message;
  if (example === undefined) {
    throw new Error(`message ${message.name} of device ${device.id} has no example: nobody knows what to answer`);
  }
  const groups = new Map<string, (time_us: number) => string>();
  device.points.forEach((point, index) => {
    const [name, group] = point.address.split(".");
    const series = device.descriptor.series[index];
    if (name !== message.name || group === undefined || series === undefined) return;
    groups.set(group, (time_us) => textOf(point, valueOf(point, series, device.id, time_us)));
  });
  const parts = example.split(/\{([A-Za-z_][A-Za-z0-9_]*)(?::(\d+))?\}/);
  const pieces: ((time_us: number) => string)[] = [];
  for (let i = 0; i < parts.length; i += 3) {
    const literal = parts[i] ?? "";
    pieces.push(() => literal);
    const group = parts[i + 1];
    if (group === undefined) continue;
    const text = groups.get(group);
    if (text === undefined) throw new Error(`example of message ${message.name}: no point reads group ${group}`);
    const width = Number(parts[i + 2] ?? 0);
    pieces.push((time_us) => text(time_us).padStart(width));
  }
  const framing = device.options.framing ?? { end: "\r\n", max: 1024 };
  const encoding = device.options.encoding === "utf8" ? "utf8" : "latin1";
  return (time_us) => encodeFrame(framing, Buffer.from(pieces.map((piece) => piece(time_us)).join(""), encoding));
}

/** Unscaled, and as the token that the device would write. */
function textOf(point: SerialPoint, value: number | string): string {
  if (typeof value === "string") return value;
  const raw = Number(((value - point.offset) / point.scale).toPrecision(12));
  const token = Object.entries(point.map ?? {}).find(([, number]) => number === raw);
  return token?.[0] ?? String(raw);
}

/** A body as it stands on the line. */
export function encodeFrame(framing: NonNullable<SerialOptions["framing"]>, body: Uint8Array): Buffer {
  const start = Buffer.from(framing.start ?? "", "latin1");
  const end = Buffer.from(framing.end ?? "", "latin1");
  const { checksum } = framing;
  if (checksum === undefined) return Buffer.concat([start, body, end]);
  const covered = checksum.position === "after_end" ? [start, body, end] : [start, body];
  const bytes = Buffer.concat(covered);
  const sum = checksumOf(checksum, bytes, checksum.from === "start" ? 0 : start.length, bytes.length);
  return Buffer.concat(checksum.position === "after_end" ? [bytes, sum] : [bytes, sum, end]);
}
