/** What must hold between the parts of a site file: one name for one thing, one line for one setting. */
import type { FileOptions } from "#adapters/targets/file/options.ts";
import { lineAndColumn, type Report } from "#profiles/report.ts";
import { type DataMap, isDataMap, keyAt, valueAt } from "#profiles/yaml.ts";
import { resolve } from "node:path";
import type { SiteTarget } from "./contract.ts";
import type { BuiltDevice } from "./device.ts";
import { targetNames } from "./schema.ts";

/** Two of one id would be one device to every target; the second is told, and where the first stands. */
export function checkIds(devices: readonly DataMap[], report: Report): void {
  const first = new Map<string, DataMap>();
  for (const data of devices) {
    const { id } = data;
    if (typeof id !== "string") continue;
    const before = first.get(id);
    if (before === undefined) first.set(id, data);
    else
      report.fault(
        valueAt(data, "id"),
        `device '${id}' stands here twice; the first is in line ${lineAndColumn(valueAt(before, "id")).line}`,
      );
  }
}

/** Targets are named by `id`, else by their type; the name is the name of a cursor. */
export function checkTargetNames(targets: readonly DataMap[], report: Report): void {
  const first = new Map<string, DataMap>();
  for (const data of targets) {
    const type = targetNames.find((name) => data[name] !== undefined);
    const name = typeof data["id"] === "string" ? data["id"] : type;
    if (name === undefined) continue;
    const at = data["id"] === undefined ? keyAt(data, type ?? "") : valueAt(data, "id");
    const before = first.get(name);
    if (before === undefined) first.set(name, data);
    else {
      const where = before["id"] === undefined ? keyAt(before, type ?? "") : valueAt(before, "id");
      report.fault(
        at,
        `target '${name}' stands here twice; the first is in line ${lineAndColumn(where).line}${data["id"] === undefined ? "; give this one an id" : ""}`,
      );
    }
  }
}

/** Targets that append to one file, or to one that another rotates, would cut away each other's lines. */
export function checkFiles(
  targets: readonly { readonly item: DataMap; readonly target: SiteTarget }[],
  report: Report,
): void {
  const taken = new Map<string, number>();
  for (const { item, target } of targets) {
    if (target.type !== "file") continue;
    // What the file target's schema made of it.
    const { path, keep } = target.options as FileOptions;
    const names = [path, ...Array.from({ length: keep }, (_, i) => `${path}.${i + 1}`)].map((name) => resolve(name));
    const twice = names.find((name) => taken.has(name));
    if (twice !== undefined) {
      const file = item["file"];
      report.fault(
        isDataMap(file) ? valueAt(file, "path") : keyAt(item, "file"),
        `file '${twice}' is written by the target in line ${taken.get(twice)} too: give each a file of its own`,
      );
    }
    for (const name of names) taken.set(name, taken.get(name) ?? target.place.line);
  }
}

const LINE_DEFAULTS: Readonly<Record<string, string | number>> = {
  baud: 9600,
  data_bits: 8,
  parity: "none",
  stop_bits: 1,
};

/** Devices that share a socket or a serial line must agree on it. */
export function checkSharing(devices: readonly BuiltDevice[], report: Report): void {
  const ways = new Map<string, BuiltDevice>();
  const units = new Map<string, BuiltDevice>();
  for (const built of devices) {
    if (!built.enabled || built.protocol === null || built.options === null) continue;
    const way = wayOf(built);
    if (way === null) continue;
    const at = keyAt(built.data, built.protocol);
    const before = ways.get(way);
    if (before === undefined) ways.set(way, built);
    else checkWay(before, built, way, report);
    if (built.protocol !== "modbus") continue;
    const unit = `${way} unit ${String(built.options["unit"])}`;
    const twin = units.get(unit);
    if (twin === undefined) units.set(unit, built);
    else
      report.warn(
        at,
        `${unit} is read by device '${idOf(twin)}' too (line ${lineAndColumn(keyAt(twin.data, "modbus")).line})`,
      );
  }
}

function checkWay(before: BuiltDevice, built: BuiltDevice, way: string, report: Report): void {
  const at = keyAt(built.data, built.protocol ?? "");
  const other = `device '${idOf(before)}' (line ${lineAndColumn(keyAt(before.data, before.protocol ?? "")).line})`;
  if (before.protocol !== built.protocol) {
    report.fault(at, `${way} is taken by ${before.protocol ?? ""} for ${other}`);
    return;
  }
  if (built.protocol === "serial") {
    report.fault(at, `${way} is taken by ${other}; a line protocol has one device a line`);
    return;
  }
  const mine = settingsOf(built);
  const theirs = settingsOf(before);
  for (const [name, value] of Object.entries(mine)) {
    if (theirs[name] !== value)
      report.fault(
        at,
        `${way}: ${name} ${String(value)} here, ${String(theirs[name])} at ${other}; devices on one line share its settings`,
      );
  }
}

/** The socket or line of a device, for people; null where it has one of its own anyway. */
function wayOf({ protocol, options }: BuiltDevice): string | null {
  if (options === null || protocol === "opcua") return null;
  const line = protocol === "modbus" ? mapOf(options["serial"])["port"] : options["port"];
  if (options["host"] === undefined) return typeof line === "string" ? line : null;
  const port = protocol === "modbus" ? options["port"] : options["tcp_port"];
  return typeof options["host"] === "string" ? `${options["host"].toLowerCase()}:${String(port)}` : null;
}

function settingsOf({ options }: BuiltDevice): Readonly<Record<string, unknown>> {
  if (options?.["serial"] === undefined) return { framing: options?.["framing"] };
  const stated = mapOf(options["serial"]);
  return Object.fromEntries(Object.entries(LINE_DEFAULTS).map(([name, value]) => [name, stated[name] ?? value]));
}

const mapOf = (value: unknown): DataMap => (isDataMap(value) ? value : {});
const idOf = ({ data }: BuiltDevice): string => (typeof data["id"] === "string" ? data["id"] : "?");
