/** Imports, layers and variants, as docs/writing-a-profile.md states them. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Facts } from "./facts.ts";
import { formatFault } from "./fault.ts";
import { Files, topOf } from "./files.ts";
import { ProfileLoader } from "./load.ts";
import type { Profile } from "./loaded.ts";
import { compilePoints } from "./points.ts";
import { createReport, type Report } from "./report.ts";
import { defaultFacts, resolveProfile } from "./resolve.ts";

const HEAD = "title: T\nmanufacturer: M\nmodel: A\nmodels: [B]\nversion: 1.0.0\nprotocol: modbus\n";

/** Loads `dev/ice` from these files, by their paths. */
async function load(files: Readonly<Record<string, string>>): Promise<{ profile: Profile | null; report: Report }> {
  const report = createReport();
  const readFile = async (path: string): Promise<Uint8Array> => {
    const text = files[path];
    if (text === undefined) throw Object.assign(new Error("no such file"), { code: "ENOENT" });
    return Promise.resolve(new TextEncoder().encode(text));
  };
  const loader = new ProfileLoader({
    files: new Files({ readFile, report }),
    report,
    beside: { path: "/site", name: "" },
    shipped: import.meta.dirname,
  });
  return { profile: await loader.load("dev/ice", topOf("site.yaml")), report };
}

type Fields = Readonly<Record<string, unknown>>;

/** The points of `dev/ice` under these facts, by name. */
async function points(
  files: Readonly<Record<string, string>>,
  facts: Partial<Facts> = {},
): Promise<Record<string, Fields>> {
  const { profile, report } = await load(files);
  assert.deepEqual(report.list().map(formatFault), []);
  assert.ok(profile);
  const resolved = resolveProfile(profile, { ...defaultFacts(profile), ...facts });
  const { checked } = compilePoints("modbus", resolved.points, 1000, report);
  assert.deepEqual(report.list().map(formatFault), []);
  return Object.fromEntries(checked.map(({ point }) => [point.name, point as Fields]));
}

const pick = (from: Fields | undefined, ...keys: string[]): Fields =>
  Object.fromEntries(keys.map((key) => [key, from?.[key]]));
const firmware = (version: string): Partial<Facts> => ({ versions: new Map([["firmware", version]]) });

describe("imports", () => {
  const fragments = {
    "/site/dev/ice.yaml": `${HEAD}import: [common/a.yaml, common/b.yaml]
defaults: { area: input, scale: 3 }
points:
  - { name: own, address: 1 }
  - { name: from_a, unit: V }
`,
    "/site/common/a.yaml":
      "defaults: { scale: 2, type: s16 }\npoints:\n  - { name: from_a, address: 10, unit: A }\n  - { name: both, address: 11 }\n",
    "/site/common/b.yaml": "points:\n  - { name: both, address: 12, type: u32 }\n",
  };

  test("come before the file, in order, and points are merged by name", async () => {
    const all = await points(fragments);
    assert.deepEqual(Object.keys(all), ["from_a", "both", "own"]);
    assert.deepEqual(pick(all["from_a"], "address", "unit"), { address: 10, unit: "V" });
    assert.deepEqual(pick(all["both"], "address", "type"), { address: 12, type: "u32" });
  });

  test("keep their own defaults above those of the file that imports them", async () => {
    const all = await points(fragments);
    assert.deepEqual(pick(all["from_a"], "area", "scale", "type"), { area: "input", scale: 2, type: "s16" });
    assert.deepEqual(pick(all["own"], "area", "scale", "type"), { area: "input", scale: 3, type: "s16" });
  });

  test("that go round in a circle are told at the import that closes it", async () => {
    const { profile, report } = await load({
      "/site/dev/ice.yaml": `${HEAD}import: [a.yaml]\npoints: [{ name: p, address: 1 }]\n`,
      "/site/a.yaml": "import: [b.yaml]\n",
      "/site/b.yaml": "description: b\nimport: [a.yaml]\n",
    });
    assert.deepEqual(report.list().map(formatFault), [
      "b.yaml:2:10: circular import: a.yaml imports b.yaml imports a.yaml",
    ]);
    assert.notEqual(profile, null);
  });
});

