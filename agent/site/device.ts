/**
 * One device of a site file: profile and site file brought together into what its source takes.
 *
 *   profile ─resolve(facts)─▶ behaviour ─┐   points ─only, except─┐
 *   site file: section ──────────────────┴▶ options   site points ┴▶ points ─▶ SiteDevice
 */
import type { Attributes, Descriptor } from "#adapters/contract.ts";
import { sources } from "#adapters/registry.ts";
import { checkEvery, checkUnits } from "#profiles/checks/common.ts";
import { checkPoints } from "#profiles/checks/points.ts";
import { type LayeredPoint, layeredPoint } from "#profiles/layers.ts";
import type { ProfileLoader } from "#profiles/load.ts";
import type { Profile } from "#profiles/loaded.ts";
import { mergeMaps } from "#profiles/merge.ts";
import { checkStated, parseData } from "#profiles/parse.ts";
import { compilePoints } from "#profiles/points.ts";
import { type At, lineAndColumn, type Report } from "#profiles/report.ts";
import { type Resolved, resolveProfile } from "#profiles/resolve.ts";
import { duration, protocols } from "#profiles/schema.ts";
import { seriesOf } from "#profiles/series.ts";
import { didYouMean, listed } from "#profiles/suggest.ts";
import { type Data, type DataMap, isDataMap, keyAt, selfOf, valueAt } from "#profiles/yaml.ts";
import type { SiteDevice, SourceName } from "./contract.ts";
import { factsOf, versionsOf } from "./facts.ts";
import { fingerprintOf } from "./fingerprint.ts";
import { chooseOptions } from "./options.ts";
import { deviceSchema, sourceNames } from "./schema.ts";

const EVERY_DEFAULT_MS = 1000;

export interface DeviceContext {
  readonly profiles: ProfileLoader;
  readonly report: Report;
  /** Attributes of the gateway, the site and the host: every resource has them. */
  readonly resource: Attributes;
  /** Points of the devices before, by their fingerprint: machines of one model share them in memory. */
  readonly shared: Map<string, Pick<SiteDevice, "points"> & Pick<Descriptor, "series">>;
}

/** What could be made of a device, whole or not; the checks between devices work on it. */
export interface BuiltDevice {
  readonly data: DataMap;
  readonly protocol: SourceName | null;
  /** The checked section; null where it did not fit. */
  readonly options: Readonly<Record<string, unknown>> | null;
  readonly enabled: boolean;
  /** null where a fault stands in the way. */
  readonly device: SiteDevice | null;
}

/** Never throws for what stands in the file: every fault is told, and as much as possible is checked. */
export async function buildDevice(data: DataMap, at: At, context: DeviceContext): Promise<BuiltDevice> {
  const { report } = context;
  const head = parseData(deviceSchema, data, report, at);
  const profile =
    typeof data["profile"] === "string" ? await context.profiles.load(data["profile"], valueAt(data, "profile")) : null;
  const protocol = protocolOf(data, at, profile, report);
  const built = { data, protocol, options: null, enabled: data["enabled"] !== false, device: null };
  if (protocol === null) return built;
  if (profile === null && data["profile"] !== undefined) {
    await checkWithoutProfile(protocol, data, report);
    return built;
  }

  const resolved = profile === null ? null : resolveProfile(profile, factsOf(profile, data, report));
  const versions = versionsOf(data, profile === null ? null : Object.keys(profile.versions), report);
  warnUnstated(data, profile, resolved, versions, report);

  const { merged, options } = optionsOf(protocol, data, resolved, report);
  const every_ms = head?.every ?? everyOf(resolved) ?? EVERY_DEFAULT_MS;
  if (head?.every !== undefined) checkEvery(head.every, valueAt(data, "every"), report);
  const { points: wanted, unused } = pointsOf(protocol, data, profile, resolved, report);
  await checkUnits(unused, report);
  const compiled = compilePoints(protocol, wanted, every_ms, report);
  await checkPoints(protocol, compiled, options ?? behaviourOf(protocol, merged), merged, report);
  if (profile === null) warnManualNumbers(compiled.checked, report);
  if (head === undefined || options === null || report.failed) return { ...built, options };

  const wholePoints = compiled.checked.map(({ point }) => point);
  const sameAs = fingerprintOf({ protocol, points: wholePoints });
  const known = context.shared.get(sameAs);
  const points = known?.points ?? wholePoints;
  const series = known?.series ?? wholePoints.map((point) => seriesOf(protocol, point));
  context.shared.set(sameAs, { points, series });
  const descriptor = {
    device: head.id,
    source: protocol,
    resource: resourceOf(head, profile, versions, context),
    scope: profile === null ? { name: "site", version: "" } : { name: profile.name, version: profile.version },
    series,
  };
  const device: SiteDevice = {
    id: head.id,
    protocol,
    profile: profile?.name ?? null,
    options,
    points,
    descriptor,
    // Series follow from points.
    fingerprint: fingerprintOf({ options, points: sameAs, descriptor: { ...descriptor, series: [] } }),
    place: { file: at.file.name, ...lineAndColumn(at) },
  };
  return { ...built, options, device };
}

