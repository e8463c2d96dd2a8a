/** Golden cases: each folder of test/fixtures/site-faults holds a broken site file and what is said of it. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { describe, test } from "node:test";
import { formatFault } from "#profiles/fault.ts";
import { loadSite } from "./load.ts";

const FIXTURES = resolve(import.meta.dirname, "../../test/fixtures/site-faults");
const cases = readdirSync(FIXTURES);

describe("a broken site file is told at its lines and columns", () => {
  test("in at least thirty ways", () => assert.ok(cases.length >= 30));

  for (const name of cases) {
    test(name, async () => {
      const folder = resolve(FIXTURES, name);
      const { site, faults } = await loadSite("site.yaml", {
        env: (variable) => (variable === "ENDPOINT" ? "not-a-url" : undefined),
        readFile: async (path) => readFile(resolve(folder, path)),
      });
      const text = faults.map((fault) => `${formatFault(fault)}\n`).join("");
      assert.equal(text, readFileSync(resolve(folder, "expected.txt"), "utf8"));
      assert.equal(site, null);
    });
  }
});
