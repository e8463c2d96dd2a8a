/**
 * JSON Schemas (draft 2020-12) of site files and profiles, for editors (`lineside schema`): the same
 * schemas that check them, as their files are written. What a second pass finds, they cannot tell.
 */
import { profileSchemas } from "#profiles/profile.ts";
import { z } from "zod";
import { siteSchema } from "./schema.ts";

export type JsonSchema = z.core.JSONSchema.JSONSchema;

/** Any text may be, or hold, a reference, also where a number or a certain form is wanted. */
const REFERENCE = { type: "string", pattern: "\\$\\{(env|file):[^}]+\\}" } as const;

export function siteJsonSchema(): JsonSchema {
  const schema = z.toJSONSchema(siteSchema, { io: "input" });
  for (const list of ["devices", "targets"]) {
    const items = schema.properties?.[list];
    if (typeof items === "object" && typeof items.items === "object" && "anyOf" in items.items) {
      // Each protocol and target has a key of its own: exactly one of them fits.
      const { anyOf, ...rest } = items.items;
      items.items = { ...rest, oneOf: anyOf ?? [] };
    }
  }
  return { ...allowReferences(schema), title: "Lineside site file", $defs: { reference: REFERENCE } };
}

export function profileJsonSchema(): JsonSchema {
  return {
    ...z.toJSONSchema(z.union(Object.values(profileSchemas)), { io: "input" }),
    title: "Lineside device profile",
  };
}

/** The same schema, with a reference wherever a scalar has to have a form that a reference has not. */
function allowReferences(schema: JsonSchema): JsonSchema {
  if (isFormed(schema)) {
    const { description, default: fallback, ...form } = schema;
    return {
      ...(description !== undefined && { description }),
      ...(fallback !== undefined && { default: fallback }),
      anyOf: [form, { $ref: "#/$defs/reference" }],
    };
  }
  const changed: JsonSchema = { ...schema };
  for (const key of ["anyOf", "oneOf", "prefixItems"] as const) {
    const parts = schema[key];
    if (parts !== undefined) changed[key] = parts.map(inside);
  }
  for (const key of ["items", "additionalProperties"] as const) {
    const part = schema[key];
    if (part !== undefined && !Array.isArray(part)) changed[key] = inside(part);
  }
  if (schema.properties !== undefined) {
    changed.properties = Object.fromEntries(
      Object.entries(schema.properties).map(([key, part]) => [key, inside(part)]),
    );
  }
  return changed;
}

const inside = (part: JsonSchema | boolean): JsonSchema =>
  typeof part === "boolean" ? (part as never) : allowReferences(part);

const isFormed = ({ type, pattern, enum: values, const: value, format }: JsonSchema): boolean =>
  type === "number" ||
  type === "integer" ||
  type === "boolean" ||
  pattern !== undefined ||
  values !== undefined ||
  value !== undefined ||
  format !== undefined;