/** Of a profile that cannot be had, nothing that hangs on it can be said; what the site file states itself can. */
async function checkWithoutProfile(protocol: SourceName, data: DataMap, report: Report): Promise<void> {
  const section = data[protocol];
  if (isDataMap(section)) {
    const at = keyAt(data, protocol);
    const schema = chooseOptions(protocol, sources[protocol].options, section, at, report);
    if (schema !== null) checkStated(schema, section, report, at);
  }
  const stated = data["points"];
  const points = (Array.isArray(stated) ? stated : []).filter(isDataMap);
  for (const point of points) checkStated(protocols[protocol].point, point, report, selfOf(point));
  await checkUnits(points, report);
}

/** The one protocol section of a device, which must be the one of its profile. */
function protocolOf(data: DataMap, at: At, profile: Profile | null, report: Report): SourceName | null {
  const stated = sourceNames.filter((name) => data[name] !== undefined);
  const [first, second] = stated;
  if (second !== undefined) {
    report.fault(keyAt(data, second), `a device is read by one protocol; ${first} stands here already`);
    return null;
  }
  if (first === undefined) {
    // A misspelt section is told as an unknown key already.
    const known = new Set<string>(Object.keys(deviceSchema.shape));
    const misspelt = Object.keys(data).some((key) => !known.has(key) && isDataMap(data[key]));
    if (!misspelt)
      report.fault(
        at,
        profile === null
          ? `a device needs one of ${listed(sourceNames)}: the way to it`
          : `profile ${profile.name} needs a section ${profile.protocol}: the way to the device`,
      );
    return profile?.protocol ?? null;
  }
  if (profile !== null && profile.protocol !== first) {
    report.fault(keyAt(data, first), `profile ${profile.name} is read by ${profile.protocol}, not by ${first}`);
    return null;
  }
  return first;
}

/** Behaviour of the profile under the site's section, by the adapter's own schema. */
function optionsOf(
  protocol: SourceName,
  data: DataMap,
  resolved: Resolved | null,
  report: Report,
): { merged: DataMap; options: Readonly<Record<string, unknown>> | null } {
  const section = data[protocol];
  const at = keyAt(data, protocol);
  const behaviour = resolved?.behaviour ?? {};
  if (section !== undefined && section !== null && !isDataMap(section)) {
    report.fault(valueAt(data, protocol), `${protocol}: expected a map (key: value)`);
    return { merged: behaviour, options: null };
  }
  const merged = mergeMaps(behaviour, section ?? {});
  if (section === undefined) return { merged, options: null };
  const schema = chooseOptions(protocol, sources[protocol].options, section ?? {}, at, report);
  const options = schema === null ? undefined : parseData(schema, merged, report, at);
  return { merged, options: options ?? null };
}

/** What can be known of the behaviour where the options as a whole do not fit. */
function behaviourOf(protocol: SourceName, merged: DataMap): object {
  const { behaviour } = protocols[protocol];
  const known = Object.fromEntries(Object.entries(merged).filter(([key]) => key in behaviour.shape));
  const parsed = behaviour.safeParse(known);
  return parsed.success ? parsed.data : {};
}

function everyOf(resolved: Resolved | null): number | undefined {
  const parsed = duration.safeParse(resolved?.every);
  return parsed.success ? parsed.data : undefined;
}

/**
 * The profile's points, those that are wanted, and over them the points of the site file; `unused` are those that
 * a fault keeps out. They are checked all the same, so that one run tells all.
 */
