/** The journal on a real disk, mistreated: killed, flipped, cut, filled. */
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { cp, mkdtemp, open, readdir, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { describe, type TestContext, test } from "node:test";
import { promisify } from "node:util";
import {
  acknowledge,
  drain,
  isGap,
  numbered,
  openAt,
  range,
  temporaryDirectory,
  weightOf,
} from "#test/buffer/journals.ts";
import { Random } from "#test/buffer/simulated-disk.ts";
import { type Cursor, JournalError } from "./contract.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const weightOfAll = (ids: readonly number[]): number => ids.reduce((sum, id) => sum + weightOf(id), 0);

describe("kill -9", () => {
  test("every acknowledged commit of 20 killed processes is read back, in order, once", async (t) => {
    const dir = await temporaryDirectory(t);
    const random = new Random(1);
    let acknowledged = 0;
    let read = 0;
    for (let cycle = 0; cycle < 20; cycle++) {
      acknowledged = Math.max(acknowledged, await killed(dir, read + 1, random.below(60)));
      const { journal, losses, faults } = await openAt(dir, { segment_bytes: 64 * KIB });
      const ids = await drain(await journal.cursor("check", { from: "start" }));
      assert.deepEqual(ids, range(read + 1, read + ids.length), `cycle ${cycle}`);
      read += ids.length;
      assert.ok(read >= acknowledged, `${acknowledged} were acknowledged, ${read} are there`);
      assert.equal(read % 3, 0, "a commit is there whole, or not at all");
      assert.deepEqual([losses, faults], [[], []]);
      await journal.commit({ entries: [] });
      await journal.close();
    }
    assert.ok(acknowledged >= 100, `${acknowledged} entries in all`);
  });
});

/** Starts a process that commits, kills it some time after its first acknowledgement; the last id acknowledged. */
async function killed(dir: string, first: number, after_ms: number): Promise<number> {
  const script = new URL("../test/buffer/committer.ts", import.meta.url).pathname;
  const child = spawn(process.execPath, [script, dir, String(first)], { stdio: ["ignore", "pipe", "inherit"] });
  const closed = new Promise((resolve) => child.on("close", resolve));
  let last = 0;
  for await (const line of createInterface({ input: child.stdout })) {
    if (last === 0) setTimeout(() => child.kill("SIGKILL"), after_ms);
    last = Number(line);
  }
  await closed;
  return last;
}

/** A closed journal of several segments, as logs and as tables; cursor `a` has acknowledged the first ten. */
async function worn(t: TestContext, count: number): Promise<string> {
  const dir = await temporaryDirectory(t);
  const options = { limit_bytes: 4 * MIB, segment_bytes: 64 * KIB };
  for (const [from, to] of [
    [1, count / 2],
    [count / 2 + 1, count],
  ] as const) {
    const { journal } = await openAt(dir, options);
    const description = journal.describe(Buffer.from("what all of them need"));
    const cursor = await journal.cursor("a", { from: "start" });
    for (const id of range(from, to)) await journal.commit({ entries: [numbered(id, 4000, [description])] });
    acknowledge(cursor, await cursor.read({ bytes_max: 1e6, entries_max: 5 }));
    await journal.commit({ entries: [] });
    await journal.close();
  }
  return dir;
}

async function filesOf(dir: string): Promise<string[]> {
  const items = await readdir(dir, { recursive: true, withFileTypes: true });
  const files = items.filter((item) => item.isFile() && item.name !== "reserve");
  return files.map((item) => join(item.parentPath, item.name)).toSorted();
}

/** Opens a mistreated journal, drains it, and holds it to its promises. */
async function account(dir: string, count: number): Promise<{ lost: number; faults: string[] }> {
  const { journal, losses, faults } = await openAt(dir, { limit_bytes: 4 * MIB, segment_bytes: 64 * KIB });
  const cursor = await journal.cursor("a", { from: "start" });
  const before = cursor.stats();
  await journal.commit({ entries: [numbered(count + 1)] });
  const ids = await drain(cursor);
  assert.deepEqual(
    ids,
    [...new Set(ids)].toSorted((x, y) => x - y),
    "in order, none twice",
  );
  assert.equal(ids.at(-1), count + 1, "it goes on");
  const { committed, delivered, dropped, imbalance } = cursor.stats();
  assert.equal(imbalance, 0);
  assert.equal(committed, weightOfAll(range(1, count + 1)), "what was committed is known to the last reading");
  assert.equal(delivered, before.delivered + weightOfAll(ids));
  assert.equal(
    dropped,
    losses.reduce((sum, loss) => sum + loss.weight, 0),
    "each loss is told",
  );
  assert.ok(losses.every((loss) => loss.reason === "corrupt"));
  await journal.close();
  return { lost: dropped, faults };
}

describe("damage", () => {
  test("a flipped bit anywhere costs at most what it hit, and is told", async (t) => {
    const count = 60;
    const base = await worn(t, count);
    const names = (await filesOf(base)).map((file) => file.slice(base.length + 1));
    for (const kind of [".ldb", ".log", "MANIFEST"])
      assert.ok(
        names.some((name) => name.includes(kind)),
        kind,
      );
    const random = new Random(3);
    let lossy = 0;
    let mended = 0;
    for (let trial = 0; trial < 40; trial++) {
      const dir = await temporaryDirectory(t);
      await cp(base, dir, { recursive: true });
      const file = join(dir, random.pick(names) ?? "");
      const bytes = await readFile(file);
      if (bytes.length === 0) continue;
      const at = random.below(bytes.length);
      bytes[at] = (bytes[at] ?? 0) ^ (1 << random.below(8));
      await writeFile(file, bytes);
      const { lost, faults } = await account(dir, count).catch((cause: unknown) => {
        throw new Error(`byte ${at} of ${file.slice(dir.length + 1)}`, { cause });
      });
      if (lost > 0) lossy += 1;
      if (faults.includes("journal_repaired")) mended += 1;
      assert.ok(lost < weightOfAll(range(1, count)) / 2, "the neighbours are spared");
      await rm(dir, { recursive: true });
    }
    t.diagnostic(`40 flips: ${lossy} lost readings, ${mended} were repaired`);
    assert.ok(lossy > 5, `${lossy} flips hit something`);
    assert.ok(mended > 0);
  });

  test("a segment that nothing can read is put aside; its readings are counted as lost from its name", async (t) => {
    const count = 80;
    const dir = await worn(t, count);
    const segments = (await readdir(join(dir, "segments"))).toSorted();
    const victim = join(dir, "segments", segments[2] ?? "");
    for (const name of await readdir(victim)) {
      await rm(join(victim, name), { recursive: true });
    }
    await writeFile(join(victim, "CURRENT"), "MANIFEST-000099\n");
    await cp(victim, join(victim, "000005.ldb"), { recursive: true }).catch(() => undefined);
    const { lost, faults } = await account(dir, count);
    assert.ok(lost > 0);
    assert.ok(faults.includes("journal_corrupt"));
  });

  test("acknowledged commits that vanish from the end of the log are missed, by the mark beside it", async (t) => {
    const count = 80;
    const dir = await worn(t, count);
    const newest = join(dir, "segments", (await readdir(join(dir, "segments"))).toSorted().at(-1) ?? "");
    const log = (await readdir(newest)).find((name) => name.endsWith(".log")) ?? "";
    const { size } = await stat(join(newest, log));
    assert.ok(size > 8000);
    await truncate(join(newest, log), size - 6000);
    const { lost, faults } = await account(dir, count);
    assert.ok(lost > 0);
    assert.ok(faults.includes("journal_corrupt"));
  });
});

const run = promisify(execFile);

/** A file system of its own, small; null where we may not mount one. */
async function smallDisk(t: TestContext, bytes: number): Promise<string | null> {
  const dir = await mkdtemp(join(tmpdir(), "lineside-disk-"));
  try {
    await run("mount", ["-t", "tmpfs", "-o", `size=${bytes}`, "lineside-test", dir]);
  } catch {
    await rm(dir, { recursive: true });
    return null;
  }
  t.after(async () => {
    await run("umount", [dir]);
    await rm(dir, { recursive: true });
  });
  return dir;
}

describe("a full disk", () => {
  const options = { limit_bytes: 32 * MIB, segment_bytes: 256 * KIB };

  async function fill(journal: Awaited<ReturnType<typeof openAt>>["journal"], from: number): Promise<number> {
    for (let id = from; ; id++) {
      try {
        await journal.commit({ entries: [numbered(id, 20_000)] });
      } catch (error) {
        assert.ok(error instanceof JournalError && error.code === "journal_write", String(error));
        return id - 1;
      }
    }
  }

  test("refuses, keeps what it acknowledged, and goes on when deliveries or others make room", async (t) => {
    const disk = await smallDisk(t, 12 * MIB);
    if (disk === null) return t.skip("needs the right to mount a tmpfs");
    const dir = join(disk, "journal");
    const { journal, losses } = await openAt(dir, options);
    const cursor: Cursor = await journal.cursor("a", { from: "start" });
    // Somebody else takes the rest of the disk.
    const other = await open(join(disk, "other"), "w");
    await other.write(Buffer.alloc(4 * MIB));
    let last = await fill(journal, 1);
    assert.ok(last > 50, `${last} commits fitted`);
    await assert.rejects(journal.commit({ entries: [numbered(last + 1, 20_000)] }), { code: "journal_write" });

    // Deliveries alone make room, with the disk as full as before.
    const ids: number[] = [];
    for (let round = 0; round < 60 && ids.length < last; round++) {
      const records = await cursor.read({ bytes_max: 200_000, entries_max: 10 });
      ids.push(
        ...records.filter((record) => !isGap(record)).map((record) => Buffer.from(record.payload).readDoubleBE()),
      );
      acknowledge(cursor, records);
      await journal.commit({ entries: [] }).catch(() => undefined);
    }
    await journal.commit({ entries: [numbered(last + 1, 20_000)] });
    last = await fill(journal, last + 2);

    // And so does whoever filled it.
    await other.truncate(0);
    await journal.commit({ entries: [numbered(last + 1, 20_000)] });
    ids.push(...(await drain(cursor)));
    assert.deepEqual(ids, range(1, last + 1), "nothing acknowledged is lost, nothing refused stands twice");
    assert.deepEqual(losses, []);
    assert.equal(cursor.stats().imbalance, 0);
    await other.close();
    await journal.close();
    const again = await openAt(dir, options);
    assert.deepEqual(again.faults, []);
    await again.journal.close();
  });
});
