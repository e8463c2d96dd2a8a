import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { describe, test } from "node:test";
import { acknowledge, numbered, numberOf, openAt, range, temporaryDirectory, weightOf } from "#test/buffer/journals.ts";
import { type Exported, exportRecords, inspectStatus, verify } from "./inspect.ts";

const KIB = 1024;
const weightOfAll = (ids: readonly number[]): number => ids.reduce((sum, id) => sum + weightOf(id), 0);

async function exported(dir: string): Promise<Exported[]> {
  const all: Exported[] = [];
  for await (const item of exportRecords(dir)) all.push(item);
  return all;
}

const idsOf = (items: readonly Exported[]): number[] =>
  items.flatMap((item) => (item.kind === "record" ? [numberOf(item)] : []));

describe("looking in from outside", () => {
  test("an open journal and a closed one show the same, and are left as they were", async (t) => {
    const dir = await temporaryDirectory(t);
    const { journal } = await openAt(dir, { segment_bytes: 64 * KIB });
    const cursor = await journal.cursor("a", { from: "start" });
    const description = journal.describe(Buffer.from("series"));
    for (const id of range(1, 40)) await journal.commit({ entries: [numbered(id, 4000, [description])] });
    acknowledge(cursor, await cursor.read({ bytes_max: 1e6, entries_max: 3 }));
    await journal.commit({ entries: [] });

    const look = async () => ({
      status: await inspectStatus(dir),
      checked: await verify(dir),
      all: await exported(dir),
    });
    const open = await look();
    const { segments, head_seq, head_weight, cursors } = journal.stats();
    assert.equal(open.status.segments.length, segments);
    assert.ok(segments >= 3);
    assert.equal(open.status.head_seq, head_seq);
    assert.equal(open.status.head_weight, head_weight);
    assert.deepEqual(open.status.cursors, cursors);
    assert.deepEqual(open.checked.faults, []);
    assert.equal(open.checked.records, 40);
    assert.equal(open.checked.weight, weightOfAll(range(1, 40)));
    assert.deepEqual(idsOf(open.all), range(1, 40));
    const descriptions = open.all.filter((item) => item.kind === "description");
    assert.deepEqual(
      descriptions.map((item) => [item.id, Buffer.from(item.bytes).toString()]),
      [[description, "series"]],
    );
    assert.equal(
      open.all.findIndex((item) => item.kind === "description"),
      0,
      "told before it is needed",
    );

    await journal.close();
    const names = (await readdir(dir, { recursive: true })).toSorted();
    const closed = await look();
    assert.deepEqual(closed.checked, open.checked);
    assert.deepEqual(idsOf(closed.all), range(1, 40));
    assert.deepEqual((await readdir(dir, { recursive: true })).toSorted(), names, "nothing was touched");
  });

  test("verify names what is wrong, and export gives what is right", async (t) => {
    const dir = await temporaryDirectory(t);
    const { journal } = await openAt(dir, { segment_bytes: 64 * KIB });
    await journal.cursor("a", { from: "start" });
    for (const id of range(1, 40)) await journal.commit({ entries: [numbered(id, 4000)] });
    await journal.close();
    const [first = "", second = ""] = (await readdir(join(dir, "segments"))).toSorted();
    const log = join(dir, "segments", first, "000003.log");
    const bytes = await readFile(log);
    bytes[10_000] = (bytes[10_000] ?? 0) ^ 1;
    await writeFile(log, bytes);
    await writeFile(join(dir, "segments", second, "CURRENT"), "MANIFEST-000099\n");

    const { faults, records } = await verify(dir);
    assert.ok(faults.some((fault) => fault.segment === first && fault.code === "missing" && fault.seq > 1));
    assert.ok(faults.some((fault) => fault.segment === second && fault.code === "unreadable"));
    assert.ok(records > 0 && records < 40);
    const ids = idsOf(await exported(dir));
    assert.ok(ids.length > records, "a copy can be rebuilt");
    assert.ok(ids.length < 40);
  });

  test("a directory that holds no journal is named as such", async (t) => {
    const dir = await temporaryDirectory(t);
    await assert.rejects(inspectStatus(dir), { code: "journal_missing" });
    await assert.rejects(verify(dir), { code: "journal_missing" });
  });

  test("another process writes and rotates all the while", async (t) => {
    const dir = await temporaryDirectory(t);
    const script = new URL("../test/buffer/committer.ts", import.meta.url).pathname;
    const child = spawn(process.execPath, [script, dir, "1", "4000", "40"], { stdio: ["ignore", "pipe", "inherit"] });
    const closed = new Promise((resolve) => child.on("close", resolve));
    try {
      let acknowledged = 0;
      const lines = createInterface({ input: child.stdout });
      await new Promise<void>((resolve) =>
        lines.on("line", (line) => {
          acknowledged = Number(line);
          resolve();
        }),
      );
      let segments = 0;
      for (let look = 0; look < 5 || (segments < 3 && look < 100); look++) {
        const before = acknowledged;
        const status = await inspectStatus(dir);
        assert.ok(status.head_weight >= weightOfAll(range(1, before)), "no older than what was acknowledged before");
        assert.ok(status.segments.length >= segments);
        segments = status.segments.length;
        const { faults } = await verify(dir);
        assert.deepEqual(faults, []);
        const ids = idsOf(await exported(dir));
        assert.deepEqual(ids, range(1, ids.length));
        assert.ok(ids.length >= before);
      }
      assert.ok(segments > 2, `${segments} segments`);
    } finally {
      child.kill("SIGKILL");
      await closed;
    }
  });
});
