/**
 * Reads a site file and everything that it names, and tells every fault of all of them at once.
 *
 *   site.yaml ─bytes─▶ secrets filled in ─▶ data with places ─┬─▶ gateway, agent
 *                                                             ├─▶ devices ◀── profiles, fragments
 *                                                             ├─▶ targets
 *                                                             └─▶ checks between them ─▶ Site, or faults
 */
import type { Attributes } from "#adapters/contract.ts";
import { Files, shippedProfiles, topOf, unreadable } from "#profiles/files.ts";
import { ProfileLoader } from "#profiles/load.ts";
import { parseData } from "#profiles/parse.ts";
import { type At, createReport, type Report } from "#profiles/report.ts";
import { type Data, type DataMap, isDataMap, keyAt, parseYaml, selfOf, valueAt } from "#profiles/yaml.ts";
import { dirname } from "node:path";
import { checkFiles, checkIds, checkSharing, checkTargetNames } from "./between.ts";
import type { AgentSettings, LoadedSite, Site, SiteContext, SiteTarget } from "./contract.ts";
import { type BuiltDevice, buildDevice, type DeviceContext, hierarchyOf } from "./device.ts";
import { agentSchema, gatewaySchema, topSchema } from "./schema.ts";
import { Secrets } from "./secrets.ts";
import { buildTarget } from "./target.ts";

/** `path` is shown in faults as it was given. */
export async function loadSite(path: string, context: SiteContext): Promise<LoadedSite> {
  const folder = dirname(path);
  const secrets = new Secrets(context.env, folder);
  const report = createReport(secrets.redact);
  const files = new Files({ readFile: context.readFile, report });
  const data = await readSite(path, files, secrets, report);
  const profiles = new ProfileLoader({
    files,
    report,
    beside: { path: folder, name: folder === "." && !path.startsWith("./") ? "" : folder },
    shipped: context.profiles_dir ?? shippedProfiles,
  });
  const site =
    data === null ? null : await buildSite(data, { profiles, report, resource: context.resource ?? {}, secrets });
  return { site: report.failed ? null : site, faults: report.list(), files: files.paths };
}

async function readSite(path: string, files: Files, secrets: Secrets, report: Report): Promise<DataMap | null> {
  let bytes: Uint8Array | null;
  try {
    bytes = await files.bytes(path);
  } catch (error) {
    report.fault(topOf(path), unreadable(error));
    return null;
  }
  if (bytes === null) {
    report.fault(topOf(path), "there is no such file");
    return null;
  }
  await secrets.readFiles(new TextDecoder().decode(bytes), files);
  const data = parseYaml(path, bytes, report, { text: (text, at, where) => secrets.fill(text, at, where, report) });
  if (data === undefined) return null;
  if (isDataMap(data)) return data;
  report.fault(topOf(path), "a site file is a map with the keys gateway, devices and targets");
  return null;
}

interface BuildContext {
  readonly profiles: ProfileLoader;
  readonly report: Report;
  readonly resource: Attributes;
  readonly secrets: Secrets;
}

async function buildSite(data: DataMap, { profiles, report, resource, secrets }: BuildContext): Promise<Site | null> {
  const top = selfOf(data);
  parseData(topSchema, data, report, top);
  const gateway = section(data, "gateway", "who and where this gateway is, at least { id: NAME }", report);
  const head = gateway === null ? undefined : parseData(gatewaySchema, gateway, report, keyAt(data, "gateway"));
  const agent = parseData(agentSchema, data["agent"] ?? {}, report, keyAt(data, "agent"));

  const gatewayResource: Attributes = {
    ...resource,
    "service.name": "lineside",
    ...(head !== undefined && { "service.instance.id": head.id, ...hierarchyOf(head), ...head.attributes }),
  };
  const items = mapsAt(data, "devices", "device", report);
  checkIds(
    items.map(({ item }) => item),
    report,
  );
  const built: BuiltDevice[] = [];
  const context: DeviceContext = { profiles, report, resource: gatewayResource, shared: new Map() };
  for (const { item, at } of items) built.push(await buildDevice(item, at, context));
  checkSharing(built, report);

  // A misspelt section is told as an unknown key already.
  if (data["targets"] === undefined && Object.keys(data).every((key) => key in topSchema.shape))
    report.warn(
      top,
      "'targets' is missing: readings are kept in the journal and go nowhere; - console: {} prints them",
    );
  const made: { item: DataMap; target: SiteTarget }[] = [];
  const targetItems = mapsAt(data, "targets", "target", report);
  checkTargetNames(
    targetItems.map(({ item }) => item),
    report,
  );
  for (const { item, at } of targetItems) {
    const target = buildTarget(item, at, report);
    if (target !== null) made.push({ item, target });
  }
  checkFiles(made, report);
  if (head === undefined || agent === undefined) return null;
  return {
    gateway: { id: head.id, resource: gatewayResource },
    devices: built.flatMap(({ device, enabled }) => (device !== null && enabled ? [device] : [])),
    targets: made.map(({ target }) => target),
    agent: settingsOf(agent),
    redact: secrets.redact,
  };
}

/** A section that must be there and be a map. */
function section(data: DataMap, key: string, what: string, report: Report): DataMap | null {
  const value = data[key];
  if (value === undefined) report.fault(selfOf(data), `'${key}' is missing: ${what}`);
  else if (value === null) report.fault(keyAt(data, key), `${key}: nothing stands here; ${what}`);
  else if (isDataMap(value)) return value;
  else report.fault(valueAt(data, key), `${key}: expected a map (key: value): ${what}`);
  return null;
}

/** The maps of a list, each with its place; what is no map is told. */
function mapsAt(data: DataMap, key: string, one: string, report: Report): { item: DataMap; at: At }[] {
  const list: Data | undefined = data[key];
  if (!Array.isArray(list)) return [];
  if (list.length === 0) report.warn(keyAt(data, key), `${key}: the list is empty`);
  return list.flatMap((item, index) => {
    const at = valueAt(list, index);
    if (isDataMap(item)) return [{ item, at }];
    report.fault(
      at,
      `a ${one} is a map (key: value)${typeof item === "string" ? `, not '${item}'${item.endsWith(":") ? "" : "; is a colon missing?"}` : ""}`,
    );
    return [];
  });
}

function settingsOf(agent: ReturnType<typeof agentSchema.parse>): AgentSettings {
  return {
    http: agent.http === false ? null : agent.http,
    log: agent.log,
    commit_interval_ms: agent.commit_interval,
    buffer: { limit_bytes: agent.buffer.limit },
    metrics_interval_ms: agent.metrics_interval === false ? null : agent.metrics_interval,
  };
}
