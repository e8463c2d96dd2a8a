/** What the processes of the end-to-end stage agree on: the plant, the site file, and what they tell each other. */
import { type ChildProcess, fork } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import guard from "#agent/cli/guard.cjs";

export const DEVICES = 80;
/** Holding registers of a device: as many as one request may ask for, each a reading. */
export const REGISTERS = 125;
export const READINGS = DEVICES * REGISTERS;
/** How points lie on metrics: a few series share one, as the phases of a meter do. */
const SERIES_PER_METRIC = 5;

/** A profile beside the site file, as a plant with 80 machines of one model has it. */
export function profileText(): string {
  const lines = Array.from({ length: REGISTERS }, (_, point) => {
    const metric = `plant.measured.value_${Math.floor(point / SERIES_PER_METRIC)}`;
    const attributes = `{ phase: L${point % SERIES_PER_METRIC} }`;
    return `  - { name: value_${point}, metric: ${metric}, unit: V, address: ${point}, scale: 0.1, attributes: ${attributes} }`;
  });
  return `title: Bench meter\nmanufacturer: Bench\nmodel: M1\nversion: 1.0.0\nprotocol: modbus\npoints:\n${lines.join("\n")}\n`;
}

export interface SiteOptions {
  readonly ports: readonly number[];
  /** The target's section, in YAML. */
  readonly otlp: string;
  readonly every_ms: number;
}

/** Everything but the addresses is as a site has it by default. */
export function siteText({ ports, otlp, every_ms }: SiteOptions): string {
  const devices = ports.map(
    (port, index) =>
      `  - { id: meter-${index}, profile: bench-meter, every: ${every_ms}ms, modbus: { host: 127.0.0.1, port: ${port} } }`,
  );
  const targets = `targets:\n  - otlp: ${otlp}`;
  return `gateway: { id: bench }\ndevices:\n${devices.join("\n")}\n${targets}\nagent: { http: { port: 0 } }\n`;
}

/** What a measured process is told, as JSON in its first argument. */
export interface Task {
  readonly ports: readonly number[];
  readonly folder: string;
  /** In the time of the process's own clock, where it has one. */
  readonly warm_ms: number;
  readonly window_ms: number;
}

export interface AgentTask extends Task {
  readonly site: string;
  /** How much faster its clock is while it warms up. */
  readonly speed: number;
}

export interface FloorTask extends Task {
  readonly receiver_port: number;
  readonly interval_ms: number;
  /** Bytes appended to a file for each reading, and posted for each reading. */
  readonly file_bytes: number;
  readonly post_bytes: number;
}

/** What a process did in its window. */
export interface Measured {
  readonly readings: number;
  readonly delivered: number;
  /** User and system time of all its threads. */
  readonly cpu_us: number;
  readonly elapsed_ms: number;
  readonly anonymous_mb: number;
  readonly journal_bytes: number;
  /** What the kernel wrote, or has yet to write, to the device for this process. */
  readonly device_bytes: number;
  /** Polls that found the one before still under way, and readings without a value. */
  readonly overruns: number;
  readonly bad: number;
  /** Major garbage collections: a window of some seconds has one or none. */
  readonly collections: number;
}

/** Memory of the process that is no file's: what goal 9 of the performance reference is about. */
export function anonymousMb(): number {
  const rollup = readFileSync("/proc/self/smaps_rollup", "utf8");
  return Number(/^Anonymous:\s+(\d+) kB$/m.exec(rollup)?.[1] ?? Number.NaN) / 1024;
}

export function deviceBytes(): number {
  return Number(/^write_bytes: (\d+)$/m.exec(readFileSync("/proc/self/io", "utf8"))?.[1] ?? Number.NaN);
}

/** A process of this folder, run as the agent is, and the first thing that it says. */
export async function start<First>(
  file: string,
  args: readonly string[],
): Promise<{ child: ChildProcess; first: First }> {
  const child = fork(join(import.meta.dirname, file), args, {
    execArgv: guard.NODE_FLAGS,
    stdio: ["ignore", "inherit", "inherit", "ipc"],
  });
  const first = await new Promise<First>((resolve, reject) => {
    // What our own file sends.
    child.once("message", (message) => resolve(message as First));
    child.once("exit", (code, signal) =>
      reject(new Error(`${file} ended with ${code ?? signal} before it said anything`)),
    );
  });
  return { child, first };
}

/** Its end; processes of this folder end when nobody is connected to them any more. */
export async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  if (child.connected) child.disconnect();
  await ended;
}

/** Runs a process that measures and ends by itself. */
export async function run(file: string, task: Task): Promise<Measured> {
  const { child, first } = await start<Measured>(file, [JSON.stringify(task)]);
  await end(child);
  return first;
}

/** Tells the parent, and leaves once it was told. */
export async function report(result: unknown): Promise<void> {
  await new Promise<void>((resolve) => process.send?.(result, undefined, {}, () => resolve()));
}
