/** What must hold for points of every protocol, beyond their schema. */
import { didYouMean } from "../suggest.ts";
import type { CheckedPoint } from "../points.ts";
import type { At, Report } from "../report.ts";
import { unitProblem } from "../units.ts";
import { type DataMap, isDataMap, keyAt, valueAt } from "../yaml.ts";

/** Faster than this, a gateway on a small board reads one device and little else. */
const EVERY_MIN_MS = 20;

export function checkCommon(points: readonly CheckedPoint[], report: Report): void {
  for (const checked of points) {
    checkKind(checked, report);
    checkNumbers(checked, report);
  }
  checkSeries(points, report);
}

/** Units are checked also of points that are otherwise unfit. */
export async function checkUnits(points: readonly DataMap[], report: Report): Promise<void> {
  for (const data of points) {
    const { unit } = data;
    const problem = typeof unit === "string" ? await unitProblem(unit) : null;
    if (problem !== null) report.fault(valueAt(data, "unit"), `unit: ${problem}`);
  }
}

function checkKind({ point, data }: CheckedPoint, report: Report): void {
  const { kind } = point;
  if (kind === "state" && point.states === undefined && point.flags === undefined) {
    report.fault(valueAt(data, "kind"), `point '${point.name}' has kind state and names neither states nor flags`);
  }
  if (point.states !== undefined && point.flags !== undefined) {
    report.fault(keyAt(data, "flags"), "a state has either states (one code at a time) or flags (bits), not both");
  }
  for (const field of ["states", "flags"] as const) {
    if (point[field] !== undefined && kind !== "state") {
      report.fault(
        keyAt(data, field),
        `${field} need kind: state, and point '${point.name}' has kind ${kind}${didYouMean(kind, ["state"])}`,
      );
    }
  }
  for (const field of ["rollover", "monotonic"] as const) {
    if (data[field] !== undefined && kind !== "counter") {
      report.fault(keyAt(data, field), `${field} needs kind: counter, and point '${point.name}' has kind ${kind}`);
    }
  }
  if (kind === "text") {
    for (const field of ["scale", "offset", "range", "sentinels"] as const) {
      if (data[field] !== undefined) report.fault(keyAt(data, field), `a text has no ${field}`);
    }
    if (point.type !== undefined && point.type !== "string")
      report.fault(valueAt(data, "type"), `kind text needs type string, not ${point.type}`);
  } else if (point.type === "string") {
    report.fault(valueAt(data, "type"), `type string needs kind: text, and point '${point.name}' has kind ${kind}`);
  }
  checkCodes(point.states, data["states"], report);
}

/** 16 and 0x10 are one code, however it is written. */
function checkCodes(states: Readonly<Record<string, string>> | undefined, data: unknown, report: Report): void {
  if (states === undefined || !isDataMap(data)) return;
  const codes = new Map<number, string>();
  const names = new Map<string, string>();
  for (const [key, name] of Object.entries(states)) {
    const code = Number(key);
    const first = codes.get(code);
    if (first !== undefined) report.fault(keyAt(data, key), `code ${key} is the same as ${first}`);
    const other = names.get(name);
    if (other !== undefined) report.warn(valueAt(data, key), `codes ${other} and ${key} are both called '${name}'`);
    codes.set(code, key);
    names.set(name, key);
  }
}

function checkNumbers({ point, data }: CheckedPoint, report: Report): void {
  if (point.scale === 0) report.fault(valueAt(data, "scale"), "scale 0 makes every value the same");
  if (point.range !== undefined && point.range[0] > point.range[1]) {
    report.fault(
      valueAt(data, "range"),
      `range: the lowest value ${point.range[0]} is above the highest ${point.range[1]}`,
    );
  }
  if (data["every"] !== undefined) checkEvery(point.every, valueAt(data, "every"), report);
}

/** A poll interval that was stated, of a point or of a device. */
export function checkEvery(every_ms: number, at: At, report: Report): void {
  if (every_ms >= EVERY_MIN_MS) return;
  report.warn(
    at,
    `${every_ms}ms is faster than most devices and gateways can go; ${EVERY_MIN_MS}ms or more is sensible`,
  );
}

/** Two points must not be one OTLP stream, and one metric must not have two units or kinds. */
function checkSeries(points: readonly CheckedPoint[], report: Report): void {
  const streams = new Map<string, string>();
  const metrics = new Map<string, CheckedPoint>();
  for (const checked of points) {
    const { point, data } = checked;
    const metric = point.metric ?? point.name;
    const at = data["metric"] === undefined ? keyAt(data, "name") : valueAt(data, "metric");
    const stream = JSON.stringify([metric, Object.entries(point.attributes).sort(([a], [b]) => (a < b ? -1 : 1))]);
    const twin = streams.get(stream);
    if (twin !== undefined)
      report.fault(
        at,
        `points '${twin}' and '${point.name}' have the same metric and attributes; tell them apart by an attribute`,
      );
    streams.set(stream, point.name);
    const first = metrics.get(metric);
    if (first !== undefined && (first.point.unit !== point.unit || first.point.kind !== point.kind)) {
      report.warn(
        at,
        `metric ${metric} is ${point.kind} in ${point.unit} here, and ${first.point.kind} in ${first.point.unit} at point '${first.point.name}'`,
      );
    }
    metrics.set(metric, first ?? checked);
  }
}
