/**
 * Cuts a stream of bytes into frames. Pure and incremental: however the stream is split, the same
 * frames come out, for every decision is taken on a prefix that later bytes cannot change.
 *
 *   bytes ─push─▶ skip to start ─▶ end, or length, or silence (flush) ─▶ checksum ─▶ take(body)
 *
 *   on the line   start │ body │ checksum │ end │        position before_end
 *                 start │ body │ end │ checksum          position after_end
 *
 * `take` gets the body alone, lent: a view into the framer's own buffer. Whatever is no frame is
 * dropped and counted.
 */
import type { SerialBehaviour } from "#profiles/schema.ts";
import { checksumHolds, checksumLength } from "./checksum.ts";

export type Framing = NonNullable<SerialBehaviour["framing"]>;

export interface FramerCounts {
  frames: number;
  /** Frames whose checksum is wrong. */
  checksum_errors: number;
  /** Frames longer than `max`. */
  oversize: number;
  /** Bytes that belonged to no frame: before a start, in an unfinished frame, in an oversize one. */
  skipped_bytes: number;
}

export interface Framer {
  readonly counts: Readonly<FramerCounts>;
  push(bytes: Uint8Array): void;
  /** Silence of `framing.gap`: ends the frame where nothing else does, else gives up an unfinished one. */
  flush(): void;
  /** Forgets what has come of an unfinished frame. */
  reset(): void;
}

/** What becomes of the front of the buffer: a frame of so many bytes, bytes to skip, or nothing yet. */
type Step =
  | { readonly kind: "frame"; readonly from: number; readonly to: number; readonly length: number }
  | { readonly kind: "skip"; readonly bytes: number; readonly why: "noise" | "checksum" | "oversize" }
  | null;

/** `take` is called once a frame, in order, before push returns. */
export function createFramer(framing: Framing, take: (body: Buffer) => void): Framer {
  const counts: FramerCounts = { frames: 0, checksum_errors: 0, oversize: 0, skipped_bytes: 0 };
  const step = compileStep(framing);
  let buffer = Buffer.alloc(256);
  let used = 0;
  /** An oversize frame is being skipped up to its end. */
  let skipping = false;
  const end = framing.end === undefined ? null : Buffer.from(framing.end, "latin1");

  const drop = (bytes: number) => {
    buffer.copyWithin(0, bytes, used);
    // Whoever took a frame may have reset the rest away.
    used = Math.max(0, used - bytes);
  };

  /** Up to the end of an oversize frame; false while it has not come. Without an end, silence is waited for. */
  const skip = (): boolean => {
    const at = end === null ? -1 : buffer.subarray(0, used).indexOf(end);
    skipping = at < 0;
    const bytes = at >= 0 && end !== null ? at + end.length : Math.max(0, used - ((end?.length ?? 1) - 1));
    counts.skipped_bytes += bytes;
    drop(bytes);
    return !skipping;
  };

  const drain = () => {
    while (used > 0) {
      if (skipping && !skip()) return;
      const found = step(buffer, used);
      if (found === null) return;
      if (found.kind === "frame") {
        counts.frames += 1;
        // An empty one is what is left between two terminators.
        if (found.to > found.from) take(buffer.subarray(found.from, found.to));
        drop(found.length);
        continue;
      }
      if (found.why === "checksum") counts.checksum_errors += 1;
      if (found.why === "oversize") {
        counts.oversize += 1;
        // With a start, the next frame finds itself.
        skipping = framing.start === undefined;
      }
      counts.skipped_bytes += found.bytes;
      drop(found.bytes);
    }
  };

  /** Bytes are worked off in pieces, so that the buffer is bounded whatever arrives at once. */
  const piece_max = framing.max + 64;

  return {
    counts,
    push(bytes) {
      for (let at = 0; at < bytes.length; at += piece_max) {
        const piece = bytes.subarray(at, at + piece_max);
        if (used + piece.length > buffer.length) {
          const larger = Buffer.alloc(Math.max(buffer.length * 2, used + piece.length));
          buffer.copy(larger, 0, 0, used);
          buffer = larger;
        }
        buffer.set(piece, used);
        used += piece.length;
        drain();
      }
    },
    flush() {
      const isWhole = framing.end === undefined && framing.length === undefined;
      if (isWhole && used > 0 && !skipping) {
        const found = wholeFrame(framing, buffer, used);
        if (found?.kind === "frame") {
          counts.frames += 1;
          if (found.to > found.from) take(buffer.subarray(found.from, found.to));
        } else {
          if (found?.kind === "skip" && found.why === "checksum") counts.checksum_errors += 1;
          counts.skipped_bytes += used;
        }
      } else counts.skipped_bytes += used;
      used = 0;
      skipping = false;
    },
    reset() {
      counts.skipped_bytes += used;
      used = 0;
      skipping = false;
    },
  };
}

