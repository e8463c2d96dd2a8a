/**
 * The store on LevelDB and a file system.
 *
 *   DIR/lock/                an empty LevelDB: its file lock says that the journal is in use, and dies with us
 *   DIR/segments/<name>/     one LevelDB each
 *   DIR/quarantine/          segments that could not be repaired, bounded
 *   DIR/trash/               being removed; emptied at open
 *   DIR/mark                 two slots, written in turn, never synced
 *   DIR/reserve              bytes held back, given free when a full disk must be written to
 *
 * LevelDB writes a segment's data once, to its log: the write buffer is larger than the segment. A segment that
 * is closed and opened again (a restart, a drain) is converted to a table, once.
 */
import { randomBytes } from "node:crypto";
import { type FileHandle, mkdir, open, readdir, rename, rm, stat, statfs, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Level } from "level";
import { decodeKey, encodeKey, MARK_BYTES } from "./layout.ts";
import { type Pair, type Scan, type SegmentStore, type Store, StoreError } from "./store.ts";

type Database = Level<Uint8Array, Uint8Array>;

/** Bytes of pairs that one call into LevelDB brings back. */
const SCAN_BYTES = 256 * 1024;
const SCAN_PAIRS_MAX = 4096;
/** Keys that are asked for one by one after a scan met a damaged block, in one go and in all. */
const SALVAGE_KEYS = 64;
const SALVAGE_KEYS_MAX = 1_000_000;
/** Slots of the mark file: a sector each, so that a torn write spoils one. */
export const MARK_SLOT_BYTES = 512;
/** Over this LevelDB would flush while we write: twice what the segment should hold. */
const writeBufferBytes = (size_bytes: number): number => Math.min(Math.max(2 * size_bytes, 1 << 20), 1 << 30);

// `level` types only what browsers have too; in Node its class is classic-level's, which has `repair`.
const { repair } = Level as unknown as { repair: (location: string) => Promise<void> };

/** Conditions that pass, and that say nothing against the bytes on disk. */
const PASSING = /No space left|Disk quota|Read-only file system|Too many open files|Cannot allocate/;

function storeError(error: unknown, what: string): StoreError {
  if (error instanceof StoreError) return error;
  const { code, message, cause } = details(error);
  const codes = `${code} ${cause.code}`;
  const text = `${what}: ${cause.message || message}`;
  if (codes.includes("LEVEL_LOCKED")) return new StoreError("locked", text, { cause: error });
  if (/LEVEL_(DATABASE|ITERATOR)_NOT_OPEN/.test(code) && cause.message === "") {
    return new StoreError("closed", text, { cause: error });
  }
  const passing =
    PASSING.test(`${message} ${cause.message}`) || /ENOSPC|EDQUOT|EROFS|EMFILE|ENFILE|ENOMEM|EACCES|EPERM/.test(codes);
  return new StoreError(passing ? "io" : "damaged", text, { cause: error });
}

function details(error: unknown): { code: string; message: string; cause: { code: string; message: string } } {
  const of = (value: unknown) => ({
    code: value instanceof Error && "code" in value ? String(value.code) : "",
    message: value instanceof Error ? value.message : "",
  });
  return { ...of(error), cause: of(error instanceof Error ? error.cause : undefined) };
}

/** Runs it, and turns what it throws into a StoreError. */
async function guarded<Result>(what: string, run: () => Promise<Result>): Promise<Result> {
  try {
    return await run();
  } catch (error) {
    throw storeError(error, what);
  }
}

async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, "r");
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

/** As `du` counts: blocks, with the directory's own. */
export async function diskBytes(path: string): Promise<number> {
  let total = 0;
  try {
    total = (await stat(path)).blocks * 512;
    for (const item of await readdir(path, { withFileTypes: true })) {
      const inner = join(path, item.name);
      total += item.isDirectory() ? await diskBytes(inner) : (await stat(inner)).blocks * 512;
    }
  } catch (error) {
    // LevelDB may delete a file between the listing and the look.
    if (details(error).code !== "ENOENT") throw error;
  }
  return total;
}

