import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { appendFile, mkdir, mkdtemp, readdir, readFile, rename, rm, stat, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test, type TestContext } from "node:test";
import type { AdapterContext, Batch, Outcome, Target } from "../../contract.ts";
import { bad } from "../../quality.ts";
import { batchOf, descriptor, frameOf, series } from "#test/contract/batches.ts";
import { realClock } from "#test/contract/clock.ts";
import { parseLines } from "#test/contract/lines.ts";
import type { z } from "zod";
import { fileOptions } from "./options.ts";
import { createTarget } from "./target.ts";

const ignore = (): void => {};
const context: AdapterContext = {
  clock: realClock,
  log: { debug: ignore, info: ignore, warn: ignore, error: ignore },
  data_dir: null,
};
const device = descriptor("d", [series("n", { value: "int", unit: "1" })]);
/** One line whose value is `value`. */
const one = (value: number): Batch =>
  batchOf([{ descriptor: device, frame: frameOf(device, 1, [{ series: 0, value }]) }]);
const LINE_BYTES =
  '{"time":"1970-01-01T00:00:00.000001Z","device":"d","point":"n","value":1,"unit":"1","quality":"good"}\n'.length;

async function folderOf(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "lineside-file-"));
  t.after(() => rm(folder, { recursive: true }));
  return folder;
}

async function make(t: TestContext, input: z.input<typeof fileOptions>): Promise<Target> {
  const target = await createTarget(fileOptions.parse(input), context);
  t.after(() => target.close());
  return target;
}

const deliver = (target: Target, batch: Batch): Promise<Outcome> => target.deliver(batch, new AbortController().signal);
const valuesIn = async (path: string): Promise<unknown[]> =>
  parseLines(await readFile(path, "utf8")).map(({ value }) => value);

