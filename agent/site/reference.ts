/**
 * docs/reference.md, made from the schemas: `node agent/site/reference.ts` writes it, and a test says
 * when it is out of date.
 */
import { sources, targets } from "#adapters/registry.ts";
import { fragmentSchemas, profileSchemas } from "#profiles/profile.ts";
import { pointCommon, type Protocol, protocols } from "#profiles/schema.ts";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import type { JsonSchema } from "./json-schema.ts";
import { agentSchema, deviceSchema, gatewaySchema, sourceNames, targetNames, targetSchema } from "./schema.ts";

export const referenceFile: string = join(import.meta.dirname, "../../docs/reference.md");

const TITLES: Readonly<Record<Protocol, string>> = {
  modbus: "Modbus",
  opcua: "OPC UA",
  serial: "Serial line protocols",
};

/** The whole page. */
export function referencePage(): string {
  return `# Reference

Every key of a site file and of a device profile. Made from the schemas that check them
(\`node agent/site/reference.ts\`); do not edit it by hand. Editors get the same as JSON Schema: \`lineside schema\`.

A *duration* is written as 500ms, 1s, 5min or 1h. **Bold** keys are required. \`a.b\` is key b inside the map a,
\`a[]\` an item of the list a.

## Site file

Top level: \`gateway\`, \`devices\` (a list), \`targets\` (a list), \`agent\`. In any text, \`\${env:NAME}\` and
\`\${file:PATH}\` stand for an environment variable and the content of a file (its path from the site file's folder,
its last newline taken away); \`$\${\` is a plain \`\${\`.

### gateway

${table(gatewaySchema)}

### devices

What every device has, beside one section of its protocol and \`points\` (without a profile they make the device;
beside a profile they change its points by name, or add some).

${table(deviceSchema, ["points", ...sourceNames])}

${sourceNames.map(sectionOfSource).join("\n\n")}

### targets

What every target has, beside one section of its type.

${table(targetSchema, targetNames)}

${targetNames.map(sectionOfTarget).join("\n\n")}

### agent

${table(agentSchema)}

## Points

What every point has, whatever the protocol.

${table(pointCommon)}

${protocolNames.map(sectionOfPoints).join("\n\n")}

## Profiles

A profile is one file, \`<vendor>/<model>.yaml\`, in firmware-profiles/ or beside the site file. What its parts mean
together is told in [Writing a profile](writing-a-profile.md).

${table(profileSchemas.modbus, ["modbus", "defaults", "points", "variants"])}
| \`modbus\`, \`opcua\` or \`serial\` | map | | How the device wants to be read: see Behaviour below. |
| \`defaults\` | map | | Any field of a point but name and address: every point of this file has it unless it states its own. |
| \`points\` | list | | Points; every field but the name may come from an import or from \`defaults\`. |
| \`variants\` | list | | What differs; see below. Every one whose condition holds is applied, in order, the last wins. |

### variants

${table(variantOf(), ["modbus", "defaults", "points"])}
| \`modbus\`, \`opcua\` or \`serial\` | map | | Changed behaviour. |
| \`defaults\` | map | | Changed defaults; what a point states itself stands above them. |
| \`points\` | list | | Changed points, by \`name\` (one, or a list of names); a name that is not there yet, with an address, adds a point. |

### Behaviour

Stated by a profile, and overridden by the section of a device in the site file.

${protocolNames.map((name) => `#### ${TITLES[name]}\n\n${table(protocols[name].behaviour)}`).join("\n\n")}
`;
}

const protocolNames = Object.keys(protocols) as Protocol[];

function sectionOfSource(name: (typeof sourceNames)[number]): string {
  const behaviour = Object.keys(protocols[name].behaviour.shape);
  return sources[name].options
    .map(
      ({ key, schema }) =>
        `#### ${name}${key === null ? "" : ` (with \`${key}\`)`}\n\nAnd every key of [Behaviour](#behaviour).\n\n${table(schema, behaviour)}`,
    )
    .join("\n\n");
}

const sectionOfTarget = (name: (typeof targetNames)[number]): string =>
  targets[name].options.map(({ schema }) => `#### ${name}\n\n${table(schema)}`).join("\n\n");

function sectionOfPoints(name: Protocol): string {
  const common = Object.keys(pointCommon.shape).filter((key) => key !== "address");
  return `### ${TITLES[name]}\n\n${table(protocols[name].point, common)}`;
}