/** A crash came while LevelDB was being made there: it has no name for its manifest yet, and no data. */
export async function isUnfinished(path: string): Promise<boolean> {
  const names = await readdir(path);
  if (names.includes("CURRENT") || names.some((name) => name.endsWith(".ldb"))) return false;
  const logs = await Promise.all(names.filter((name) => name.endsWith(".log")).map((name) => stat(join(path, name))));
  return logs.every((log) => log.size === 0);
}

export function createLevelStore(dir: string): Store {
  const at = (...parts: string[]) => join(dir, ...parts);
  const segmentAt = (name: string) => at("segments", name);
  let lock: Database | null = null;
  let marks: FileHandle | null = null;
  let mark_slot = 0;
  let mark_waiting: Uint8Array | null = null;
  let mark_writing: Promise<void> | null = null;

  async function writeMarks(handle: FileHandle): Promise<void> {
    while (mark_waiting !== null) {
      const bytes = mark_waiting;
      mark_waiting = null;
      mark_slot = 1 - mark_slot;
      // An old mark is still true, and the next commit writes a new one.
      await handle.write(bytes, 0, bytes.length, mark_slot * MARK_SLOT_BYTES).catch(() => undefined);
    }
    mark_writing = null;
  }

  async function takeLock(): Promise<Database> {
    const database: Database = new Level(at("lock"), { compression: false });
    try {
      await database.open();
    } catch (error) {
      const failure = storeError(error, at("lock"));
      if (failure.kind !== "damaged") throw failure;
      // It holds nothing: make it anew.
      await rm(at("lock"), { recursive: true, force: true });
      await guarded(at("lock"), () => database.open());
    }
    return database;
  }

  return {
    async open() {
      await guarded(dir, async () => {
        for (const name of ["segments", "quarantine", "trash"]) await mkdir(at(name), { recursive: true });
      });
      try {
        lock = await takeLock();
      } catch (error) {
        if (!(error instanceof StoreError) || error.kind !== "io") throw error;
        // A full disk: the bytes held back are for this.
        await rm(at("reserve"), { force: true });
        lock = await takeLock();
      }
      await guarded(dir, async () => {
        for (const name of await readdir(at("trash"))) await rm(at("trash", name), { recursive: true, force: true });
        marks = await open(at("mark"), "a+").then(async (made) => {
          await made.close();
          return open(at("mark"), "r+");
        });
        await syncDirectory(dir);
      });
    },

    async close() {
      await mark_writing;
      await marks?.close();
      marks = null;
      await lock?.close();
      lock = null;
    },

    list: () => guarded(at("segments"), () => readdir(at("segments"))),

    async openSegment(name, { create, size_bytes }) {
      const path = segmentAt(name);
      const make = create || (await guarded(path, () => isUnfinished(path)));
      const database: Database = new Level(path, {
        keyEncoding: "buffer",
        valueEncoding: "buffer",
        compression: false,
        createIfMissing: make,
        writeBufferSize: writeBufferBytes(size_bytes),
        // A scan reads every block once; a cache would only hold memory.
        cacheSize: 256 * 1024,
      });
      await guarded(path, async () => {
        await database.open();
        if (!create) return;
        // LevelDB syncs its files and, before its manifest, the directory; the last rename and our own mkdir not.
        await syncDirectory(path);
        await syncDirectory(at("segments"));
      }).catch(async (error: unknown) => {
        await database.close().catch(() => undefined);
        throw error;
      });
      return levelSegment(path, database);
    },

    repairSegment: (name) =>
      guarded(segmentAt(name), async () => {
        await repair(segmentAt(name));
        // What LevelDB put aside has been read into tables; it would count twice.
        await rm(join(segmentAt(name), "lost"), { recursive: true, force: true });
      }),

    quarantineSegment: (name, keep_bytes) =>
      guarded(segmentAt(name), async () => {
        await rm(at("quarantine", name), { recursive: true, force: true });
        await rename(segmentAt(name), at("quarantine", name));
        await syncDirectory(at("quarantine"));
        const kept = (await readdir(at("quarantine"))).toSorted();
        while ((await diskBytes(at("quarantine"))) > keep_bytes && kept.length > 0) {
          await rm(at("quarantine", kept.shift() ?? ""), { recursive: true, force: true });
        }
      }),

    removeSegment: (name) =>
      guarded(segmentAt(name), async () => {
        await rename(segmentAt(name), at("trash", name)).catch((error: unknown) => {
          if (details(error).code !== "ENOENT") throw error;
        });
        await rm(at("trash", name), { recursive: true, force: true });
      }),

    segmentBytes: (name) => guarded(segmentAt(name), () => diskBytes(segmentAt(name))),

    otherBytes: () =>
      guarded(dir, async () => {
        let total = (await stat(dir)).blocks * 512 + (await stat(at("segments"))).blocks * 512;
        for (const name of ["lock", "quarantine", "trash"]) total += await diskBytes(at(name));
        for (const name of ["mark", "reserve"]) {
          total += ((await stat(at(name)).catch(() => null))?.blocks ?? 0) * 512;
        }
        return total;
      }),

    freeBytes: () =>
      guarded(dir, async () => {
        const { bavail, bsize } = await statfs(dir);
        return bavail * bsize;
      }),

    reserve: (bytes) =>
      guarded(at("reserve"), async () => {
        if (bytes === 0) return rm(at("reserve"), { force: true });
        const held = await stat(at("reserve")).catch(() => null);
        if (held?.size === bytes && held.blocks * 512 >= bytes) return;
        try {
          // Random, so that no file system that compresses or leaves holes gives us less than we ask for.
          await writeFile(at("reserve"), randomBytes(bytes), { flush: true });
        } catch (error) {
          await rm(at("reserve"), { force: true });
          throw error;
        }
      }),

    async readMarks() {
      const found: Uint8Array[] = [];
      for (const slot of [0, 1]) {
        const bytes = Buffer.alloc(MARK_BYTES);
        const read = await marks?.read(bytes, 0, MARK_BYTES, slot * MARK_SLOT_BYTES).catch(() => undefined);
        if (read?.bytesRead === MARK_BYTES) found.push(bytes);
      }
      return found;
    },

    writeMark(mark) {
      mark_waiting = mark;
      if (mark_writing === null && marks !== null) mark_writing = writeMarks(marks);
    },
  };
}

