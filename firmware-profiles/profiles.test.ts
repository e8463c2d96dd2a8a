/** Walks every shipped profile: it loads, is sound as it is, and is sound under every variant that it has. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { describe, test } from "node:test";
import { checkPoints } from "./checks/points.ts";
import { comparisons } from "./condition.ts";
import { defaultFacts, resolveProfile } from "./resolve.ts";
import type { Facts } from "./facts.ts";
import { formatFault } from "./fault.ts";
import { Files, shippedProfiles, topOf } from "./files.ts";
import { ProfileLoader, profileNames } from "./load.ts";
import type { Profile } from "./loaded.ts";
import { compilePoints } from "./points.ts";
import { readmeFile, readmeTable } from "./readme.ts";
import { createReport } from "./report.ts";
import { protocols } from "./schema.ts";
import { seriesOf } from "./series.ts";

const names = await profileNames(shippedProfiles);
const COMBINATIONS_MAX = 2000;

async function load(name: string): Promise<Profile> {
  const report = createReport();
  const loader = new ProfileLoader({
    files: new Files({ readFile, report }),
    report,
    beside: null,
    shipped: shippedProfiles,
  });
  const profile = await loader.load(name, topOf(name));
  assert.deepEqual(report.list().map(formatFault), []);
  assert.ok(profile);
  return profile;
}

/** Facts on either side of, and at, everything that a condition of the profile compares with. */
function combinationsOf(profile: Profile): Facts[] {
  const literals = new Map<string, Set<string>>();
  for (const { name, literals: words } of profile.variants.flatMap(({ condition }) => comparisons(condition))) {
    const known = literals.get(name.text) ?? new Set<string>();
    for (const { text } of words) known.add(text);
    literals.set(name.text, known);
  }
  let all: Facts[] = profile.models.map((model) => ({ ...defaultFacts(profile), model }));
  for (const name of Object.keys(profile.versions)) {
    const versions = [null, "0.0.1", "99999", ...(literals.get(name) ?? [])];
    all = all.flatMap((facts) =>
      versions.map((version) => ({
        ...facts,
        versions: version === null ? facts.versions : new Map([...facts.versions, [name, version]]),
      })),
    );
  }
  for (const [name, definition] of Object.entries(profile.parameters)) {
    const values =
      "values" in definition
        ? definition.values
        : definition.type === "boolean"
          ? [false, true]
          : [0, ...[...(literals.get(name) ?? [])].map(Number)];
    all = all.flatMap((facts) =>
      values.map((value) => ({ ...facts, parameters: new Map([...facts.parameters, [name, value]]) })),
    );
  }
  return all;
}

test("there are profiles of every protocol", async () => {
  const used = new Set((await Promise.all(names.map(load))).map(({ protocol }) => protocol));
  assert.deepEqual([...used].sort(), Object.keys(protocols).sort());
});

describe("profile", () => {
  for (const name of names) {
    test(`${name} is sound, in every combination of model, version and parameter`, async () => {
      const profile = await load(name);
      const combinations = combinationsOf(profile);
      assert.ok(combinations.length <= COMBINATIONS_MAX, `${combinations.length} combinations`);
      const applied = new Set<unknown>();
      for (const facts of combinations) {
        const report = createReport();
        const resolved = resolveProfile(profile, facts);
        for (const variant of resolved.applied) applied.add(variant);
        const behaviour = protocols[profile.protocol].behaviour.parse(resolved.behaviour);
        const compiled = compilePoints(profile.protocol, resolved.points, 1000, report);
        await checkPoints(profile.protocol, compiled, behaviour, resolved.behaviour, report);
        assert.deepEqual(
          report.list().map(formatFault),
          [],
          JSON.stringify([facts.model, ...facts.versions, ...facts.parameters]),
        );
        assert.ok(compiled.checked.length > 0);
        for (const { point } of compiled.checked) assert.ok(seriesOf(profile.protocol, point).metric.length > 0);
      }
      assert.equal(applied.size, profile.variants.length, "a variant that no combination applies");
    });

    test(`${name} names the evidence of every point`, async () => {
      const profile = await load(name);
      for (const [point, { fields, defaults }] of profile.points) {
        assert.ok(
          [...fields, ...defaults].some(({ source }) => typeof source === "string"),
          `${point} has no source`,
        );
      }
    });
  }

  test("README.md lists them all (node firmware-profiles/readme.ts writes it)", async () => {
    const readme = await readFile(readmeFile, "utf8");
    assert.ok(
      readme.includes(readmeTable(await Promise.all(names.map(load)))),
      "run: node firmware-profiles/readme.ts",
    );
  });
});