function compileStep(framing: Framing): (buffer: Buffer, used: number) => Step {
  const start = Buffer.from(framing.start ?? "", "latin1");
  const body = compileBody(framing, start);
  if (start.length === 0) return body;
  return (buffer, used) => {
    const at = findStart(buffer, used, start);
    if (at > 0) return { kind: "skip", bytes: at, why: "noise" };
    return used < start.length ? null : body(buffer, used);
  };
}

/** Where a start stands, or the last bytes that may become one. */
function findStart(buffer: Buffer, used: number, start: Buffer): number {
  const at = buffer.subarray(0, used).indexOf(start);
  if (at >= 0) return at;
  for (let kept = Math.min(start.length - 1, used); kept > 0; kept -= 1) {
    if (buffer.compare(start, 0, kept, used - kept, used) === 0) return used - kept;
  }
  return used;
}

/** The step of a frame whose start is at the front. */
function compileBody(framing: Framing, start: Buffer): (buffer: Buffer, used: number) => Step {
  const { length, max } = framing;
  const end = framing.end === undefined ? null : Buffer.from(framing.end, "latin1");
  if (length !== undefined) return compileFixed(framing, start, end, start.length + length);
  if (end === null) {
    const limit = start.length + max + 1;
    return (_buffer, used) => (used >= limit ? { kind: "skip", bytes: limit, why: "oversize" } : null);
  }
  const after = framing.checksum?.position === "after_end" ? checksumLength(framing.checksum) : 0;
  // A binary checksum before the end may hold the end's own bytes: such an end is passed over when
  // another one follows within the length of the checksum, and the sum holds there.
  const reach =
    framing.checksum?.position === "before_end" && framing.checksum.coding === "binary"
      ? checksumLength(framing.checksum)
      : 0;
  const restarts = start.length > 0 && reach === 0;
  /** So many bytes without a complete end are too many. */
  const limit = start.length + max + end.length;
  return (buffer, used) => {
    const bytes = buffer.subarray(0, used);
    const at = bytes.indexOf(end, start.length);
    const complete = at < 0 ? Number.POSITIVE_INFINITY : at + end.length;
    // A start within a frame is the start of the next one: the end of this one was lost.
    const again = restarts ? bytes.indexOf(start, start.length) : -1;
    if (again > 0 && again + start.length <= Math.min(complete, limit))
      return { kind: "skip", bytes: again, why: "noise" };
    if (complete > limit) {
      // Up to the end, but without it: it ends the skipping.
      return used < limit ? null : { kind: "skip", bytes: start.length + max, why: "oversize" };
    }
    if (used < complete + after) return null;
    const found = checked(framing, buffer, start.length, at, complete);
    if (found.kind === "frame" || reach === 0) return found;
    for (let other = at + 1; other <= at + reach; other += 1) {
      if (used < other + end.length) return null;
      if (buffer.compare(end, 0, end.length, other, other + end.length) !== 0) continue;
      const better = checked(framing, buffer, start.length, other, other + end.length);
      if (better.kind === "frame") return better;
    }
    return found;
  };
}

function compileFixed(framing: Framing, start: Buffer, end: Buffer | null, total: number) {
  const after = framing.checksum?.position === "after_end" ? checksumLength(framing.checksum) : 0;
  return (buffer: Buffer, used: number): Step => {
    if (used < total) return null;
    const at = total - after - (end?.length ?? 0);
    if (end !== null && buffer.compare(end, 0, end.length, at, at + end.length) !== 0) {
      return { kind: "skip", bytes: 1, why: "noise" };
    }
    const found = checked(framing, buffer, start.length, at, at + (end?.length ?? 0));
    // With a wrong checksum the length may have been counted from a false start.
    return found.kind === "skip" && start.length > 0 ? { ...found, bytes: 1 } : found;
  };
}

/** A frame that silence has ended. */
function wholeFrame(framing: Framing, buffer: Buffer, used: number): Step {
  const start = framing.start?.length ?? 0;
  return used < start ? null : checked(framing, buffer, start, used, used);
}

/** A frame from `from` on; its end bytes stand at `[at, past)`, where a checksum of `before_end` stops. */
function checked(framing: Framing, buffer: Buffer, from: number, at: number, past: number): NonNullable<Step> {
  const { checksum } = framing;
  if (checksum === undefined) return { kind: "frame", from, to: at, length: past };
  const width = checksumLength(checksum);
  const first = checksum.from === "start" ? 0 : from;
  if (checksum.position === "before_end" || past === at) {
    const sum_at = at - width;
    const holds = sum_at >= from && checksumHolds(checksum, buffer, first, sum_at, sum_at);
    return holds ? { kind: "frame", from, to: sum_at, length: past } : { kind: "skip", bytes: past, why: "checksum" };
  }
  return checksumHolds(checksum, buffer, first, past, past)
    ? { kind: "frame", from, to: at, length: past + width }
    : { kind: "skip", bytes: past + width, why: "checksum" };
}