function pointsOf(
  protocol: SourceName,
  data: DataMap,
  profile: Profile | null,
  resolved: Resolved | null,
  report: Report,
): { points: ReadonlyMap<string, LayeredPoint>; unused: readonly DataMap[] } {
  const unused: DataMap[] = [];
  const points = new Map(resolved?.points ?? []);
  const names = [...points.keys()];
  const only = namesAt(data, "only", names, report);
  const except = namesAt(data, "except", names, report);
  for (const name of names) {
    if ((only !== null && !only.has(name)) || except?.has(name) === true) points.delete(name);
  }
  const stated = data["points"];
  const seen = new Set<string>();
  for (const [index, fields] of (Array.isArray(stated) ? stated : []).entries()) {
    const place = valueAt(stated as Data[], index);
    if (!isDataMap(fields) || typeof fields["name"] !== "string") {
      parseData(protocols[protocol].point, fields, report, place);
      if (isDataMap(fields)) unused.push(fields);
      continue;
    }
    const name = fields["name"];
    if (seen.has(name)) {
      report.fault(valueAt(fields, "name"), `point '${name}' stands here twice`);
      checkStated(protocols[protocol].point, fields, report, place);
      unused.push(fields);
      continue;
    }
    seen.add(name);
    const before = points.get(name);
    if (before === undefined && profile !== null && fields["address"] === undefined) {
      report.fault(
        valueAt(fields, "name"),
        `profile ${profile.name} has no point '${name}' to change${didYouMean(name, names)} (a new point needs an address)`,
      );
      checkStated(protocols[protocol].point, fields, report, place);
      unused.push(fields);
      continue;
    }
    points.set(name, layeredPoint(before, fields, profile?.defaults ?? []));
  }
  if (points.size === 0) {
    report.fault(
      data["points"] === undefined ? selfOf(data) : keyAt(data, "points"),
      "this device has no point to read: name a profile, or list points",
    );
  }
  return { points, unused };
}

function namesAt(
  data: DataMap,
  key: "only" | "except",
  known: readonly string[],
  report: Report,
): ReadonlySet<string> | null {
  const names = data[key];
  if (!Array.isArray(names)) return null;
  names.forEach((name, index) => {
    if (typeof name === "string" && !known.includes(name))
      report.fault(valueAt(names, index), `${key}: the profile has no point '${name}'${didYouMean(name, known)}`);
  });
  return new Set(names.map(String));
}

/** Silence about the firmware is allowed where it makes no difference; where it does, somebody should look. */
function warnUnstated(
  data: DataMap,
  profile: Profile | null,
  resolved: Resolved | null,
  versions: ReadonlyMap<string, string>,
  report: Report,
): void {
  if (profile === null || resolved === null || resolved.unstated.length === 0) return;
  // Stated, but not so that it could be understood: that is told already.
  if (data["firmware"] !== undefined && versions.size === 0) return;
  const keys = resolved.unstated.map((name) =>
    name === "firmware" ? 'firmware: "..."' : `firmware: { ${name.replace(/^firmware\./, "")}: "..." }`,
  );
  report.warn(
    valueAt(data, "profile"),
    `profile ${profile.name} differs by ${listed(resolved.unstated)}, which is not stated; the newest is taken. State ${keys.join(" and ")}`,
  );
}

/** 40001 is a manual's name for the first holding register; on the wire it is 0. SunSpec truly begins at 40000. */
function warnManualNumbers(
  points: readonly { readonly point: { readonly address: unknown; readonly area?: unknown }; readonly data: DataMap }[],
  report: Report,
): void {
  if (points.some(({ point }) => point.address === 40_000)) return;
  for (const { point, data } of points) {
    const base = point.area === "holding" ? 40_001 : point.area === "input" ? 30_001 : null;
    if (base === null || typeof point.address !== "number") continue;
    if (point.address < base || point.address >= base + 9_999) continue;
    report.warn(
      valueAt(data, "address"),
      `${point.address} is read at ${point.address} on the wire; where it is the number of a manual that begins at ${base}, write ${point.address - base}`,
    );
    return;
  }
}

interface Head {
  readonly id: string;
  readonly name?: string | undefined;
  readonly manufacturer?: string | undefined;
  readonly model?: string | undefined;
  readonly enterprise?: string | undefined;
  readonly site?: string | undefined;
  readonly area?: string | undefined;
  readonly line?: string | undefined;
  readonly cell?: string | undefined;
  readonly attributes: Attributes;
}

/** OTLP resource attributes: OpenTelemetry's names where there are some (device.*, service.*). */
function resourceOf(
  head: Head,
  profile: Profile | null,
  versions: ReadonlyMap<string, string>,
  context: DeviceContext,
): Attributes {
  const model = head.model ?? profile?.model;
  const manufacturer = head.manufacturer ?? profile?.manufacturer;
  return {
    ...context.resource,
    ...hierarchyOf(head),
    "device.id": head.id,
    ...(head.name !== undefined && { "device.name": head.name }),
    ...(manufacturer !== undefined && { "device.manufacturer": manufacturer }),
    ...(model !== undefined && { "device.model.identifier": model }),
    ...(profile !== null && { "device.model.name": profile.title }),
    ...Object.fromEntries([...versions].map(([name, version]) => [`device.${name}.version`, version])),
    ...head.attributes,
  };
}

/** The ISA-95 path, as far as it is stated. */
export function hierarchyOf(stated: Pick<Head, "enterprise" | "site" | "area" | "line" | "cell">): Attributes {
  const path: Record<string, string> = {};
  for (const level of ["enterprise", "site", "area", "line", "cell"] as const) {
    const value = stated[level];
    if (value !== undefined) path[`isa95.${level}`] = value;
  }
  return path;
}
