/**
 * End to end over real sockets, each process on its own: 80 Modbus devices of 125 registers, the agent,
 * an OTLP receiver. Only the agent's process is measured, and beside it the same input and output alone.
 *
 *   plant.ts ◀─Modbus TCP─ agent.ts ─OTLP─▶ collector.ts           10,000 readings a second, then as fast as it goes
 *            ◀──────────── floor.ts ──────▶                        the same requests, as many bytes
 *                             └ append + fdatasync, as many bytes as the journal's commits
 */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ChildProcess } from "node:child_process";
import type { Received } from "./end-to-end/collector.ts";
import {
  type AgentTask,
  end,
  type FloorTask,
  type Measured,
  READINGS,
  profileText,
  run,
  siteText,
  start,
} from "./end-to-end/setup.ts";
import { type Row, row } from "./stage.ts";

const INTERVAL_MS = 1000;
/** A minute of the agent's life, in three seconds. */
const WARM = { warm_ms: 60_000, speed: 20 };
const WINDOW_MS = 8000;
const FLOOR_WINDOW_MS = 4000;
/** As often as an interval may be; a poll that finds the one before under way is left out. */
const SATURATED = { every_ms: 1, warm_ms: 500, speed: 1, window_ms: 2000 };

interface Places {
  readonly folder: string;
  readonly ports: readonly number[];
  readonly collector: ChildProcess;
  readonly http_port: number;
  readonly grpc_port: number;
}

async function received(collector: ChildProcess): Promise<Received> {
  // What collector.ts sends.
  const answer = new Promise<Received>((resolve) =>
    collector.once("message", (message) => resolve(message as Received)),
  );
  collector.send("totals");
  return await answer;
}

interface Way {
  readonly measured: Measured;
  /** Bytes on the wire for each reading, headers aside. */
  readonly post_bytes: number;
}

async function runAgent(places: Places, name: string, otlp: string, times: Pace): Promise<Way> {
  const folder = join(places.folder, name);
  const site = join(places.folder, `${name}.yaml`);
  await writeFile(site, siteText({ ports: places.ports, otlp, every_ms: times.every_ms }));
  const before = await received(places.collector);
  const { warm_ms, window_ms, speed = 1 } = times;
  const task: AgentTask = { site, folder, ports: places.ports, warm_ms, window_ms, speed };
  const measured = await run("agent.ts", task);
  const after = await received(places.collector);
  const http = after.http_bytes - before.http_bytes;
  const bytes = http > 0 ? http : after.bytes - before.bytes;
  return { measured, post_bytes: bytes / Math.max(1, after.points - before.points) };
}

interface Pace {
  readonly every_ms: number;
  readonly speed?: number;
  readonly warm_ms: number;
  readonly window_ms: number;
}

async function runFloor(
  places: Places,
  { measured, post_bytes }: Way,
  { every_ms, warm_ms, window_ms }: Pace,
): Promise<Measured> {
  const { folder, ports, http_port } = places;
  const file_bytes = measured.journal_bytes / measured.readings;
  const task: FloorTask = {
    folder,
    ports,
    receiver_port: http_port,
    interval_ms: every_ms,
    file_bytes,
    post_bytes,
    warm_ms,
    window_ms,
  };
  return await run("floor.ts", task);
}

const cpu = ({ cpu_us, readings }: Measured): number => cpu_us / readings;
const rate = ({ readings, elapsed_ms }: Measured): number => (readings / elapsed_ms) * 1000;

/** A run that lost readings, fell behind or polled too often says nothing of what it costs to do the work. */
function check(name: string, measured: Measured): void {
  const { bad, overruns, readings, delivered } = measured;
  const missing = readings - delivered;
  const onTime = Math.abs(rate(measured) / (READINGS * (1000 / INTERVAL_MS)) - 1) < 0.02;
  if (onTime && bad === 0 && overruns === 0 && missing < 2 * readings * (INTERVAL_MS / WINDOW_MS)) return;
  throw new Error(
    `${name}: ${readings} readings in ${Math.round(measured.elapsed_ms)} ms, ${bad} without a value, ` +
      `${overruns} polls skipped, ${missing} not delivered`,
  );
}

async function atOneHertz(
  places: Places,
  name: string,
  label: string,
  otlp: string,
): Promise<{ rows: Row[]; way: Way }> {
  const way = await runAgent(places, name, otlp, { every_ms: INTERVAL_MS, ...WARM, window_ms: WINDOW_MS });
  check(label, way.measured);
  const floor = await runFloor(places, way, {
    every_ms: INTERVAL_MS,
    warm_ms: INTERVAL_MS,
    window_ms: FLOOR_WINDOW_MS,
  });
  const { measured } = way;
  const rows = [
    row(`${label}: CPU`, cpu(measured), "us/reading", cpu(floor)),
    row(`${label}: major collections meanwhile`, measured.collections, `in ${WINDOW_MS / 1000} s`, null),
    row(`${label}: anonymous RSS`, measured.anonymous_mb, "MB", floor.anonymous_mb),
    row(`${label}: journal bytes`, measured.journal_bytes / measured.readings, "bytes/reading", null),
    row(
      `${label}: device bytes`,
      measured.device_bytes / measured.readings,
      "bytes/reading",
      floor.device_bytes / floor.readings,
    ),
    row(`${label}: sent bytes`, way.post_bytes, "bytes/reading", null),
  ];
  return { rows, way };
}

async function saturated(places: Places, way: Way, otlp: string): Promise<Row[]> {
  const { measured } = await runAgent(places, "saturated", otlp, SATURATED);
  const floor = await runFloor(places, way, { every_ms: 0, warm_ms: 300, window_ms: 1000 });
  return [
    row("saturated, HTTP + zstd: read", rate(measured), "readings/s", rate(floor)),
    row(
      "saturated, HTTP + zstd: delivered",
      (measured.delivered / measured.elapsed_ms) * 1000,
      "readings/s",
      rate(floor),
    ),
  ];
}

export async function bench(): Promise<readonly Row[]> {
  const folder = await mkdtemp(join(tmpdir(), "lineside-bench-"));
  const children: ChildProcess[] = [];
  try {
    await writeFile(join(folder, "bench-meter.yaml"), profileText());
    const plant = await start<{ ports: number[] }>("plant.ts", []);
    children.push(plant.child);
    const collector = await start<{ http_port: number; grpc_port: number }>("collector.ts", []);
    children.push(collector.child);
    const { http_port, grpc_port } = collector.first;
    const places: Places = { folder, ports: plant.first.ports, collector: collector.child, http_port, grpc_port };
    const http = `{ endpoint: "http://127.0.0.1:${http_port}", protocol: http/protobuf, compression: zstd }`;
    const grpc = `{ endpoint: "http://127.0.0.1:${grpc_port}", protocol: grpc, compression: none }`;
    const overHttp = await atOneHertz(places, "http", "10k readings/s, HTTP + zstd", http);
    const overGrpc = await atOneHertz(places, "grpc", "10k readings/s, gRPC", grpc);
    return [...overHttp.rows, ...overGrpc.rows, ...(await saturated(places, overHttp.way, http))];
  } finally {
    for (const child of children) await end(child);
    await rm(folder, { recursive: true, force: true });
  }
}
