/**
 * The public types of the journal, and its one error. Nothing here runs.
 *
 *   commit(entries) ──▶ one synced write ──▶ the log ──▶ cursor "otlp":  read ▸ deliver ▸ advance
 *                                               └─────▶ cursor "plant": read ▸ deliver ▸ advance
 *
 * The journal sees bytes. What it counts is an entry's weight: the readings that it carries. For each
 * cursor, at every moment: committed since its start = delivered + queued + dropped.
 */

/** What a caller wants to keep. The bytes are lent until `commit` settles. */
export interface Entry {
  readonly payload: Uint8Array;
  /** Readings in it, at most 2^32 - 1; 0 for what is no reading (an event, a gap). */
  readonly weight: number;
  /** Ids from `describe` that one needs to understand the payload. */
  readonly references: readonly number[];
}

/** An entry as it is read back. `payload` is the reader's to keep, but not to change. */
export interface JournalRecord extends Entry {
  /** Position in the log: rises from record to record, not always by one; never used twice. */
  readonly seq: number;
}

export interface Commit {
  /** Appended in this order. Empty: only cursor moves (and the checkpoint) are written, if there are any. */
  readonly entries: readonly Entry[];
  /** The caller's state after these entries; opaque. Given back at the next open. */
  readonly checkpoint?: Uint8Array;
}

/** Why records never reach a target. */
export type LossReason =
  /** The byte bound: the oldest segment had to go. */
  | "overflow"
  /** A checksum or the continuity of the log is broken there. */
  | "corrupt";

/** Records that one cursor will never see. */
export interface Loss {
  /** Name of the cursor. */
  readonly target: string;
  readonly reason: LossReason;
  /** Everything after `after_seq`, up to and including `to_seq`. */
  readonly after_seq: number;
  readonly to_seq: number;
  /** Readings lost, exactly; 0 where only weightless entries, or none at all, stood there. */
  readonly weight: number;
  /** What of it can still be read; empty where it is corrupt. Only valid until the callback settles. */
  readonly records: AsyncIterable<JournalRecord>;
}

/** Something the journal noticed and has already dealt with; for logs and counters. */
export interface JournalFault {
  /** `journal_write`, `journal_repaired`, `journal_quarantined`, `journal_corrupt`, `journal_loss_handler`, ... */
  readonly code: string;
  readonly message: string;
  readonly cause?: unknown;
}

export interface JournalOptions {
  /** The journal's own directory; made where it is missing. One process at a time. */
  readonly dir: string;
  /** Bytes on disk as the file system counts them, never exceeded. Default 1 GiB, at least 2 MiB. */
  readonly limit_bytes?: number;
  /** When a segment is full. Default limit/256, within 256 KiB and 16 MiB. */
  readonly segment_bytes?: number;
  /** Recent records kept in memory for cursors at the end of the log. Default 1 MiB. */
  readonly tail_bytes?: number;
  /**
   * The caller's state, asked for when a new segment begins and the commit under way brings no checkpoint
   * of its own; it must be the state after that commit's entries. null: there is none.
   */
  readonly checkpoint?: () => Uint8Array | null;
  /**
   * Called once for each cursor before records are given up. The entry that it returns (the gap) is appended
   * in the same write that moves the cursor past the loss. It may call `describe` and `description`, never
   * `commit`. Where it throws, the loss is counted all the same and a fault is reported.
   */
  readonly onLoss: (loss: Loss) => Promise<Entry | null>;
  readonly onFault?: (fault: JournalFault) => void;
}

/** One target's place in the log. */
export interface Cursor {
  readonly name: string;
  /** Readings after the read position: what `read` has yet to give. */
  readonly unread: number;
  /**
   * The next records after the read position, at least one, in order. Waits (without polling) while there
   * are none. Rejects with the signal's reason, or JournalError `journal_closed` / `journal_read`.
   * One call at a time. Moves the read position, not the acknowledged one.
   */
  read(limits: ReadLimits, signal?: AbortSignal): Promise<readonly JournalRecord[]>;
  /**
   * Acknowledges every record up to and including `seq`, which must have been read; durable with the next
   * commit. `delivered + dropped` is the weight of the records newly acknowledged; anything else is a mistake
   * of the caller (`journal_conservation`). Records that the journal gave up meanwhile stay counted as dropped.
   */
  advance(seq: number, counts: { readonly delivered: number; readonly dropped: number }): void;
  /** Sets the read position back to the acknowledged one: all that was not acknowledged is read again. */
  rewind(): void;
  stats(): CursorStats;
}

export interface ReadLimits {
  /** Stop once so many payload bytes are gathered; the first record is given whatever its size. */
  readonly bytes_max: number;
  readonly entries_max: number;
}

export interface CursorStats {
  readonly name: string;
  /** Last acknowledged position. */
  readonly seq: number;
  /** Readings since the cursor was made; committed = delivered + queued + dropped. */
  readonly committed: number;
  readonly delivered: number;
  readonly queued: number;
  readonly dropped: number;
  /** committed - delivered - queued - dropped: always 0, or there is a defect. */
  readonly imbalance: number;
}

export interface JournalStats {
  /** The last position written. */
  readonly head_seq: number;
  /** Readings ever committed. */
  readonly head_weight: number;
  readonly bytes_on_disk: number;
  readonly limit_bytes: number;
  readonly segments: number;
  /** Since open: synced writes, and bytes handed to LevelDB by them. */
  readonly commits: number;
  readonly commit_bytes: number;
  readonly write_errors: number;
  /** Since open: damaged ranges of the log met by cursors, and segments put aside. */
  readonly corruptions: number;
  readonly quarantined: number;
  readonly cursors: readonly CursorStats[];
}

export interface Journal {
  /** The newest checkpoint at open; null where there was none. */
  readonly checkpoint: Uint8Array | null;
  /** The records after that checkpoint (all, where there is none), as they stood at open. For use before commits. */
  replay(): AsyncIterable<JournalRecord>;
  /**
   * An id for these bytes, the same id for equal bytes, for use with this open journal. Written with the first
   * entry that refers to it, once in each segment: large descriptions are worth compressing.
   */
  describe(bytes: Uint8Array): number;
  /** The bytes of an id that `describe` gave or that a record read since refers to. Else `journal_description`. */
  description(id: number): Promise<Uint8Array>;
  /**
   * Writes all of it in one synced write, after the commits before it. Resolves when it is on disk.
   * Rejects with `journal_write` (nothing of it is kept: try again with the same entries; only if the process
   * ends before the next commit may they be found in the log, whole) or `journal_too_large` (1/16 of the limit,
   * at most 32 MiB), `journal_description`, `journal_closed`.
   */
  commit(commit: Commit): Promise<{ readonly head_seq: number }>;
  /** Opens the cursor, or makes it, durably: at the oldest record still there, or after the newest. */
  cursor(name: string, options: { readonly from: "start" | "end" }): Promise<Cursor>;
  /** Forgets a cursor, durably; nothing is kept for it any more. */
  removeCursor(name: string): Promise<void>;
  stats(): JournalStats;
  /** Writes moved cursors, ends waiting reads (`journal_closed`), closes everything. Safe twice. */
  close(): Promise<void>;
}

/** Every failure of the journal. `code` is stable; `message` names the directory and what to do. */
export class JournalError extends Error {
  readonly code: string;
  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "JournalError";
    this.code = code;
  }
}
