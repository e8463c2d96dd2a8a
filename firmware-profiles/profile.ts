/**
 * The schema of a profile file, from the profile down to its variants; points and behaviour sections
 * come from schema.ts. A fragment, what `import` takes in, is a profile without the head.
 *
 * Whatever is later added (templates, discovery, identification at connect, setup, cross-checks)
 * becomes another optional key here, so that the profiles of today stay valid.
 */
import { z } from "zod";
import { duration, identifier, pointName, type Protocol, protocols } from "./schema.ts";

const text = z.string().min(1);

/** A version component or parameter, as conditions name it. */
const conditionName = z
  .string()
  .regex(
    /^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*$/,
    "expected lower case letters, digits and '_', in parts joined by '.'",
  );

/** `eastron/sdm630`: folders and a file below firmware-profiles/ or beside the site file. */
export const profileName = z
  .string()
  .regex(/^[a-z0-9][a-z0-9_-]*(\/[a-z0-9][a-z0-9_.-]*)*$/, "expected a profile name such as eastron/sdm630 (no .yaml)");

const evidence = z.union([
  text,
  z.strictObject({
    title: text.describe("What it is: a manual, a repository with its commit, a thread."),
    url: z.url().optional(),
    licence: text.optional().describe("Licence of the source; facts alone were taken from it."),
    read: z.enum(["whole", "excerpt", "second_hand"]).optional().describe("How much of it was seen. Default: whole."),
  }),
]);

const parameter = z.union([
  z.strictObject({
    values: z
      .array(z.union([z.string(), z.number()]))
      .min(2)
      .describe("The values that it can have."),
    default: z.union([z.string(), z.number()]).optional().describe("Without a default the site file must state it."),
    description: text.describe("What it is, and where on the device it is found."),
  }),
  z.strictObject({
    type: z.enum(["number", "boolean"]),
    default: z.union([z.number(), z.boolean()]).optional().describe("Without a default the site file must state it."),
    description: text.describe("What it is, and where on the device it is found."),
  }),
]);

const documentation = z.strictObject({
  address_base: z
    .union([z.literal(0), z.literal(1)])
    .optional()
    .describe("What the manual calls the first register: 0 (as on the wire) or 1."),
  address_formula: text
    .optional()
    .describe("How the manual's numbers become wire addresses, for people, such as '10 * PNU - 1'."),
  manual: text.optional().describe("Title and edition of the manual."),
  url: z.url().optional(),
});

/** `shape` without requirements: any field may be left out, and null takes an earlier layer's away. */
function patchOf(
  shape: Readonly<Record<string, z.ZodType>>,
  without: readonly string[],
  nullable: boolean,
): Record<string, z.ZodType> {
  return Object.fromEntries(
    Object.entries(shape)
      .filter(([key]) => !without.includes(key))
      .map(([key, field]) => {
        const bare = bareOf(field);
        const patched = nullable ? patchedOf(bare).nullable().optional() : bare.optional();
        return [key, field.description === undefined ? patched : patched.describe(field.description)];
      }),
  );
}

/** Without default and optional: a default would be written into every patch; it belongs to the merged point. */
function bareOf(field: z.ZodType): z.ZodType {
  // What these wrap is a schema of this kind; zod types it by its core alone.
  if (field instanceof z.ZodDefault || field instanceof z.ZodOptional) return bareOf(field.unwrap() as z.ZodType);
  return field;
}

/** Maps are merged key by key, so null takes one key away. */
const patchedOf = (field: z.ZodType): z.ZodType =>
  field instanceof z.ZodRecord
    ? z.record(field.keyType as z.ZodString, (field.valueType as z.ZodType).nullable())
    : field;

/** The schemas of what a profile holds for one protocol. */
export function partsOf(protocol: Protocol) {
  const { point, behaviour } = protocols[protocol];
  const shape = point.shape;
  const named = { name: pointName.describe("Name of the point; a name that an earlier layer has changes that point.") };
  const many = z.union([pointName, z.array(pointName).min(1)]);
  return {
    /** A point, or changes of one that an import brought. */
    point: z.strictObject({ ...named, ...patchOf(shape, ["name"], true) }),
    /** Changes of one or several points, or another point. */
    patch: z.strictObject({
      name: many.describe("The point, or a list of points, that these fields change; an unknown name adds a point."),
      ...patchOf(shape, ["name"], true),
    }),
    defaults: z.strictObject(patchOf(shape, ["name", "address"], false)),
    behaviour,
  };
}

