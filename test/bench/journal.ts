/**
 * The journal beside the disk and beside bare LevelDB, with entries of 20 KB as a group commit of some 2,000
 * readings makes them.
 *
 *   commit    one synced write of one entry          beside an append + fdatasync of the same bytes
 *   drain     a cursor reads the whole backlog       beside LevelDB's iterator over the same bytes, warm
 *   deliver   the same, acknowledged and removed     beside the same
 *   bytes     on disk, and written, per payload byte
 *
 * Alone: node test/bench/journal.ts [DIR]
 */
import { mkdtemp, open, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Level } from "level";
import type { Cursor, Entry, Journal } from "#buffer/contract.ts";
import { openJournal } from "#buffer/journal.ts";
import { diskBytes } from "#buffer/level-store.ts";
import { type Row, row } from "./stage.ts";

const ENTRY_BYTES = 20_000;
const COMMITS = 2000;
/** Journal and floor take turns, so that both meet the same disk. */
const TURN = 50;
const READ = { bytes_max: 256 * 1024, entries_max: 64 };
const MB = 1e6;

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0;
const seconds = (from: number): number => (performance.now() - from) / 1000;

/** Bytes that this process had written to block devices; null where the system does not say. */
async function writtenBytes(): Promise<number | null> {
  const text = await readFile("/proc/self/io", "utf8").catch(() => "");
  const found = /^write_bytes: (\d+)$/m.exec(text);
  return found === null ? null : Number(found[1]);
}

/** Reads all that is queued; acknowledges and commits each read where `journal` is given. */
async function drain(cursor: Cursor, journal: Journal | null): Promise<number> {
  let bytes = 0;
  while (cursor.unread > 0) {
    const records = await cursor.read(READ);
    let delivered = 0;
    for (const record of records) {
      bytes += record.payload.length;
      delivered += record.weight;
    }
    if (journal === null) continue;
    cursor.advance(records.at(-1)?.seq ?? 0, { delivered, dropped: 0 });
    await journal.commit({ entries: [] });
  }
  return bytes;
}

async function iterate(database: Level<Buffer, Buffer>): Promise<number> {
  let bytes = 0;
  const iterator = database.iterator({ highWaterMarkBytes: READ.bytes_max, fillCache: false });
  for (let pairs = await iterator.nextv(1000); pairs.length > 0; pairs = await iterator.nextv(1000)) {
    for (const [, value] of pairs) bytes += value.length;
  }
  await iterator.close();
  return bytes;
}

/** LevelDB alone, holding as much: the floor of reading. */
async function floorOfReading(dir: string, payload: Buffer): Promise<number> {
  const options = { keyEncoding: "buffer", valueEncoding: "buffer", compression: false } as const;
  const database = new Level<Buffer, Buffer>(join(dir, "floor"), options);
  for (let index = 0; index < COMMITS; index++) {
    const key = Buffer.alloc(8);
    key.writeUInt32BE(index);
    await database.put(key, payload);
  }
  await iterate(database);
  const from = performance.now();
  const bytes = await iterate(database);
  const rate = bytes / MB / seconds(from);
  await database.close();
  return rate;
}

export async function bench(parent: string = tmpdir()): Promise<readonly Row[]> {
  const dir = await mkdtemp(join(parent, "lineside-bench-"));
  try {
    return await measure(dir);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

async function measure(dir: string): Promise<Row[]> {
  // What a batch looks like to a disk: nothing to compress.
  const payload = Buffer.from(crypto.getRandomValues(new Uint8Array(ENTRY_BYTES)));
  const entry: Entry = { payload, weight: 2000, references: [] };
  const options = { dir: join(dir, "journal"), onLoss: async () => null };
  let journal = await openJournal(options);
  await journal.cursor("slow", { from: "start" });

  const own: number[] = [];
  const floor: number[] = [];
  const raw = await open(join(dir, "raw"), "a");
  let written = 0;
  let spent_s = 0;
  for (let turn = 0; turn < COMMITS / TURN; turn++) {
    const before = await writtenBytes();
    const from = performance.now();
    for (let index = 0; index < TURN; index++) {
      const start = performance.now();
      await journal.commit({ entries: [entry] });
      own.push((performance.now() - start) * 1000);
    }
    spent_s += seconds(from);
    written += ((await writtenBytes()) ?? 0) - (before ?? 0);
    for (let index = 0; index < TURN; index++) {
      const start = performance.now();
      await raw.write(payload);
      await raw.datasync();
      floor.push((performance.now() - start) * 1000);
    }
  }
  await raw.close();
  const payload_bytes = COMMITS * ENTRY_BYTES;
  const on_disk = await diskBytes(join(options.dir, "segments"));
  const rows = [
    row("commit 20 KB, p50", median(own), "us", median(floor)),
    row("commits", COMMITS / spent_s, "commits/s", COMMITS / (floor.reduce((sum, us) => sum + us, 0) / 1e6)),
    row("bytes on disk", on_disk / payload_bytes, "per payload byte", 1),
    row("bytes written", written / payload_bytes, "per payload byte", 1),
  ];

  await journal.close();
  const from = performance.now();
  journal = await openJournal(options);
  rows.push(row("open with the backlog", seconds(from) * 1000, "ms", null));
  const cursor = await journal.cursor("slow", { from: "start" });
  const reading = await floorOfReading(dir, payload);
  for (const name of ["drain, segments read for the first time", "drain again"]) {
    const start = performance.now();
    const bytes = await drain(cursor, null);
    rows.push(row(name, bytes / MB / seconds(start), "MB/s", reading));
    cursor.rewind();
  }
  const start = performance.now();
  const bytes = await drain(cursor, journal);
  rows.push(row("deliver: read, acknowledge, remove", bytes / MB / seconds(start), "MB/s", reading));
  rows.push(row("left on disk once delivered", (await diskBytes(join(options.dir, "segments"))) / MB, "MB", null));
  await journal.close();
  return rows;
}

if (import.meta.main) console.table(await bench(process.argv[2]));
