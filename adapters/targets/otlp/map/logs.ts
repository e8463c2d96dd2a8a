/**
 * Batch to ExportLogsServiceRequest, in protobuf: readings of text series and events, a log record each.
 *
 *   text reading   event_name = metric, body = the text, attributes of the series; INFO.
 *                  A bad reading has no body, and is WARN with quality and reason as attributes.
 *   event          event_name, severity, body and attributes as they are.
 */
import type { Batch, Descriptor, Event, Series } from "../../../contract.ts";
import type { Frame } from "../../../frame.ts";
import { isBad, type Quality } from "../../../quality.ts";
import { ANY_VALUE, LOG, REQUEST, RESOURCE_ENTRY, SCOPE_ENTRY, SEVERITY } from "./fields.ts";
import { qualityAttributes } from "./shape.ts";
import { resourceAndScope } from "./templates.ts";
import { type AttributeValue, varintBytes, Writer } from "./writer.ts";

/** One log record, before any encoding. */
export interface LogRecord {
  readonly name: string;
  /** When it happened, by the device where it says so; and when the gateway learned of it. */
  readonly time_us: number;
  readonly observed_time_us: number;
  readonly severity: keyof typeof SEVERITY;
  readonly body: string | null;
  readonly attributes: Readonly<Record<string, AttributeValue>>;
}

/** Calls `take` for every log record of a batch, in its order; frames first. */
export function eachLogRecord(batch: Batch, take: (descriptor: Descriptor, record: LogRecord) => void): void {
  for (const { descriptor, frame } of batch.frames) {
    if (!hasText(descriptor)) continue;
    for (let row = 0; row < frame.count; row++) {
      const series = descriptor.series[frame.points[row] ?? -1];
      if (series?.value === "text") take(descriptor, recordOfText(series, frame, row));
    }
  }
  for (const event of batch.events) take(event.descriptor, recordOfEvent(event));
}

const text_devices = new WeakMap<Descriptor, boolean>();

function hasText(descriptor: Descriptor): boolean {
  let has = text_devices.get(descriptor);
  if (has === undefined) text_devices.set(descriptor, (has = descriptor.series.some((one) => one.value === "text")));
  return has;
}

function recordOfText(series: Series, frame: Frame, row: number): LogRecord {
  const quality: Quality = frame.quality[row] ?? 0;
  const own = frame.times_us?.[row] ?? 0;
  return {
    name: series.metric,
    time_us: own > 0 ? own : frame.time_us,
    observed_time_us: frame.time_us,
    severity: isBad(quality) ? "warn" : "info",
    body: isBad(quality) ? null : (frame.texts?.[row] ?? null),
    attributes: (quality & 3) === 0 ? series.attributes : { ...series.attributes, ...qualityAttributes(quality) },
  };
}

function recordOfEvent(event: Event): LogRecord {
  return {
    name: event.name,
    time_us: event.time_us,
    observed_time_us: event.time_us,
    severity: event.severity,
    body: event.body,
    attributes: event.attributes,
  };
}

interface Group {
  readonly resource: Uint8Array;
  readonly scope: Uint8Array;
  readonly records: Writer;
}

export class LogsEncoder {
  readonly #bytes_max: number;
  readonly #groups = new WeakMap<Descriptor, Group>();
  #request = new Writer();

  constructor(options: { readonly bytes_max: number }) {
    this.#bytes_max = options.bytes_max;
  }

  /**
   * The request's bytes, in memory that the next call uses again; null where the batch has neither text
   * nor event, `too_large` where the request would exceed `bytes_max`.
   */
  encode(batch: Batch): Buffer | null | "too_large" {
    const open: Group[] = [];
    eachLogRecord(batch, (descriptor, record) => {
      let group = this.#groups.get(descriptor);
      if (!group) {
        group = { ...resourceAndScope(descriptor), records: new Writer() };
        this.#groups.set(descriptor, group);
      }
      if (group.records.length === 0) open.push(group);
      writeRecord(group.records, record);
    });
    const request = this.#request;
    request.reset();
    let too_large = false;
    for (const { resource, scope, records } of open) {
      const scope_bytes = scope.length + records.length;
      if (request.length + scope_bytes > this.#bytes_max) too_large = true;
      if (!too_large) {
        request.varint(REQUEST.resource, resource.length + 1 + varintBytes(scope_bytes) + scope_bytes);
        request.raw(resource);
        request.varint(RESOURCE_ENTRY.scope, scope_bytes);
        request.raw(scope);
        request.raw(records.view());
      }
      records.reset();
    }
    if (too_large || request.length > this.#bytes_max) return "too_large";
    return request.length === 0 ? null : request.view();
  }

  /** The bytes given last stay as they are: somebody may still read them. */
  forget(): void {
    this.#request = new Writer();
  }
}

function writeRecord(writer: Writer, record: LogRecord): void {
  const severity = SEVERITY[record.severity];
  const begun = writer.begin(SCOPE_ENTRY.items);
  writer.nanos(LOG.time, record.time_us);
  writer.varint(LOG.severity_number, severity.number);
  writer.string(LOG.severity_text, severity.text);
  if (record.body !== null) {
    const body = writer.begin(LOG.body);
    writer.string(ANY_VALUE.string, record.body);
    writer.end(body);
  }
  writer.attributes(LOG.attributes, record.attributes);
  writer.nanos(LOG.observed_time, record.observed_time_us);
  if (record.name !== "") writer.string(LOG.event_name, record.name);
  writer.end(begun);
}