function layerShape(protocol: Protocol) {
  const parts = partsOf(protocol);
  const when = text.describe(
    'Condition on version components, model and parameters, such as: firmware >= 2.6 and model in ("A", "B").',
  );
  const variant = z.strictObject({
    when,
    description: text.optional().describe("What differs, and why."),
    source: text.optional().describe("Evidence of the difference: an id of sources, or a text."),
    defaults: parts.defaults.optional().describe("Changed defaults; what a point states itself stands above them."),
    remove: z.array(pointName).min(1).optional().describe("Points that do not exist here."),
    points: z.array(parts.patch).min(1).optional().describe("Changed and added points."),
    every: duration.optional().describe("Poll interval of points that state none."),
    [protocol]: parts.behaviour.optional().describe("Changed behaviour."),
  });
  return {
    import: z
      .array(z.string().regex(/^[a-z0-9][\w./-]*\.yaml$/, "expected a path such as common/modbus-meter.yaml"))
      .optional()
      .describe(
        "Fragments that come before this file, in this order; paths from the top of firmware-profiles/, or beside the site file.",
      ),
    sources: z.record(identifier, evidence).optional().describe("Evidence, by an id that points and variants name."),
    versions: z
      .record(conditionName, text)
      .optional()
      .describe(
        "Version components that conditions may name (firmware, firmware.main, hardware, protocol), and where a person finds each.",
      ),
    parameters: z
      .record(conditionName, parameter)
      .optional()
      .describe("What the site file may have to say of the device, for it cannot be read from it."),
    [protocol]: parts.behaviour.optional().describe("How the device wants to be read."),
    every: duration
      .optional()
      .describe("Poll interval of points that state none; a site file's `every` stands above it. Default: 1s."),
    defaults: parts.defaults.optional().describe("Fields that every point of this file has unless it states them."),
    points: z.array(parts.point).optional().describe("Points, in the order in which people look at them."),
    variants: z
      .array(variant)
      .optional()
      .describe(
        "What differs by firmware, model or parameter: every variant whose condition holds is applied, in order, the last wins.",
      ),
  };
}

const head = {
  title: text.describe("Name of the device for people."),
  manufacturer: text.describe("As on the type plate; OTLP resource attribute device.manufacturer."),
  model: text.describe("The model that is meant where a site file names none."),
  models: z.array(text).optional().describe("Other models that this profile serves."),
  version: z
    .string()
    .regex(/^\d+\.\d+\.\d+$/, "expected a version such as 1.0.0")
    .describe("Version of this profile: the OTLP scope's version."),
  description: text.optional().describe("What is read, and what a person must set at the device first."),
  documentation: documentation.optional().describe("The vendor's documents, for people."),
};

/** A profile, by protocol; parse with the one that its `protocol` names. */
export const profileSchemas = {
  modbus: z.strictObject({ ...head, protocol: z.literal("modbus"), ...layerShape("modbus") }),
  opcua: z.strictObject({ ...head, protocol: z.literal("opcua"), ...layerShape("opcua") }),
  serial: z.strictObject({ ...head, protocol: z.literal("serial"), ...layerShape("serial") }),
} as const;

/** What `import` takes in; its protocol is the importer's. */
export const fragmentSchemas = {
  modbus: z.strictObject({ description: text.optional(), ...layerShape("modbus") }),
  opcua: z.strictObject({ description: text.optional(), ...layerShape("opcua") }),
  serial: z.strictObject({ description: text.optional(), ...layerShape("serial") }),
} as const;

export const protocolName = z.enum(["modbus", "opcua", "serial"]).describe("Protocol that the device is read by.");

export type ParameterDefinition = z.output<typeof parameter>;
export type Evidence = z.output<typeof evidence>;
