/** The demo's live view: what the agent says of itself, as lines of text. Pure. */
import { bytesText, type Column, readingText, table } from "#agent/cli/table.ts";
import type { Reading } from "#agent/process/latest.ts";
import type { AgentStatus, TargetStatus } from "#agent/status.ts";

export interface Model {
  readonly status: AgentStatus;
  /** Readings a second of each device, and in all. */
  readonly rates: ReadonlyMap<string, number>;
  readonly rate: number;
  /** Of one core: the agent, the receiver and this view. */
  readonly cpu_share: number;
  /** Readings delivered a second. */
  readonly delivery_rate: number;
  readonly selected: string;
  readonly readings: readonly Reading[];
  /** Since when the receiver is out, microseconds; null while it takes data. */
  readonly out_since_us: number | null;
  /** Devices that were unplugged by hand. */
  readonly unplugged: ReadonlySet<string>;
  readonly received: { readonly points: number; readonly logs: number; readonly gaps: number };
}

const BAR = 40;

/** ANSI where `color`, plain text elsewhere. */
export function render(model: Model, size: { columns: number; rows: number }, color: boolean): string {
  const paint = painter(color);
  const lines = [
    ...header(model, paint),
    "",
    ...deviceLines(model, paint),
    "",
    ...targetLines(model, paint),
    "",
    ...readingLines(model, paint),
  ];
  const keys = "  o receiver outage   u unplug the selected device   ↑ ↓ select   q quit";
  const room = Math.max(8, size.rows - 2);
  const body = lines.length > room ? [...lines.slice(0, room - 1), paint.dim("  ...")] : lines;
  return [...body, "", paint.dim(keys)].map((line) => clip(line, size.columns)).join("\n");
}

function header({ status, rate, cpu_share }: Model, paint: Paint): string[] {
  const { process: own } = status;
  const up = duration(own.uptime_s);
  const title = `${paint.bold(`Lineside ${status.version}`)}  ${status.gateway}, up ${up}`;
  const load = `${rate.toFixed(0)} readings/s  ${(cpu_share * 100).toFixed(1)} % CPU  ${bytesText(own.rss_bytes)} RSS`;
  return [`${title}   ${paint.dim(load)}`];
}

function deviceLines({ status, rates, selected, unplugged }: Model, paint: Paint): string[] {
  const columns: Column<AgentStatus["devices"][number]>[] = [
    { title: "  device", text: ({ id }) => `${id === selected ? "▸" : " "} ${id}` },
    { title: "source", text: ({ source }) => source },
    {
      title: "state",
      text: ({ state, reason, id }) =>
        `${state}${reason === "" ? "" : ` (${reason})`}${unplugged.has(id) ? " unplugged" : ""}`,
    },
    { title: "readings/s", align: "right", text: ({ id }) => (rates.get(id) ?? 0).toFixed(1) },
    { title: "readings", align: "right", text: ({ readings }) => String(readings) },
    { title: "bad", align: "right", text: ({ bad }) => String(bad) },
    { title: "poll", align: "right", text: ({ poll_ms }) => (poll_ms === 0 ? "pushed" : `${poll_ms.toFixed(1)} ms`) },
  ];
  const [head = "", ...rows] = table(columns, status.devices).trimEnd().split("\n");
  return [
    paint.dim(head),
    ...rows.map((row, index) => {
      const device = status.devices[index];
      return device?.state === "up" ? paint.green(row) : device?.state === "down" ? paint.red(row) : row;
    }),
  ];
}

function targetLines(model: Model, paint: Paint): string[] {
  const { status, delivery_rate, out_since_us, received } = model;
  const { journal } = status;
  const lines = status.targets.flatMap((target) => targetOf(target, delivery_rate, paint));
  const disk = `  journal   ${bytesText(journal.bytes_on_disk)} of ${bytesText(journal.limit_bytes)}, ${journal.commits} synced writes, ${journal.waiting} readings not durable yet`;
  const taken = `  receiver  ${received.points} data points, ${received.logs} log records, ${received.gaps} of them gaps`;
  const out = out_since_us === null ? "" : paint.red(`  OUT for ${duration((status.now_us - out_since_us) / 1e6)}`);
  return [...lines, paint.dim(disk), `${paint.dim(taken)}${out}`];
}

function targetOf(target: TargetStatus, rate: number, paint: Paint): string[] {
  const filled = Math.min(BAR, Math.ceil(Math.log10(target.queued + 1) * 8));
  const bar = `${"█".repeat(filled)}${"·".repeat(BAR - filled)}`;
  const state =
    target.state === "retrying" ? paint.red(`retrying: ${target.reason}`) : `${rate.toFixed(0)} delivered/s`;
  const sum = `read ${target.read} = delivered ${target.delivered} + queued ${target.queued} + dropped ${target.dropped}`;
  const exact = target.imbalance === 0 ? paint.green("exact") : paint.red(`off by ${target.imbalance}`);
  return [
    `  ${target.name.padEnd(8)}  ${state}`,
    `  backlog   ${bar} ${target.queued}`,
    `            ${sum}  ${exact}`,
  ];
}

const READING_COLUMNS: readonly Column<Reading>[] = [
  { title: "  point", text: ({ point }) => `  ${point}` },
  { title: "value", align: "right", text: readingText },
  { title: "unit", text: ({ unit }) => (unit === "1" ? "" : unit) },
  {
    title: "quality",
    text: ({ quality, reason, time_us }) => (time_us === 0 ? "-" : reason === "" ? quality : `${quality}: ${reason}`),
  },
];

function readingLines({ readings }: Model, paint: Paint): string[] {
  const [head = "", ...rows] = table(READING_COLUMNS, readings).trimEnd().split("\n");
  return [paint.dim(head), ...rows.map((row, index) => (readings[index]?.quality === "bad" ? paint.red(row) : row))];
}

type Paint = Record<"bold" | "dim" | "green" | "red", (text: string) => string>;

function painter(color: boolean): Paint {
  const wrap = (code: number) => (text: string) => (color ? `\x1b[${code}m${text}\x1b[0m` : text);
  return { bold: wrap(1), dim: wrap(2), green: wrap(32), red: wrap(31) };
}

/** Cuts a line to a width, not counting escapes, so that it never wraps. */
function clip(line: string, columns: number): string {
  let width = 0;
  let out = "";
  for (const part of line.split(/(\x1b\[\d+m)/)) {
    if (part.startsWith("\x1b")) {
      out += part;
      continue;
    }
    const characters = [...part].slice(0, Math.max(0, columns - width));
    width += characters.length;
    out += characters.join("");
  }
  return out;
}

function duration(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return h > 0 ? `${h} h ${m} min` : m > 0 ? `${m} min ${s} s` : `${s} s`;
}
