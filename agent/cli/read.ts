/** `lineside read`: one round of real reads, as a table or JSON. No journal, no target. */
import { type AdapterContext, LinesideError, type Session, type Source } from "#adapters/contract.ts";
import { isoTime } from "#adapters/lines.ts";
import { sources } from "#adapters/registry.ts";
import { createLog } from "../log.ts";
import { toJson } from "../http.ts";
import { systemClock as clock } from "../clock.ts";
import { ended } from "../ended.ts";
import { Latest, type Reading } from "../process/latest.ts";
import type { Site, SiteDevice, SourceName } from "../site/contract.ts";
import { EXIT } from "./exit.ts";
import { type Column, readingText, table } from "./table.ts";

const CONNECT_MS_MAX = 15_000;
const CLOSE_MS_MAX = 5_000;
/** How long pushed points are waited for: at least this, and two of their intervals. */
const PUSHED_MS_MIN = 5_000;

interface DeviceResult {
  readonly device: string;
  readonly profile: string | null;
  readonly source: string;
  /** Empty: it was read. Else the error's code and text. */
  readonly code: string;
  readonly error: string;
  readonly connect_ms: number;
  readonly read_ms: number;
  readonly identity: Readonly<Record<string, unknown>>;
  readonly readings: readonly Reading[];
}

export async function readCommand(site: Site, options: { device?: string; json?: boolean }): Promise<number> {
  const devices = site.devices.filter(({ id }) => options.device === undefined || id === options.device);
  if (devices.length === 0) {
    const known = site.devices.map(({ id }) => id).join(", ");
    process.stderr.write(`no device ${options.device ?? ""} in the site file; there are: ${known}\n`);
    return EXIT.usage;
  }
  const log = createLog({ level: "error", format: "pretty", redact: (text) => site.redact(text) });
  const context: AdapterContext = { clock, log, data_dir: null };
  const made = new Map<SourceName, Source<never, never>>();
  for (const { protocol } of devices) {
    if (!made.has(protocol)) made.set(protocol, (await sources[protocol].load()).createSource(context));
  }
  const results = await Promise.all(
    devices.map(async (device) => {
      const source = made.get(device.protocol);
      if (source === undefined) throw new Error(`no source for ${device.protocol}`);
      return await readDevice(device, source, context);
    }),
  );
  for (const [name, source] of made) await ended(context, name, CLOSE_MS_MAX, source.close());
  process.stdout.write(site.redact(options.json === true ? toJson(results) : results.map(textOf).join("\n")));
  return results.some(({ readings, code }) => code !== "" || !readings.some(({ quality }) => quality !== "bad"))
    ? EXIT.device
    : EXIT.done;
}

async function readDevice(
  device: SiteDevice,
  source: Source<never, never>,
  context: AdapterContext,
): Promise<DeviceResult> {
  const latest = new Latest(device.points.length);
  const lost = Promise.withResolvers<never>();
  // Observed by the race below; without one it must not count as unhandled.
  lost.promise.catch(() => undefined);
  const started_ms = clock.monotonic_ms();
  let session: Session | null = null;
  let connected_ms: number | null = null;
  let identity = {};
  let failure: LinesideError | null = null;
  try {
    session = source.open(device as never, {
      clock,
      log: context.log,
      sink: (frame) => latest.apply(frame),
      lost: (error) => lost.reject(error),
    });
    const limit = new AbortController();
    const cancel = clock.after(CONNECT_MS_MAX, () => limit.abort());
    identity = await session.connect(limit.signal).finally(cancel);
    connected_ms = clock.monotonic_ms();
    await Promise.race([readAll(session, device, latest), lost.promise]);
  } catch (error) {
    failure =
      error instanceof LinesideError ? error : new LinesideError("link_failed", String(error), { cause: error });
  }
  const ended_ms = clock.monotonic_ms();
  if (session !== null) await ended({ clock, log: context.log }, device.id, CLOSE_MS_MAX, session.close());
  return {
    device: device.id,
    profile: device.profile,
    source: device.protocol,
    code: failure?.code ?? "",
    error: failure?.message ?? "",
    connect_ms: Math.round((connected_ms ?? ended_ms) - started_ms),
    read_ms: Math.round(ended_ms - (connected_ms ?? ended_ms)),
    identity,
    // What was not read because the link failed is bad for that reason.
    readings: latest
      .read(device.descriptor)
      .map((reading) => (failure === null || reading.time_us > 0 ? reading : { ...reading, reason: failure.code })),
  };
}

async function readAll(session: Session, device: SiteDevice, latest: Latest): Promise<void> {
  const never = new AbortController().signal;
  for (let group = 0; group < session.groups.length; group++) await session.poll(group, never);
  const pushed = [...session.pushed];
  if (pushed.length === 0) return;
  const every_ms = Math.max(...pushed.map((point) => device.points[point]?.every ?? 0));
  const until_ms = clock.monotonic_ms() + Math.max(PUSHED_MS_MIN, every_ms * 2);
  const missing = (): boolean => {
    const readings = latest.read(device.descriptor);
    return pushed.some((point) => readings[point]?.time_us === 0);
  };
  while (missing() && clock.monotonic_ms() < until_ms) await clock.sleep(25);
}

const COLUMNS: readonly Column<Reading>[] = [
  { title: "point", text: ({ point }) => point },
  { title: "value", align: "right", text: readingText },
  { title: "unit", text: ({ unit }) => (unit === "1" ? "" : unit) },
  { title: "quality", text: ({ quality, time_us }) => (time_us === 0 ? "-" : quality) },
  { title: "reason", text: ({ reason, time_us }) => (time_us === 0 ? "no answer yet" : reason) },
  { title: "time", text: ({ time_us }) => (time_us === 0 ? "" : isoTime(time_us)) },
];

function textOf(result: DeviceResult): string {
  const { device, profile, source, code, error, connect_ms, read_ms, readings, identity } = result;
  const title = `${device}  ${profile ?? source}`;
  const facts = Object.entries(identity).map(([key, value]) => `  ${key}: ${String(value)}\n`);
  const failed = code === "" ? "" : `  ${code}: ${error}\n`;
  const body = code !== "" && readings.every(({ time_us }) => time_us === 0) ? "" : table(COLUMNS, readings);
  const took =
    read_ms === 0 && code !== "" ? `connect ${connect_ms} ms` : `connect ${connect_ms} ms, read ${read_ms} ms`;
  return `${title}  (${took})\n${failed}${facts.join("")}${body}`;
}
