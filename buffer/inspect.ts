/**
 * Looks into a journal from outside, whether its agent runs or not, without touching it.
 *
 *   DIR/segments/<name>/  ──copy, one at a time──▶  temporary directory  ──▶  LevelDB  ──▶  entries
 *
 * LevelDB lets one process in, and opening writes; so we open a copy. A segment is small. Its files are only
 * appended to or replaced, so a copy whose file list did not change meanwhile is a state that was there; one that
 * did is copied again, and a segment that disappears was delivered.
 */
import { constants, copyFile, mkdir, mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type CursorStats, JournalError, type JournalRecord } from "./contract.ts";
import {
  type CursorsState,
  decodeCursors,
  decodeDescription,
  decodeEntry,
  decodeMark,
  encodeKey,
  KIND,
  MARK_BYTES,
  type Mark,
  parseSegmentName,
  type StoredEntry,
} from "./layout.ts";
import { createLevelStore, diskBytes, isUnfinished, MARK_SLOT_BYTES } from "./level-store.ts";
import { type Store, StoreError } from "./store.ts";

const COPY_TRIES = 10;

export interface JournalStatus {
  readonly dir: string;
  readonly bytes_on_disk: number;
  readonly segments: readonly { readonly name: string; readonly first_seq: number; readonly bytes: number }[];
  /** Segments that were put aside because nothing could read them. */
  readonly quarantined: readonly string[];
  /** The last position written, and the readings ever committed. */
  readonly head_seq: number;
  readonly head_weight: number;
  /** As last written; a running agent may be a commit ahead. */
  readonly cursors: readonly CursorStats[];
}

export interface VerifyFault {
  /** Directory name; null where it concerns the journal as a whole. */
  readonly segment: string | null;
  /** Where, as nearly as can be said. */
  readonly seq: number;
  /** `unreadable`, `checksum`, `missing`, `weight`, `description`, `mark`, `conservation` */
  readonly code: string;
  readonly message: string;
}

export interface Verification {
  readonly entries: number;
  readonly records: number;
  /** Readings that they carry. */
  readonly weight: number;
  readonly faults: readonly VerifyFault[];
}

/** What `exportRecords` gives: a description before the first record that refers to it. */
export type Exported =
  | { readonly kind: "description"; readonly id: number; readonly bytes: Uint8Array }
  | ({ readonly kind: "record" } & JournalRecord);

type Found = { readonly entry: StoredEntry } | { readonly damaged_after: number };

interface Listed {
  readonly name: string;
  readonly first: number;
  readonly weight: number;
}

/** Sizes, cursors and head, from the newest segment. Throws JournalError `journal_missing`. */
export async function inspectStatus(dir: string): Promise<JournalStatus> {
  const segments = await list(dir);
  let head = { seq: 0, weight: 0 };
  let state: CursorsState | null = null;
  for (let index = segments.length - 1; index >= 0 && state === null; index--) {
    const segment = segments[index];
    if (segment === undefined) break;
    for await (const found of entriesOf(dir, segment, segments[index + 1])) {
      if (!("entry" in found)) continue;
      const { entry } = found;
      if (entry.seq > head.seq) head = { seq: entry.seq, weight: entry.weight_before + entry.weight };
      if (entry.kind === KIND.cursors) state = decodeCursors(entry.payload);
    }
  }
  return {
    dir,
    bytes_on_disk: await diskBytes(dir),
    segments: await Promise.all(
      segments.map(async ({ name, first }) => ({
        name,
        first_seq: first,
        bytes: await diskBytes(join(dir, "segments", name)),
      })),
    ),
    quarantined: await readdir(join(dir, "quarantine")).catch(() => []),
    head_seq: head.seq,
    head_weight: head.weight,
    cursors: statsOf(state, head.weight),
  };
}

/** Reads everything: checksums, continuity, descriptions, conservation. Throws JournalError `journal_missing`. */
export async function verify(dir: string): Promise<Verification> {
  const mark = await readMark(dir);
  const segments = await list(dir);
  const faults: VerifyFault[] = [];
  let entries = 0;
  let records = 0;
  let weight = 0;
  let at = { seq: (segments[0]?.first ?? 1) - 1, weight: segments[0]?.weight ?? 0 };
  let state: CursorsState | null = null;
  for (const [index, segment] of segments.entries()) {
    const fault = (code: string, seq: number, message: string): number =>
      faults.push({ segment: segment.name, seq, code, message });
    const described = new Set<number>();
    if (segment.first !== at.seq + 1) fault("missing", at.seq + 1, `positions ${at.seq + 1} to ${segment.first - 1}`);
    at = { seq: segment.first - 1, weight: segment.weight };
    try {
      for await (const found of entriesOf(dir, segment, segments[index + 1])) {
        if (!("entry" in found)) {
          fault(
            "checksum",
            found.damaged_after + 1,
            `an entry after position ${found.damaged_after} is not as written`,
          );
          continue;
        }
        const { entry } = found;
        if (entry.seq !== at.seq + 1) fault("missing", at.seq + 1, `positions ${at.seq + 1} to ${entry.seq - 1}`);
        else if (entry.weight_before !== at.weight) {
          fault("weight", entry.seq, `${entry.weight_before} readings before it, not ${at.weight}`);
        }
        at = { seq: entry.seq, weight: entry.weight_before + entry.weight };
        entries += 1;
        if (entry.kind === KIND.description) described.add(entry.seq);
        if (entry.kind === KIND.cursors) state = decodeCursors(entry.payload);
        if (entry.kind !== KIND.record) continue;
        records += 1;
        weight += entry.weight;
        if (!entry.described_at.every((place) => described.has(place))) {
          fault("description", entry.seq, "it refers to a description that cannot be read");
        }
      }
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      fault("unreadable", segment.first, error.message);
    }
  }
  if (mark !== null && mark.seq > at.seq) {
    const message = `positions up to ${mark.seq} were acknowledged; the log ends at ${at.seq}`;
    faults.push({ segment: null, seq: at.seq + 1, code: "mark", message });
  }
  for (const { name, imbalance, seq } of statsOf(state, at.weight)) {
    if (imbalance === 0) continue;
    const message = `cursor ${name}: ${imbalance} readings are neither delivered, queued nor dropped`;
    faults.push({ segment: null, seq, code: "conservation", message });
  }
  return { entries, records, weight, faults };
}