describe("variants", () => {
  const device = (variants: string): Record<string, string> => ({
    "/site/dev/ice.yaml": `${HEAD}versions: { firmware: On the display. }
parameters:
  decimals: { values: [0, 1], default: 0, description: Digits. }
modbus: { registers_max: 50, pause: 5ms }
defaults: { area: input }
points:
  - { name: power, address: 10, type: s16, unit: W, metric: electrical.power, attributes: { phase: L1, side: ac } }
  - { name: energy, address: 20, type: u32, unit: kW.h, kind: counter, rollover: 2^32 }
  - { name: mode, address: 30, kind: state, states: { 0: "off", 1: "on" } }
variants:
${variants}`,
  });

  test("apply in order where their condition holds, and the last one wins field by field", async () => {
    const files = device(`  - { when: firmware >= 2, points: [{ name: power, address: 100, scale: 0.1 }] }
  - { when: firmware >= 3, points: [{ name: power, address: 200 }] }
`);
    assert.deepEqual(pick((await points(files, firmware("1.9")))["power"], "address", "scale", "type"), {
      address: 10,
      scale: 1,
      type: "s16",
    });
    assert.deepEqual(pick((await points(files, firmware("2.0")))["power"], "address", "scale", "type"), {
      address: 100,
      scale: 0.1,
      type: "s16",
    });
    assert.deepEqual(pick((await points(files, firmware("3.1")))["power"], "address", "scale", "type"), {
      address: 200,
      scale: 0.1,
      type: "s16",
    });
  });

  test("merge maps key by key, replace lists, and take away with null", async () => {
    const files = device(`  - when: firmware >= 2
    points:
      - { name: power, attributes: { phase: total, side: null }, unit: null }
      - { name: energy, rollover: null }
      - { name: mode, states: { 2: standby } }
`);
    const all = await points(files, firmware("2"));
    assert.deepEqual(pick(all["power"], "attributes", "unit"), { attributes: { phase: "total" }, unit: "1" });
    assert.equal(all["energy"]?.["rollover"], undefined);
    assert.deepEqual(all["mode"]?.["states"], { 0: "off", 1: "on", 2: "standby" });
  });

  test("change several points at once, add points with the file's defaults, and remove points", async () => {
    const files = device(`  - when: model = B
    remove: [mode]
    points:
      - { name: [power, energy], scale: 10 }
      - { name: frequency, address: 40, unit: Hz }
`);
    const all = await points(files, { model: "B" });
    assert.deepEqual(Object.keys(all), ["power", "energy", "frequency"]);
    assert.deepEqual([all["power"]?.["scale"], all["energy"]?.["scale"]], [10, 10]);
    assert.equal(all["frequency"]?.["area"], "input");
  });

  test("may change defaults, which what a point states itself stands above", async () => {
    const files = device(`  - { when: firmware >= 2, defaults: { area: holding, type: s32 } }\n`);
    const all = await points(files, firmware("2"));
    assert.deepEqual(pick(all["power"], "area", "type"), { area: "holding", type: "s16" });
    assert.deepEqual(pick(all["mode"], "area", "type"), { area: "holding", type: "s32" });
  });

  test("may change behaviour and the poll interval", async () => {
    const { profile } = await load(device(`  - { when: decimals = 1, every: 5s, modbus: { registers_max: 20 } }\n`));
    assert.ok(profile);
    const plain = resolveProfile(profile, defaultFacts(profile));
    assert.deepEqual([plain.behaviour, plain.every], [{ registers_max: 50, pause: "5ms" }, undefined]);
    const changed = resolveProfile(profile, { ...defaultFacts(profile), parameters: new Map([["decimals", 1]]) });
    assert.deepEqual([changed.behaviour, changed.every], [{ registers_max: 20, pause: "5ms" }, "5s"]);
  });

  test("are decided by the newest firmware where none is stated, and say so; asked again, they follow the facts", async () => {
    const { profile } = await load(device(`  - { when: firmware < 2, points: [{ name: power, address: 1 }] }\n`));
    assert.ok(profile);
    const unstated = resolveProfile(profile, defaultFacts(profile));
    assert.deepEqual([unstated.applied.length, unstated.unstated], [0, ["firmware"]]);
    const told = resolveProfile(profile, { ...defaultFacts(profile), ...firmware("1.5") });
    assert.deepEqual([told.applied.length, told.unstated], [1, []]);
    // The profile is shared by all its devices: resolving leaves it as it was.
    assert.deepEqual([...resolveProfile(profile, defaultFacts(profile)).points], [...unstated.points]);
  });
});

test("a profile beside the site file stands before a shipped one of the same name", async () => {
  const report = createReport();
  const own = `${HEAD}points: [{ name: only_this, address: 1 }]\n`;
  const loader = new ProfileLoader({
    files: new Files({
      readFile: async (path) => {
        if (path !== "/site/eastron/sdm630.yaml") throw Object.assign(new Error(path), { code: "ENOENT" });
        return Promise.resolve(new TextEncoder().encode(own));
      },
      report,
    }),
    report,
    beside: { path: "/site", name: "" },
    shipped: import.meta.dirname,
  });
  const profile = await loader.load("eastron/sdm630", topOf("site.yaml"));
  assert.deepEqual([...(profile?.points.keys() ?? [])], ["only_this"]);
});
