/**
 * What a device's profile says, compiled once: its messages with their patterns, the points that each
 * fills, and the frame that carries them. Immutable but for the frames, which are lent.
 *
 *   messages ─┬─ with a request: a poll group each
 *             └─ without: pushed
 */
import { framingProblem, namedGroups, patternProblem } from "#profiles/checks/serial.ts";
import type { SerialMessage, SerialPoint } from "#profiles/schema.ts";
import { type Device, LinesideError, type PollGroup } from "../../contract.ts";
import { createFrame, type Frame, resetFrame } from "../../frame.ts";
import { bad, type Quality } from "../../quality.ts";
import { compileWriter, type Writer } from "./decode.ts";
import type { Framing } from "./framer.ts";
import type { SerialOptions } from "./options.ts";

export interface Message {
  readonly name: string;
  /** What is sent to get it; null where the device sends it by itself. */
  readonly request: Uint8Array | null;
  readonly points: Uint32Array;
  /** Fills and gives back the message's frame from the text of a frame on the line; null where it is another message. */
  readonly read: (text: string) => Frame | null;
  /** The message's frame, all bad for one reason. */
  readonly spoil: (quality: Quality) => Frame;
}

export interface Plan {
  readonly framing: Framing;
  readonly encoding: "latin1" | "utf8";
  /** Those that are polled; `groups[i]` polls `requests[i]`. */
  readonly requests: readonly Message[];
  readonly groups: readonly PollGroup[];
  /** Those that come by themselves. */
  readonly unsolicited: readonly Message[];
  readonly pushed: Uint32Array;
  readonly timeout_ms: number;
  readonly pause_ms: number;
  /** null: silence means nothing. */
  readonly silent_after_ms: number | null;
}

const DEFAULT_FRAMING: Framing = { end: "\r\n", max: 1024 };

/** Throws LinesideError `config` where the device cannot be read as it is described. */
export function compilePlan(device: Device<SerialPoint, SerialOptions>): Plan {
  const { options } = device;
  const fail = (what: string): never => {
    throw new LinesideError("config", `device ${device.id}: ${what}`);
  };
  const framing = options.framing ?? DEFAULT_FRAMING;
  const problem = framingProblem(framing);
  if (problem !== null) fail(`serial.framing: ${problem}`);
  const encoding = options.encoding === "utf8" ? "utf8" : "latin1";

  const byMessage = new Map<string, number[]>();
  for (const { name } of options.messages ?? []) byMessage.set(name, []);
  device.points.forEach((point, index) => {
    const [message = ""] = point.address.split(".");
    const members = byMessage.get(message);
    if (members === undefined) return fail(`point ${point.name}: there is no message '${message}' in serial.messages`);
    members.push(index);
  });

  const requests: Message[] = [];
  const groups: PollGroup[] = [];
  const unsolicited: Message[] = [];
  for (const message of options.messages ?? []) {
    for (const pattern of [message.pattern, ...Object.keys(message.errors ?? {})]) {
      const wrong = patternProblem(pattern);
      if (wrong !== null) fail(`message ${message.name}: ${wrong}`);
    }
    const members = byMessage.get(message.name) ?? [];
    // A message without points is not asked for; one that comes by itself is known for what it is.
    if (members.length === 0 && message.request !== undefined) continue;
    const compiled = compileMessage(message, members, device, encoding, fail);
    if (message.request === undefined) unsolicited.push(compiled);
    else {
      requests.push(compiled);
      const every_ms = message.every ?? Math.min(...members.map((index) => device.points[index]?.every ?? 1000));
      groups.push({ every_ms, points: compiled.points });
    }
  }
  return {
    framing,
    encoding,
    requests,
    groups,
    unsolicited,
    pushed: Uint32Array.from(unsolicited.flatMap(({ points }) => [...points])),
    timeout_ms: options.timeout ?? 1000,
    pause_ms: options.pause ?? 0,
    silent_after_ms: options.silent_after ?? null,
  };
}

interface Field {
  readonly group: string;
  readonly write: Writer;
}

function compileMessage(
  message: SerialMessage,
  members: readonly number[],
  device: Device<SerialPoint, SerialOptions>,
  encoding: "latin1" | "utf8",
  fail: (what: string) => never,
): Message {
  const known = namedGroups(message.pattern);
  const hasUnit = known.includes("unit");
  const fields = members.map((index): Field => {
    const point = device.points[index];
    const series = device.descriptor.series[index];
    if (point === undefined || series === undefined) throw new RangeError(`no point or series ${index}`);
    const group = point.address.slice(message.name.length + 1);
    if (!known.includes(group))
      fail(`point ${point.name}: the pattern of message ${message.name} has no group '${group}'`);
    return { group, write: compileWriter(point, series, hasUnit) };
  });
  const points = Uint32Array.from(members);
  const frame = createFrame(points);
  if (members.some((index) => device.descriptor.series[index]?.value === "text")) frame.texts = members.map(() => null);
  // `s`: a frame may hold line ends where something else ends it.
  const whole = new RegExp(`^(?:${message.pattern})$`, "s");
  const errors = Object.entries(message.errors ?? {}).map(([pattern, reason]) => ({
    pattern: new RegExp(pattern, "s"),
    quality: bad(reason),
  }));

  const spoil = (quality: Quality): Frame => {
    resetFrame(frame);
    frame.doubles.fill(0);
    frame.texts?.fill(null);
    frame.quality.fill(quality);
    return frame;
  };
  return {
    name: message.name,
    request: message.request === undefined ? null : Buffer.from(message.request, encoding),
    points,
    spoil,
    read(text) {
      // First, for a broad pattern (any code that a scanner may read) also takes what means that there is none.
      for (const { pattern, quality } of errors) if (pattern.test(text)) return spoil(quality);
      const match = whole.exec(text);
      if (match === null) return null;
      const groups = match.groups;
      const unit = groups?.["unit"];
      resetFrame(frame);
      frame.texts?.fill(null);
      for (let row = 0; row < fields.length; row += 1) {
        const field = fields[row];
        if (field !== undefined) field.write(frame, row, groups?.[field.group], unit);
      }
      return frame;
    },
  };
}