describe("file target", () => {
  test("writes lines as its README says, to the letter", async (t) => {
    const path = join(await folderOf(t), "out.jsonl");
    const all = descriptor('de"v', [
      series("t", { unit: "Cel" }),
      series("n", { kind: "counter", value: "int", monotonic: true, unit: "kW.h" }),
      series("mode", {
        kind: "state",
        value: "int",
        unit: "1",
        states: [[2, "run"]],
        flags: [
          [1, "hot"],
          [4, "cold"],
        ],
      }),
      series("order", { kind: "text", value: "text" }),
    ]);
    const frame = frameOf(all, 1_795_000_000_123_456, [
      { series: 0, value: -1.5e-7 },
      { series: 1, value: 9_007_199_254_740_993n, start_us: 1_700_000_000_000_000 },
      { series: 2, value: 2 },
      { series: 3, value: "a\nb", time_us: 1_795_000_000_000_001 },
      { series: 0, value: null, quality: bad("timeout") },
      { series: 0, value: Infinity },
    ]);
    const event = {
      name: "lineside.gap",
      time_us: 0,
      severity: "warn",
      body: "lost 3",
      attributes: { points: ["a"] },
      descriptor: all,
    } as const;
    assert.deepEqual(await deliver(await make(t, { path }), batchOf([{ descriptor: all, frame }], [event])), {
      kind: "delivered",
      rejected: 0,
    });
    const head = (time: string, point: string): string => `{"time":"${time}","device":"de\\"v","point":"${point}"`;
    const now = "2026-11-18T11:06:40.123456Z";
    const own = "2026-11-18T11:06:40.000001Z";
    assert.equal(
      await readFile(path, "utf8"),
      [
        `${head(now, "t")},"value":-1.5e-7,"unit":"Cel","quality":"good"}`,
        `${head(now, "n")},"value":9007199254740993,"unit":"kW.h","quality":"good","start":"2023-11-14T22:13:20.000000Z"}`,
        `${head(now, "mode")},"value":2,"unit":"1","quality":"good","state":"run","flags":["hot"]}`,
        `${head(own, "order")},"value":"a\\nb","quality":"good"}`,
        `${head(now, "t")},"value":null,"unit":"Cel","quality":"bad","reason":"timeout"}`,
        `${head(now, "t")},"value":"Infinity","unit":"Cel","quality":"good"}`,
        '{"time":"1970-01-01T00:00:00.000000Z","device":"de\\"v","event":"lineside.gap","severity":"warn","message":"lost 3","attributes":{"points":["a"]}}',
        "",
      ].join("\n"),
    );
  });

  test("rotates before a batch that would exceed the size, and keeps so many", async (t) => {
    const folder = await folderOf(t);
    const path = join(folder, "out.jsonl");
    const fit = Math.floor(1024 / LINE_BYTES);
    const target = await make(t, { path, rotate_bytes: 1024, keep: 2 });
    const total = fit * 4 + 1;
    for (let value = 0; value < total; value++)
      assert.equal((await deliver(target, one(value % 10))).kind, "delivered");
    assert.deepEqual((await readdir(folder)).toSorted(), ["out.jsonl", "out.jsonl.1", "out.jsonl.2"]);
    assert.equal((await valuesIn(path)).length, 1);
    for (const number of [1, 2]) {
      assert.equal((await valuesIn(`${path}.${number}`)).length, fit);
      assert.ok((await stat(`${path}.${number}`)).size <= 1024);
    }
    // The newest of the rotated ones is number 1.
    assert.equal((await valuesIn(`${path}.1`)).at(-1), (total - 2) % 10);
  });

  test("with keep 0 begins anew, and a batch larger than the size goes in whole", async (t) => {
    const folder = await folderOf(t);
    const path = join(folder, "out.jsonl");
    const target = await make(t, { path, rotate_bytes: 1024, keep: 0 });
    const rows = Array.from({ length: 50 }, (_, value) => ({ series: 0, value }));
    await deliver(target, one(1));
    await deliver(target, batchOf([{ descriptor: device, frame: frameOf(device, 1, rows) }]));
    assert.equal((await valuesIn(path)).length, 50);
    assert.deepEqual(await readdir(folder), ["out.jsonl"]);
  });

  test("follows when somebody renames, removes or replaces the file", async (t) => {
    const path = join(await folderOf(t), "out.jsonl");
    const target = await make(t, { path });
    await deliver(target, one(1));
    await rename(path, `${path}.moved`);
    await deliver(target, one(2));
    await rm(path);
    await deliver(target, one(3));
    await writeFile(`${path}.new`, "");
    await rename(`${path}.new`, path);
    await deliver(target, one(4));
    assert.deepEqual(await valuesIn(`${path}.moved`), [1]);
    assert.deepEqual(await valuesIn(path), [4]);
    await truncate(path);
    await deliver(target, one(5));
    assert.deepEqual(await valuesIn(path), [5]);
  });

  test("cuts away the line that a crash left unfinished, and nothing else", async (t) => {
    const path = join(await folderOf(t), "out.jsonl");
    await (await make(t, { path })).close();
    for (const rest of [
      '{"time":"2026',
      "{",
      '{"time":"2026-01-01T00:00:00.000000Z","device":"' + "x".repeat(200_000),
    ]) {
      await writeFile(path, "");
      const first = await make(t, { path });
      await deliver(first, one(1));
      await first.close();
      await appendFile(path, rest);
      await deliver(await make(t, { path }), one(2));
      assert.deepEqual(await valuesIn(path), [1, 2]);
    }
    // Not ours: it is ended, not removed.
    await writeFile(path, "# begun by hand");
    await deliver(await make(t, { path }), one(3));
    assert.match(await readFile(path, "utf8"), /^# begun by hand\n\{"time":/);
  });

  test("a full disk is a retry", async (t) => {
    const outcome = await deliver(await make(t, { path: "/dev/full" }), one(1));
    assert.deepEqual(outcome, { kind: "retry", reason: "/dev/full: disk full (ENOSPC)" });
  });

  test("a disk that fills up keeps whole lines, and the batch comes once when there is room", async (t) => {
    const folder = join(await folderOf(t), "disk");
    await mkdir(folder);
    try {
      execFileSync("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], { stdio: "ignore" });
    } catch {
      return t.skip("mounting a small disk needs root");
    }
    try {
      const path = join(folder, "out.jsonl");
      const ballast = join(folder, "ballast");
      await writeFile(ballast, Buffer.alloc(56 * 1024));
      const target = await make(t, { path });
      const rows = Array.from({ length: 200 }, (_, value) => ({ series: 0, value }));
      const batch = batchOf([{ descriptor: device, frame: frameOf(device, 1, rows) }]);
      assert.equal((await deliver(target, one(7))).kind, "delivered");
      for (let attempt = 0; attempt < 3; attempt++) {
        assert.deepEqual(await deliver(target, batch), { kind: "retry", reason: `${path}: disk full (ENOSPC)` });
        assert.deepEqual(await valuesIn(path), [7]);
      }
      await rm(ballast);
      assert.equal((await deliver(target, batch)).kind, "delivered");
      assert.deepEqual(await valuesIn(path), [7, ...rows.map(({ value }) => value)]);
      await target.close();
    } finally {
      execFileSync("umount", ["-l", folder]);
    }
  });

  test("says at start what is wrong with the path", async (t) => {
    const folder = await folderOf(t);
    const fault = (path: string, code: string): Promise<void> =>
      assert.rejects(() => make(t, { path }), { code: "config", message: `file: path: cannot open ${path} (${code})` });
    await fault(join(folder, "nowhere", "out.jsonl"), "ENOENT");
    await fault(folder, "EISDIR");
  });
});