function levelSegment(path: string, database: Database): SegmentStore {
  const get = (key: Uint8Array): Promise<Uint8Array | undefined> => guarded(path, () => database.get(key));
  return {
    get,
    write: (pairs) =>
      guarded(path, () =>
        // Never without sync: LevelDB's sync covers only its current log, so that the two do not mix.
        database.batch(
          pairs.map(([key, value]) => ({ type: "put", key, value })),
          { sync: true },
        ),
      ),
    scan: (after, to) => levelScan(path, database, get, after, to),
    close: () => guarded(path, () => database.close()),
  };
}

function levelScan(
  path: string,
  database: Database,
  get: (key: Uint8Array) => Promise<Uint8Array | undefined>,
  after: Uint8Array,
  to: Uint8Array,
): Scan {
  const iterator = database.iterator({ gt: after, lte: to, highWaterMarkBytes: SCAN_BYTES, fillCache: false });
  let last = decodeKey(after) ?? 0;
  const end = decodeKey(to) ?? 0;
  let salvaging = false;

  /** After a damaged block LevelDB's iterator fails for good, though the blocks behind it can be read by key. */
  async function salvage(): Promise<Pair[]> {
    const pairs: Pair[] = [];
    for (let tried = 0; pairs.length === 0 && last < end && tried < SALVAGE_KEYS_MAX;) {
      for (let left = SALVAGE_KEYS; left > 0 && last < end; left--, tried++) {
        last += 1;
        const key = encodeKey(last);
        try {
          const value = await get(key);
          if (value !== undefined) pairs.push([key, value]);
        } catch (error) {
          if (!(error instanceof StoreError) || error.kind !== "damaged") throw error;
        }
      }
    }
    return pairs;
  }

  return {
    async next() {
      if (salvaging) return salvage();
      try {
        const pairs = await iterator.nextv(SCAN_PAIRS_MAX);
        const newest = pairs.at(-1);
        if (newest !== undefined) last = decodeKey(newest[0]) ?? last;
        return pairs;
      } catch (error) {
        const failure = storeError(error, path);
        if (failure.kind !== "damaged") throw failure;
        salvaging = true;
        return salvage();
      }
    },
    close: () => iterator.close(),
  };
}
