/**
 * The agent's own figures, made from its status: one list that becomes a frame in the journal (and so
 * OTLP) and the text of /metrics (Prometheus exposition format 0.0.4).
 */
import type { Attributes, Descriptor } from "#adapters/contract.ts";
import { createFrame, type Frame, setInt } from "#adapters/frame.ts";
import type { AgentStatus } from "./status.ts";

interface Figure {
  readonly metric: string;
  readonly kind: "gauge" | "counter";
  readonly unit: string;
  readonly description: string;
  readonly attributes: Attributes;
  readonly value: number;
  /** Since when a counter counts. */
  readonly start_us: number;
}

/** Every figure of the agent, in a stable order. Names follow OTel semantic conventions where there are any. */
export function figuresOf(status: AgentStatus): Figure[] {
  const { devices, targets, journal, process: own } = status;
  const figures: Figure[] = [];
  const add = (
    metric: string,
    kind: Figure["kind"],
    unit: string,
    description: string,
    value: number,
    attributes: Attributes = {},
    start_us = status.started_us,
  ): void => void figures.push({ metric, kind, unit, description, attributes, value, start_us });

  for (const [source, value] of Object.entries(status.sources)) {
    add("lineside.readings.read", "counter", "{reading}", "Readings taken from devices.", value, { source });
  }
  for (const device of devices) {
    const of = { "lineside.device": device.id, source: device.source };
    // A reload that replaces the device counts anew.
    const begun = device.started_us;
    add("lineside.device.up", "gauge", "1", "1 while the device can be read.", device.state === "up" ? 1 : 0, of);
    add("lineside.device.readings", "counter", "{reading}", "Readings of the device.", device.readings, of, begun);
    add("lineside.device.readings.bad", "counter", "{reading}", "Readings without a value.", device.bad, of, begun);
    add("lineside.device.connects", "counter", "{connect}", "Times the link came up.", device.connects, of, begun);
    add(
      "lineside.device.overruns",
      "counter",
      "{poll}",
      "Polls skipped because one was under way.",
      device.overruns,
      of,
      begun,
    );
    add("lineside.device.poll.duration", "gauge", "s", "Time the last poll took.", device.poll_ms / 1000, of);
  }
  for (const target of targets) {
    const of = { "lineside.target": target.name };
    // The journal goes on counting over restarts.
    const since = target.counted_since_us;
    add(
      "lineside.target.readings.read",
      "counter",
      "{reading}",
      "Readings meant for the target.",
      target.read,
      of,
      since,
    );
    add(
      "lineside.target.readings.delivered",
      "counter",
      "{reading}",
      "Readings the target took.",
      target.delivered,
      of,
      since,
    );
    add("lineside.target.readings.queued", "gauge", "{reading}", "Readings waiting for the target.", target.queued, of);
    add(
      "lineside.target.readings.dropped",
      "counter",
      "{reading}",
      "Readings the target will never get.",
      target.dropped,
      of,
      since,
    );
    add(
      "lineside.target.imbalance",
      "gauge",
      "{reading}",
      "read - delivered - queued - dropped; always 0.",
      target.imbalance,
      of,
    );
    add(
      "lineside.target.retries",
      "counter",
      "{request}",
      "Deliveries that had to be tried again.",
      target.retries,
      of,
      target.started_us,
    );
    add("lineside.target.deliver.duration", "gauge", "s", "Time the last delivery took.", target.deliver_ms / 1000, of);
  }
  add("lineside.journal.size", "gauge", "By", "Bytes of the journal on disk.", journal.bytes_on_disk);
  add("lineside.journal.limit", "gauge", "By", "Most that the journal may take.", journal.limit_bytes);
  add("lineside.journal.commits", "counter", "{commit}", "Synced writes.", journal.commits);
  add("lineside.journal.written", "counter", "By", "Bytes given to the database.", journal.commit_bytes);
  add("lineside.journal.errors", "counter", "{error}", "Writes that failed.", journal.write_errors);
  add("lineside.journal.waiting", "gauge", "{reading}", "Readings not durable yet.", journal.waiting);
  add("process.cpu.time", "counter", "s", "CPU time of the agent.", own.cpu_s);
  add("process.memory.usage", "gauge", "By", "Resident memory of the agent.", own.rss_bytes);
  add("process.uptime", "gauge", "s", "Time since the agent started.", own.uptime_s);
  const active = { "nodejs.eventloop.state": "active" };
  add("nodejs.eventloop.time", "counter", "s", "Time that the event loop was at work.", own.loop_active_s, active);
  return figures;
}

/** Turns figures into frames; the descriptor changes only when the list of figures does. */
export class OwnFrames {
  readonly #gateway: Descriptor;
  #key = "";
  #descriptor: Descriptor;
  #frame: Frame = createFrame(new Uint32Array());

  constructor(gateway: Descriptor) {
    this.#gateway = gateway;
    this.#descriptor = gateway;
  }

  take(figures: readonly Figure[], time_us: number): { descriptor: Descriptor; frame: Frame } {
    const key = JSON.stringify(figures.map(({ metric, attributes }) => [metric, attributes]));
    if (key !== this.#key) this.#shape(figures, key);
    const frame = this.#frame;
    frame.time_us = time_us;
    for (const [row, figure] of figures.entries()) {
      if (frame.starts_us !== null) frame.starts_us[row] = figure.kind === "counter" ? figure.start_us : 0;
      if (this.#descriptor.series[row]?.value === "int") setInt(frame, row, figure.value);
      else frame.doubles[row] = figure.value;
    }
    return { descriptor: this.#descriptor, frame };
  }

  #shape(figures: readonly Figure[], key: string): void {
    this.#key = key;
    this.#descriptor = {
      ...this.#gateway,
      series: figures.map(({ metric, kind, unit, description, attributes }) => ({
        // Unique and stable: no two figures share metric and attributes.
        name: [metric, ...Object.values(attributes)].join("."),
        metric,
        unit,
        description,
        kind,
        // Seconds are fractions; everything else here is a count or a number of bytes.
        value: unit === "s" ? "double" : "int",
        monotonic: kind === "counter",
        attributes,
      })),
    };
    this.#frame = createFrame(Uint32Array.from(figures, (_, row) => row));
    this.#frame.starts_us = new Float64Array(figures.length);
  }
}

/** Prometheus text: one HELP and TYPE a metric, dots and units as its naming rules want them. */
export function prometheusText(figures: readonly Figure[]): string {
  const lines: string[] = [];
  let current = "";
  for (const figure of [...figures].sort((a, b) => a.metric.localeCompare(b.metric))) {
    const name = prometheusName(figure);
    if (name !== current) {
      lines.push(`# HELP ${name} ${figure.description}`, `# TYPE ${name} ${figure.kind}`);
      current = name;
    }
    const labels = Object.entries(figure.attributes).map(
      ([key, value]) => `${key.replace(/\W/g, "_")}="${escape(String(value))}"`,
    );
    lines.push(`${name}${labels.length > 0 ? `{${labels.join(",")}}` : ""} ${figure.value}`);
  }
  return `${lines.join("\n")}\n`;
}

function prometheusName({ metric, unit, kind }: Figure): string {
  const suffix = unit === "s" ? "_seconds" : unit === "By" ? "_bytes" : "";
  return metric.replace(/\W/g, "_") + suffix + (kind === "counter" ? "_total" : "");
}

const escape = (text: string): string => text.replace(/\\/g, "\\\\").replace(/"/g, '\\"').replace(/\n/g, "\\n");
