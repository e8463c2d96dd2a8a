/** docs/quality.md lists every stable reason, and no other: compared with what the code can say. */
import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { test } from "node:test";

const ROOT = resolve(import.meta.dirname, "..");

/** Where a reason or a link code is written out: an interned quality, an error, an entry of a table of codes. */
const PLACES = [
  /\b(?:bad|uncertain)\("([a-z_0-9]+)"\)/g,
  /new LinesideError\(\s*"([a-z_]+)"/g,
  /(?:\bfail|#lose)\(\s*"([a-z_]+)"/g,
  /\bcode: "([a-z_]+)"/g,
  /\bE[A-Z_]+: \["([a-z_]+)"/g,
  /[?:] \["((?:port|connect)_[a-z]+)", /g,
  /\?\? "(open_failed)"|: "(open_failed)"|, "(connecting)"\)/g,
  /reason: "([a-z_]+)"/g,
  /LossSummary\("([a-z_]+)"\)|UNWRITABLE = "([a-z_]+)"|\? "(buffer_full)"/g,
];
/** What concerns no reading: the status page, the journal, fields of a point whose address makes no sense. */
const OTHERS = new Set("custom http_port journal_format address bits length scale_register type".split(" "));

test("every reason that the code can say is on the page, and the page names no other", () => {
  const files = ["adapters/sources/**/*.ts", "agent/*.ts", "agent/process/*.ts"]
    .flatMap((pattern) => globSync(pattern, { cwd: ROOT }))
    .filter((file) => !file.endsWith(".test.ts"));
  assert.ok(files.length > 40);
  const said = new Set<string>();
  for (const file of files) {
    const text = readFileSync(join(ROOT, file), "utf8");
    for (const place of PLACES) {
      for (const [, ...groups] of text.matchAll(place)) for (const group of groups) if (group) said.add(group);
    }
  }
  for (const other of OTHERS) said.delete(other);
  said.add("sentinel");
  const page = readFileSync(join(ROOT, "docs/quality.md"), "utf8");
  const told = new Set([...page.matchAll(/^\| `([a-z_]+)` \|/gm)].map(([, reason]) => reason ?? ""));
  assert.deepEqual(
    [...said].filter((reason) => !told.has(reason)),
    [],
    "missing on the page",
  );
  assert.deepEqual(
    [...told].filter((reason) => !said.has(reason)),
    [],
    "nobody says it",
  );
  assert.equal(new Set([...page.matchAll(/^\| `([a-z_]+)` \|/gm)].map(([line]) => line)).size, told.size, "each once");
});
