/**
 * The schema of a site file: gateway, devices, targets, agent. A device's own section and a target's
 * section belong to their adapters and come from the registry; points come from the profiles' schema.
 *
 * load.ts parses part by part (a fault in one device must not hide those of the next); the JSON Schema
 * and the reference page are made from the same parts.
 */
import { sources, targets } from "#adapters/registry.ts";
import { partsOf, profileName } from "#profiles/profile.ts";
import { duration, identifier, pointName } from "#profiles/schema.ts";
import { z } from "zod";
import type { SourceName, TargetName } from "./contract.ts";

const text = z.string().min(1);

const BYTES: Readonly<Record<string, number>> = {
  B: 1,
  kB: 1e3,
  MB: 1e6,
  GB: 1e9,
  KiB: 1024,
  MiB: 1024 ** 2,
  GiB: 1024 ** 3,
};
const SIZE = /^(\d+(?:\.\d+)?) ?(B|kB|MB|GB|KiB|MiB|GiB)$/;
const size = z
  .string()
  .regex(SIZE, "expected a size such as 512MiB or 2GiB")
  .transform((written) => {
    const [, amount = "0", unit = "B"] = SIZE.exec(written) ?? [];
    return Math.floor(Number(amount) * (BYTES[unit] ?? 1));
  });

/** Free attributes; what Lineside writes itself is not for others to change. */
const attributes = z.record(
  z.string().regex(/^[a-z][a-z0-9_.]*$/, "expected a dotted lower case name such as machine.operator"),
  z.union([z.string(), z.number(), z.boolean()]),
);

/** The ISA-95 equipment hierarchy. */
const hierarchy = {
  enterprise: text.optional().describe("ISA-95 enterprise."),
  site: text.optional().describe("ISA-95 site: the plant, the hospital."),
  area: text.optional().describe("ISA-95 area: the shop, the department."),
  line: text.optional().describe("ISA-95 work centre: the line, the ward."),
  cell: text.optional().describe("ISA-95 work unit: the cell, the room."),
};

export const gatewaySchema = z.strictObject({
  id: identifier.describe("Name of this gateway, unique in the enterprise; service.instance.id of all that it sends."),
  ...hierarchy,
  attributes: attributes.default({}).describe("More OTLP resource attributes, for every device of this gateway."),
});

export const agentSchema = z.strictObject({
  http: z
    .union([
      z.literal(false),
      z.strictObject({
        host: text.default("127.0.0.1").describe("Address to listen at; other hosts see it only where this says so."),
        port: z.int().min(0).max(65535).default(9464).describe("Port; 0 takes a free one."),
      }),
    ])
    .prefault({})
    .describe("Where /metrics (Prometheus), /healthz and /readyz are served; false: nowhere."),
  log: z
    .strictObject({
      level: z.enum(["debug", "info", "warn", "error"]).default("info").describe("The least that is logged."),
      format: z
        .enum(["auto", "json", "pretty"])
        .default("auto")
        .describe("auto: pretty on a terminal, JSON elsewhere."),
    })
    .prefault({})
    .describe("The log, on standard error."),
  commit_interval: duration
    .pipe(z.number().min(50, "expected 50ms or more").max(60_000, "expected 1min or less"))
    .prefault("1s")
    .describe("How often readings are made durable: the most that a power cut costs. Default: 1s."),
  buffer: z
    .strictObject({
      limit: z
        .union([z.int(), size])
        .pipe(z.number().min(1024 * 1024, "expected 1MiB or more"))
        .prefault("1GiB")
        .describe(
          "Most that the journal takes on disk, in bytes or as 512MiB; beyond it the oldest go first, and are counted. Default: 1GiB.",
        ),
    })
    .prefault({})
    .describe("The journal."),
  metrics_interval: z
    .union([z.literal(false), duration.pipe(z.number().min(1000, "expected 1s or more"))])
    .prefault("10s")
    .describe("How often the agent's own figures are sent to the targets; false: never. Default: 10s."),
});

