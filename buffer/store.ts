/**
 * What the journal needs of a disk, and no more. `level-store.ts` does it with LevelDB on a file system; the
 * simulation puts a disk of its own in its place. Encryption will sit in front of this seam: values are opaque.
 *
 * A write is all or nothing and on stable storage when it resolves. Nothing else here is promised to survive a
 * power cut: a segment that was opened but not written, a mark, a removal may be undone by one.
 */

export type Pair = readonly [key: Uint8Array, value: Uint8Array];

/** Reads forward over what stood in the segment when it was made. */
export interface Scan {
  /** The next pairs, as many as are cheap to have at once, in key order; empty at the end. */
  next(): Promise<readonly Pair[]>;
  close(): Promise<void>;
}

export interface SegmentStore {
  /** One atomic, synced write. After a failure this handle may be broken for good: close it. */
  write(pairs: readonly Pair[]): Promise<void>;
  get(key: Uint8Array): Promise<Uint8Array | undefined>;
  /** Pairs with `after < key <= to`. */
  scan(after: Uint8Array, to: Uint8Array): Scan;
  /** Waits for what is under way; scans end with `StoreError` `closed`. */
  close(): Promise<void>;
}

export interface Store {
  /** Takes the directory for this process alone; StoreError `locked` where another one has it. */
  open(): Promise<void>;
  close(): Promise<void>;
  /** Names of all segments, in no order. */
  list(): Promise<readonly string[]>;
  /** Makes the segment where `create` is set. `size_bytes` is how much will be written to it. */
  openSegment(name: string, options: { readonly create: boolean; readonly size_bytes: number }): Promise<SegmentStore>;
  /** Rebuilds a segment that is closed from whatever can be read of it. */
  repairSegment(name: string): Promise<void>;
  /** Puts a closed segment aside for a person to look at. At most `keep_bytes` are kept, the newest. */
  quarantineSegment(name: string, keep_bytes: number): Promise<void>;
  /** Removes a closed segment as a whole: after a crash it is there, or it is not. */
  removeSegment(name: string): Promise<void>;
  /** Bytes that it takes on disk as the file system counts them. */
  segmentBytes(name: string): Promise<number>;
  /** The same of everything but the segments. */
  otherBytes(): Promise<number>;
  /** Bytes that the file system still has for us. */
  freeBytes(): Promise<number>;
  /** Holds so many bytes back for bad days; 0 gives them free. */
  reserve(bytes: number): Promise<void>;
  /** The marks that were kept last, newest first or not; neither is promised to be whole. */
  readMarks(): Promise<readonly Uint8Array[]>;
  /** Keeps a mark outside the segments, without waiting for the disk. */
  writeMark(mark: Uint8Array): void;
}

/**
 * `damaged`: what is there cannot be read as it was written. `io`: the disk refuses for now (full, read-only).
 * `locked`: another process. `closed`: our own close came first.
 */
export class StoreError extends Error {
  readonly kind: "damaged" | "io" | "locked" | "closed";
  constructor(kind: "damaged" | "io" | "locked" | "closed", message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "StoreError";
    this.kind = kind;
  }
}