/** The schema of one variant, out of the list that a profile holds. */
function variantOf(): z.ZodType {
  const { variants } = fragmentSchemas.modbus.shape;
  return variants.unwrap().element;
}

/** Rows of a map's keys; maps inside it are rows too, by their dotted names. */
function table(schema: z.ZodType, without: readonly string[] = []): string {
  const rows = rowsOf(z.toJSONSchema(schema, { io: "input", unrepresentable: "any" }), "", without);
  return ["| key | type | default | meaning |", "| --- | --- | --- | --- |", ...rows].join("\n");
}

function rowsOf(schema: JsonSchema, prefix: string, without: readonly string[]): string[] {
  return Object.entries(schema.properties ?? {}).flatMap(([key, part]) => {
    if (typeof part === "boolean" || without.includes(key)) return [];
    const name = `\`${prefix}${key}\``;
    const required = schema.required?.includes(key) === true;
    const { fallback, meaning } = defaultOf(part);
    const cells = [required ? `**${name}**` : name, typeOf(part), fallback, meaning];
    const row = `| ${cells.map(escape).join(" | ")} |`;
    const inner = mapIn(part);
    return inner === null ? [row] : [row, ...rowsOf(inner.map, `${prefix}${key}${inner.suffix}.`, [])];
  });
}

/** The default that the schema states, else the one that its description ends with. */
function defaultOf(part: JsonSchema): { fallback: string; meaning: string } {
  const description = part.description ?? "";
  const [whole = "", stated = ""] = / ?Default: ([^.]*)\.$/.exec(description) ?? [];
  const meaning = description.slice(0, description.length - whole.length);
  if (stated !== "" || part.default === undefined || typeof part.default === "object")
    return { fallback: stated, meaning };
  return { fallback: `\`${JSON.stringify(part.default).replaceAll('"', "")}\``, meaning };
}

const escape = (text: string): string => text.replaceAll("|", "\\|").replaceAll("\n", " ");

/** The map that a key holds, directly, as one of several forms, or as the items of a list. */
function mapIn(part: JsonSchema): { map: JsonSchema; suffix: string } | null {
  if (part.properties !== undefined) return { map: part, suffix: "" };
  if (part.items !== undefined && typeof part.items === "object" && !Array.isArray(part.items)) {
    const inner = mapIn(part.items);
    return inner === null ? null : { map: inner.map, suffix: `[]${inner.suffix}` };
  }
  for (const form of part.anyOf ?? []) {
    const inner = typeof form === "object" ? mapIn(form) : null;
    if (inner !== null) return inner;
  }
  return null;
}

function typeOf(part: JsonSchema): string {
  if (part.const !== undefined) return `\`${String(part.const)}\``;
  if (part.enum !== undefined)
    return part.enum
      .map((value) => `\`${String(value)}\``)
      .join(" \\| ")
      .replaceAll("\\|", "or");
  if (part.anyOf !== undefined)
    return [...new Set(part.anyOf.map((form) => (typeof form === "object" ? typeOf(form) : "")))].join(" or ");
  if (part.type === "array") {
    if (part.prefixItems !== undefined)
      return `[${part.prefixItems.map((item) => (typeof item === "object" ? typeOf(item) : "")).join(", ")}]`;
    return `list of ${typeof part.items === "object" && !Array.isArray(part.items) ? plural(typeOf(part.items)) : "things"}`;
  }
  if (part.type === "string") return part.pattern?.includes("(ms|s|min|h)") === true ? "duration" : "text";
  if (part.type === "object") return "map";
  if (part.type === "integer" || part.type === "number") return `${part.type}${limits(part)}`;
  return part.type === undefined ? "any" : String(part.type);
}

const plural = (type: string): string =>
  /^(text|map|duration|integer|number)/.test(type) ? type.replace(/^\w+/, "$&s") : type;

function limits({ minimum, maximum, exclusiveMinimum }: JsonSchema): string {
  const low = minimum === undefined || minimum <= Number.MIN_SAFE_INTEGER ? exclusiveMinimum : minimum;
  const high = maximum === undefined || maximum >= Number.MAX_SAFE_INTEGER ? undefined : maximum;
  if (low === undefined && high === undefined) return "";
  return high === undefined ? ` from ${String(low)}` : ` ${String(low ?? "")}..${String(high)}`;
}

if (import.meta.main) writeFileSync(referenceFile, referencePage());