/** What every device has, whatever its protocol. */
const deviceCommon = {
  id: identifier.describe("Unique in this file; stable, for it names the device to every target."),
  name: text.optional().describe("Name for people."),
  description: text.optional().describe("One line for people."),
  enabled: z.boolean().default(true).describe("false: checked, and then left out."),
  profile: profileName
    .optional()
    .describe(
      "Device profile, such as eastron/sdm630; beside this file, or one of the shipped. Without it the points stand here.",
    ),
  manufacturer: text.optional().describe("As on the type plate; a profile knows it."),
  model: text.optional().describe("Model, where the profile serves several."),
  firmware: z
    .union([text, z.number(), z.record(z.string(), z.union([text, z.number()]))])
    .optional()
    .describe("Firmware version as the device shows it, or a map of its components (main: 1.08, hardware: 2)."),
  parameters: z
    .record(z.string(), z.union([z.string(), z.number(), z.boolean()]))
    .optional()
    .describe("Values of the profile's parameters."),
  every: duration
    .pipe(z.number().min(1, "expected 1ms or more"))
    .optional()
    .describe("Poll or sampling interval of points that state none. Default: the profile's, else 1s."),
  ...hierarchy,
  attributes: attributes.default({}).describe("More OTLP resource attributes of this device."),
  only: z.array(pointName).min(1).optional().describe("Of the profile's points, these alone."),
  except: z.array(pointName).min(1).optional().describe("The profile's points without these."),
};

const sourceNames = Object.keys(sources) as SourceName[];
const targetNames = Object.keys(targets) as TargetName[];

/** The head of a device; sections and points are parsed by the protocol that they turn out to have. */
export const deviceSchema = z.strictObject({
  ...deviceCommon,
  // The loader of profiles says better what is wrong with a name.
  profile: text.optional().describe(deviceCommon.profile.description ?? ""),
  points: z.array(z.unknown()).optional(),
  ...Object.fromEntries(sourceNames.map((name) => [name, z.unknown().optional()])),
});

/** What every target has beside its own section. */
const targetCommon = {
  id: identifier
    .optional()
    .describe("Name of the target and of its place in the journal. Default: the name of its type."),
  from: z
    .enum(["start", "end"])
    .default("start")
    .describe(
      "Where a new target begins: start sends everything that the journal still has, end only what comes from now on.",
    ),
};

export const targetSchema = z.strictObject({
  ...targetCommon,
  ...Object.fromEntries(targetNames.map((name) => [name, z.unknown().optional()])),
});

/** The top of the file. */
export const topSchema = z.strictObject({
  gateway: z.unknown().optional().describe("Who and where this gateway is."),
  devices: z.array(z.unknown()).describe("The devices that it reads."),
  targets: z.array(z.unknown()).optional().describe("Where readings go. `check`, `read` and `sim` need none."),
  agent: z.unknown().optional().describe("The agent itself: log, journal, its own figures."),
});

/** A device of one protocol, whole; for the JSON Schema and the reference page. */
function wholeDevice(name: SourceName): z.ZodType[] {
  const parts = partsOf(name);
  return sources[name].options.map(({ schema }) =>
    z.strictObject({
      ...deviceCommon,
      [name]: schema.describe("The way to the device, and what differs from its profile's behaviour."),
      points: z
        .array(parts.point)
        .optional()
        .describe("Points; beside a profile, changes of its points (by name) and more points."),
    }),
  );
}

function wholeTarget(name: TargetName): z.ZodType[] {
  return targets[name].options.map(({ schema }) => z.strictObject({ ...targetCommon, [name]: schema }));
}

/** The whole site file as one schema, for editors. */
export const siteSchema = z.strictObject({
  gateway: gatewaySchema.describe("Who and where this gateway is."),
  devices: z.array(z.union(sourceNames.flatMap(wholeDevice))).describe("The devices that it reads."),
  targets: z
    .array(z.union(targetNames.flatMap(wholeTarget)))
    .optional()
    .describe("Where readings go. `check`, `read` and `sim` need none."),
  agent: agentSchema.optional().describe("The agent itself: log, journal, its own figures."),
});

export { sourceNames, targetNames };