/** Every record that can be read and understood, oldest first, with its descriptions; damage is passed over. */
export async function* exportRecords(dir: string): AsyncGenerator<Exported> {
  const segments = await list(dir);
  const given = new Set<number>();
  for (const [index, segment] of segments.entries()) {
    try {
      for await (const found of entriesOf(dir, segment, segments[index + 1], true)) {
        if (!("entry" in found)) continue;
        const { kind, seq, weight, references, payload } = found.entry;
        const understood = kind === KIND.record && references.every((id) => given.has(id));
        if (understood) yield { kind: "record", seq, weight, references, payload };
        if (kind !== KIND.description) continue;
        const { id, bytes } = decodeDescription(payload);
        if (given.has(id)) continue;
        given.add(id);
        yield { kind: "description", id, bytes };
      }
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
    }
  }
}

function statsOf(state: CursorsState | null, head_weight: number): CursorStats[] {
  return (state?.cursors ?? []).map(({ name, seq, weight, start_weight, delivered, dropped }) => {
    const committed = head_weight - start_weight;
    const queued = head_weight - weight;
    const imbalance = committed - delivered - queued - dropped;
    return { name, seq, committed, delivered, queued, dropped, imbalance };
  });
}

async function list(dir: string): Promise<Listed[]> {
  let names: string[];
  try {
    names = await readdir(join(dir, "segments"));
  } catch (cause) {
    throw new JournalError("journal_missing", `${dir}: there is no journal here; name its data directory`, { cause });
  }
  return names
    .flatMap((name) => {
      const parsed = parseSegmentName(name);
      return parsed === null ? [] : [{ name, ...parsed }];
    })
    .toSorted((a, b) => a.first - b.first);
}

async function readMark(dir: string): Promise<Mark | null> {
  const bytes = await readFile(join(dir, "mark")).catch(() => Buffer.alloc(0));
  const marks = [0, MARK_SLOT_BYTES].map((at) => decodeMark(bytes.subarray(at, at + MARK_BYTES)));
  return marks.reduce((newest, mark) => (mark !== null && mark.seq > (newest?.seq ?? -1) ? mark : newest), null);
}

/**
 * The entries of a segment, from a copy, rebuilt where that is asked for. Nothing where it is gone. StoreError
 * where the copy does not open.
 */
async function* entriesOf(
  dir: string,
  segment: Listed,
  next: Listed | undefined,
  rebuild = false,
): AsyncGenerator<Found> {
  const temporary = await mkdtemp(join(tmpdir(), "lineside-journal-"));
  const store: Store = createLevelStore(temporary);
  try {
    const from = join(dir, "segments", segment.name);
    if (!(await copySegment(from, join(temporary, "segments", segment.name)))) return;
    const open = () => store.openSegment(segment.name, { create: false, size_bytes: 0 });
    const handle = await open().catch(async (error: unknown) => {
      if (!rebuild) throw error;
      await store.repairSegment(segment.name);
      return open();
    });
    try {
      const to = next === undefined ? Number.MAX_SAFE_INTEGER : next.first - 1;
      const scan = handle.scan(encodeKey(segment.first - 1), encodeKey(to));
      let last = segment.first - 1;
      for (let pairs = await scan.next(); pairs.length > 0; pairs = await scan.next()) {
        for (const [key, value] of pairs) {
          const entry = decodeEntry(key, value);
          if (entry === null) yield { damaged_after: last };
          else yield { entry };
          last = entry?.seq ?? last;
        }
      }
      await scan.close();
    } finally {
      await handle.close();
    }
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}

/** false: the segment is gone, or about to be made. */
async function copySegment(from: string, to: string): Promise<boolean> {
  let failure: unknown = new Error("it changed at every try");
  for (let attempt = 0; attempt < COPY_TRIES; attempt++) {
    await rm(to, { recursive: true, force: true });
    await mkdir(to, { recursive: true });
    try {
      const before = await contents(from);
      for (const name of before.names) await copyFile(join(from, name), join(to, name), constants.COPYFILE_FICLONE);
      const after = await contents(from);
      if (before.current === after.current && before.names.join() === after.names.join()) return true;
    } catch (error) {
      failure = error;
      if (await isUnfinished(from).catch(() => true)) return false;
    }
  }
  throw new StoreError("io", `${from}: no copy could be made of it`, { cause: failure });
}

/** LevelDB's own files, the manifest first: what it names is then copied after it. */
async function contents(path: string): Promise<{ readonly names: readonly string[]; readonly current: string }> {
  const items = await readdir(path, { withFileTypes: true });
  const files = items.filter((item) => item.isFile() && item.name !== "LOCK" && !item.name.startsWith("LOG"));
  const names = files.map((item) => item.name).toSorted((a, b) => Number(b > a) - Number(b < a));
  return { names, current: await readFile(join(path, "CURRENT"), "utf8") };
}
