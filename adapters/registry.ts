/**
 * Every adapter, one entry each. Options schemas are light and always there, for the site file is
 * checked against all of them; the adapter itself, with its protocol library, is loaded on first use.
 */
import type { z } from "zod";
import type { AdapterContext, Source, Target } from "./contract.ts";
import { modbusRtuOptions, modbusTcpOptions } from "./sources/modbus/options.ts";
import { opcuaOptions } from "./sources/opcua/options.ts";
import { serialPortOptions, serialTcpOptions } from "./sources/serial/options.ts";
import { consoleOptions } from "./targets/console/options.ts";
import { fileOptions } from "./targets/file/options.ts";
import { otlpOptions } from "./targets/otlp/options.ts";

export interface AdapterEntry<Made> {
  /**
   * Schemas of the adapter's section, told apart by a key that only one of them has (`host`, `serial`,
   * `port`); null where there is one alone.
   */
  readonly options: readonly { readonly key: string | null; readonly schema: z.ZodObject }[];
  /** Loads the adapter's module. */
  readonly load: () => Promise<Made>;
}

/** What the main module of a source exports. */
export interface SourceModule {
  createSource(context: AdapterContext): Source<never, never>;
}

/** What the main module of a target exports. */
export interface TargetModule {
  createTarget(options: never, context: AdapterContext): Promise<Target>;
}

export const sources = {
  modbus: {
    options: [
      { key: "host", schema: modbusTcpOptions },
      { key: "serial", schema: modbusRtuOptions },
    ],
    load: () => import("./sources/modbus/source.ts"),
  },
  opcua: { options: [{ key: null, schema: opcuaOptions }], load: () => import("./sources/opcua/source.ts") },
  serial: {
    options: [
      { key: "port", schema: serialPortOptions },
      { key: "host", schema: serialTcpOptions },
    ],
    load: () => import("./sources/serial/source.ts"),
  },
} satisfies Record<string, AdapterEntry<SourceModule>>;

export const targets = {
  otlp: { options: [{ key: null, schema: otlpOptions }], load: () => import("./targets/otlp/target.ts") },
  file: { options: [{ key: null, schema: fileOptions }], load: () => import("./targets/file/target.ts") },
  console: { options: [{ key: null, schema: consoleOptions }], load: () => import("./targets/console/target.ts") },
} satisfies Record<string, AdapterEntry<TargetModule>>;
