/**
 * Counts data points and log records by walking the wire format, without decoding them: for
 * benchmarks, where the receiver must not be what is measured.
 */

/** Path of field numbers to what is counted. */
const METRICS = [1, 2, 2] as const;
const LOGS = [1, 2, 2] as const;
/** Data points are field 1 of a Metric's gauge (5) or sum (7). */
const METRIC_DATA = new Set([5, 7]);

/** Data points in an ExportMetricsServiceRequest. */
export function countPoints(bytes: Uint8Array): number {
  let points = 0;
  eachAt(bytes, 0, bytes.length, METRICS, 0, (from, to) => {
    eachField(bytes, from, to, (field, begin, end) => {
      if (METRIC_DATA.has(field)) eachField(bytes, begin, end, (inner) => void (inner === 1 && points++));
    });
  });
  return points;
}

/** Log records in an ExportLogsServiceRequest. */
export function countLogs(bytes: Uint8Array): number {
  let logs = 0;
  eachAt(bytes, 0, bytes.length, LOGS, 0, () => void logs++);
  return logs;
}

function eachAt(
  bytes: Uint8Array,
  from: number,
  to: number,
  path: readonly number[],
  depth: number,
  found: (from: number, to: number) => void,
): void {
  if (depth === path.length) return found(from, to);
  eachField(bytes, from, to, (field, begin, end) => {
    if (field === path[depth]) eachAt(bytes, begin, end, path, depth + 1, found);
  });
}

/** Calls `take` with each length-delimited field. Throws where the bytes are not protobuf. */
function eachField(
  bytes: Uint8Array,
  from: number,
  to: number,
  take: (field: number, begin: number, end: number) => void,
): void {
  let at = from;
  const varint = (): number => {
    let value = 0;
    for (let shift = 1; ; shift *= 128) {
      const byte = bytes[at++];
      if (byte === undefined) throw new RangeError("truncated varint");
      value += (byte & 127) * shift;
      if (byte < 128) return value;
    }
  };
  while (at < to) {
    const tag = varint();
    const wire = tag & 7;
    if (wire === 0) varint();
    else if (wire === 1) at += 8;
    else if (wire === 5) at += 4;
    else if (wire === 2) {
      const length = varint();
      if (at + length > to) throw new RangeError("a field ends outside its message");
      take(Math.floor(tag / 8), at, at + length);
      at += length;
    } else throw new RangeError(`wire type ${wire}`);
  }
  if (at !== to) throw new RangeError("a field ends outside its message");
}
