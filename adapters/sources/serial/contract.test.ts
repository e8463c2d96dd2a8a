/** The source passes the shared contract over a pty and over TCP, asked and unasked. */
import { type SerialOptions, serialPortOptions, serialTcpOptions } from "./options.ts";
import { makeDevice } from "#test/contract/device.ts";
import { type SourceRig, sourceSuite } from "#test/contract/source.ts";
import { simulateSerial } from "#test/hardware-sim/serial/simulate.ts";
import type { SerialPoint } from "#profiles/schema.ts";
import { createSource } from "./source.ts";

const TIMEOUT_MS = 120;

/** A scale that is asked for its weight, and for who it is. */
const asked = {
  section: {
    timeout: `${TIMEOUT_MS}ms`,
    messages: [
      {
        name: "weight",
        request: "SI\r\n",
        pattern: "S (?<stable>[SD]) +(?<weight>-? *[\\d.]+) (?<unit>\\S+)",
        errors: { "^S \\+": "overload", "^S -": "underload", "^E[STL]$": "refused" },
        example: "S {stable} {weight:10} g",
      },
      { name: "version", request: "I3\r\n", pattern: 'I3 A "(?<software>[^"]*)"', example: 'I3 A "{software}"' },
    ],
  },
  points: [
    { name: "weight", address: "weight.weight", metric: "weighing.weight", unit: "g", range: [-10, 6000] },
    {
      name: "stable",
      address: "weight.stable",
      kind: "state",
      map: { S: 1, D: 0 },
      states: { 0: "dynamic", 1: "stable" },
    },
    { name: "software_version", address: "version.software", kind: "text" },
  ],
} as const;

/** An indicator that sends two lines again and again, each with a checksum. */
const unasked = {
  section: {
    framing: { start: "\x02", end: "\x03", checksum: { kind: "xor", coding: "hex", position: "after_end" } },
    silent_after: `${TIMEOUT_MS}ms`,
    messages: [
      { name: "flow", pattern: "F (?<rate>\\S+);(?<total>\\d+)", every: "10ms", example: "F {rate};{total}" },
      { name: "state", pattern: "M(?<code>\\d)", every: "15ms", example: "M{code}" },
    ],
  },
  points: [
    { name: "flow", address: "flow.rate", unit: "L/min" },
    { name: "total", address: "flow.total", unit: "L", kind: "counter", type: "i64", rollover: "10^6" },
    { name: "mode", address: "state.code", kind: "state", states: { 1: "run", 2: "hold" } },
  ],
} as const;

type Rig = SourceRig<SerialPoint, SerialOptions>;

function rigOf(
  kind: "pty" | "tcp",
  profile: typeof asked | typeof unasked,
  bounds: Pick<Rig, "silence_ms" | "late_ms">,
): Rig {
  const nowhere = kind === "pty" ? { port: "/dev/null" } : { host: "127.0.0.1", tcp_port: 1 };
  const schema = kind === "pty" ? serialPortOptions : serialTcpOptions;
  return {
    createSource,
    device: (id, reach) =>
      makeDevice({
        protocol: "serial",
        id,
        options: schema.parse({ ...profile.section, ...nowhere, ...reach }),
        points: structuredClone(profile.points) as never,
      }),
    simulate: simulateSerial,
    round_ms: 1000,
    ...bounds,
  };
}

// Each request waits for its own timeout, and for the late answer of the one before.
const askedBounds = { silence_ms: 2 * 2 * TIMEOUT_MS, late_ms: TIMEOUT_MS + 20 };
const unaskedBounds = { silence_ms: TIMEOUT_MS, late_ms: null };

sourceSuite("serial, requests over a pty", rigOf("pty", asked, askedBounds));
sourceSuite("serial, requests over TCP", rigOf("tcp", asked, askedBounds));
sourceSuite("serial, unsolicited over a pty", rigOf("pty", unasked, unaskedBounds));
sourceSuite("serial, unsolicited over TCP", rigOf("tcp", unasked, unaskedBounds));
