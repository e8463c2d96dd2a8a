/** A profile as it lies in memory: read, checked and merged with its imports, before any variant is chosen. */
import type { Condition } from "./condition.ts";
import type { Names } from "./facts.ts";
import type { LayeredPoint } from "./layers.ts";
import type { Evidence, ParameterDefinition } from "./profile.ts";
import type { At } from "./report.ts";
import type { Protocol } from "./schema.ts";
import type { Data, DataMap } from "./yaml.ts";

/** One `variants` entry; every one whose condition holds is applied, in order. */
export interface Variant {
  readonly condition: Condition;
  readonly data: DataMap;
  readonly at: At;
}

/** A profile with its imports, before any variant. Immutable; shared by all devices of the profile. */
export interface Profile {
  readonly name: string;
  readonly protocol: Protocol;
  readonly title: string;
  readonly manufacturer: string;
  readonly model: string;
  /** `model` and all others that it serves. */
  readonly models: readonly string[];
  readonly version: string;
  readonly sources: Readonly<Record<string, Evidence>>;
  readonly versions: Readonly<Record<string, string>>;
  readonly parameters: Readonly<Record<string, ParameterDefinition>>;
  readonly names: Names;
  readonly points: ReadonlyMap<string, LayeredPoint>;
  readonly defaults: readonly DataMap[];
  readonly behaviour: DataMap;
  readonly every: Data | undefined;
  readonly variants: readonly Variant[];
  /** The data of the file itself, for the places of its head. */
  readonly data: DataMap;
}
