/** What the tests of the journal share: directories, entries that say who they are, and a target that keeps books. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import type { Cursor, Entry, Journal, JournalOptions, JournalRecord, Loss } from "#buffer/contract.ts";
import { openJournal } from "#buffer/journal.ts";

export async function temporaryDirectory(t: TestContext): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), "lineside-test-"));
  t.after(() => rm(dir, { recursive: true, force: true }));
  return dir;
}

/** Entry number `id`, of about `bytes`; its weight follows from its number. */
export function numbered(id: number, bytes = 100, references: readonly number[] = []): Entry {
  const payload = Buffer.alloc(Math.max(bytes, 8), id);
  payload.writeDoubleBE(id);
  return { payload, weight: weightOf(id), references };
}

export const weightOf = (id: number): number => 1 + (id % 7);

/** The number of an entry, every byte of it checked. */
export function numberOf(record: JournalRecord): number {
  const id = Buffer.from(record.payload).readDoubleBE();
  assert.deepEqual(Buffer.from(record.payload), numbered(id, record.payload.length).payload, `entry ${id} is whole`);
  assert.equal(record.weight, weightOf(id));
  return id;
}

/** A gap entry says so in its first bytes. */
const GAP = Buffer.from("gap:");

export const isGap = (record: JournalRecord): boolean => GAP.equals(record.payload.subarray(0, GAP.length));

/** What a loss callback saw, with the numbers of what could still be read. */
export interface SeenLoss extends Omit<Loss, "records"> {
  readonly ids: readonly number[];
}

export interface Opened {
  readonly journal: Journal;
  readonly losses: SeenLoss[];
  /** Codes of the faults that were reported. */
  readonly faults: string[];
}

export async function openAt(dir: string, options: Partial<JournalOptions> = {}): Promise<Opened> {
  const losses: SeenLoss[] = [];
  const faults: string[] = [];
  const journal = await openJournal({
    dir,
    limit_bytes: 64 * 1024 * 1024,
    onFault: (fault) => faults.push(fault.code),
    onLoss: async ({ records, ...loss }) => {
      const ids: number[] = [];
      for await (const record of records) if (!isGap(record)) ids.push(numberOf(record));
      losses.push({ ...loss, ids });
      return { payload: Buffer.concat([GAP, Buffer.from(JSON.stringify(loss))]), weight: 0, references: [] };
    },
    ...options,
  });
  return { journal, losses, faults };
}

/** Reads and acknowledges all that is queued; the numbers, gap entries left out. */
export async function drain(cursor: Cursor, limits = { bytes_max: 1e6, entries_max: 1000 }): Promise<number[]> {
  const ids: number[] = [];
  while (cursor.stats().queued > 0) {
    const records = await cursor.read(limits);
    for (const record of records) if (!isGap(record)) ids.push(numberOf(record));
    acknowledge(cursor, records);
  }
  return ids;
}

export function acknowledge(cursor: Cursor, records: readonly JournalRecord[]): void {
  const delivered = records.reduce((sum, record) => sum + record.weight, 0);
  cursor.advance(records.at(-1)?.seq ?? 0, { delivered, dropped: 0 });
}

export const range = (from: number, to: number): number[] =>
  Array.from({ length: Math.max(0, to - from + 1) }, (_, index) => from + index);
