/**
 * What the agent gets from a site file: everything merged, checked and ready to open.
 *
 *   site.yaml ─┐
 *              ├─▶ loadSite ──▶ { site, faults } ──▶ run, read, sim (site) · check (faults)
 *   profiles  ─┘
 *
 * `site` is null as soon as there is one fault (warnings do not count): nothing starts half configured.
 */
import type { Attributes, Device } from "#adapters/contract.ts";
import type { sources, targets } from "#adapters/registry.ts";
import type { Fault } from "#profiles/fault.ts";

export type SourceName = keyof typeof sources;
export type TargetName = keyof typeof targets;

/** Where something stands in the site file, for messages at run time. */
export interface Place {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

/** One device of the site, as its source takes it. Disabled ones are left out. */
export interface SiteDevice extends Device {
  readonly protocol: SourceName;
  /** Equal exactly where nothing that matters to reading or meaning has changed: the key of a reload. */
  readonly fingerprint: string;
  /** `eastron/sdm630`; null where the points stand in the site file alone. */
  readonly profile: string | null;
  readonly place: Place;
}

/** One target of the site. */
export interface SiteTarget {
  /** Its `id`, or the name of its type: unique, and the name of its cursor in the journal. */
  readonly name: string;
  readonly type: TargetName;
  /** What the target's own options schema made of its section. */
  readonly options: unknown;
  /** Where a target that the journal does not know yet begins: with what is kept, or with what comes. */
  readonly from: "start" | "end";
  readonly fingerprint: string;
  readonly place: Place;
}

export interface AgentSettings {
  /** Where /metrics, /healthz and /readyz are served; null where they are switched off. */
  readonly http: { readonly host: string; readonly port: number } | null;
  readonly log: {
    readonly level: "debug" | "info" | "warn" | "error";
    /** auto: pretty on a terminal, JSON elsewhere. */
    readonly format: "auto" | "json" | "pretty";
  };
  /** How often collected frames are made durable: the most that a power cut costs. */
  readonly commit_interval_ms: number;
  /** Most that the journal may take on disk; beyond it the oldest go first, and are counted. */
  readonly buffer: { readonly limit_bytes: number };
  /** How often the agent's own figures are sent to the targets; null: never. */
  readonly metrics_interval_ms: number | null;
}

export interface Site {
  readonly gateway: {
    readonly id: string;
    /** OTLP resource attributes of the gateway itself: its id and the ISA-95 path. */
    readonly resource: Attributes;
  };
  readonly devices: readonly SiteDevice[];
  readonly targets: readonly SiteTarget[];
  readonly agent: AgentSettings;
  /** Replaces every secret of this site that stands in `text`. Whatever is shown or logged goes through it. */
  readonly redact: (text: string) => string;
}

/** The world outside, given in so that tests can replace it and secrets have one door. */
export interface SiteContext {
  readonly env: (name: string) => string | undefined;
  readonly readFile: (path: string) => Promise<Uint8Array>;
  /** Folder of the shipped profiles, where it is not the one beside this code. */
  readonly profiles_dir?: string;
  /** Attributes that every resource gets (host.name, service.version, ...). */
  readonly resource?: Attributes;
}

export interface LoadedSite {
  readonly site: Site | null;
  /** Faults and warnings, by file, line and column. */
  readonly faults: readonly Fault[];
  /** Every file that was read, also where a fault stopped it: what to watch for a better one. */
  readonly files: readonly string[];
}
