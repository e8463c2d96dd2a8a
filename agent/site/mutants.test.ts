/** Whatever is done to a site file, loading it ends in faults with places, never in an exception. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import fc from "fast-check";
import { loadSite } from "./load.ts";

const SITE = `gateway: { id: press-gw1, site: Lyon }
devices:
  - id: main-meter
    profile: kostal/ksem
    firmware: 2.5
    modbus: { host: 10.0.3.17, unit: 1, forbidden: [[10, 20]] }
    only: [power]
    points:
      - { name: power, range: [0, 100], attributes: { phase: L1 } }
  - id: plc
    modbus: { serial: { port: /dev/ttyUSB0, baud: 19200 } }
    points:
      - { name: state, address: 5, kind: state, states: { 0: "off", 0x10: run }, sentinels: [{ value: 7, reason: x }] }
      - { name: text, address: 9, type: string, length: 4, kind: text }
  - id: scale
    serial:
      port: /dev/ttyUSB1
      framing: { end: "\\r\\n" }
      messages: [{ name: weight, pattern: "^(?<value>[0-9.]+)$" }]
    points: [{ name: weight, address: weight.value, unit: kg }]
targets:
  - otlp: { endpoint: "https://otel:4317", headers: { authorization: "\${env:TOKEN}" } }
agent: { log: { level: debug }, buffer: { limit: 2GiB } }
`;
const LINES = SITE.split("\n");

async function assertTold(text: string): Promise<void> {
  const { site, faults } = await loadSite("site.yaml", {
    env: (name) => (name === "TOKEN" ? "t0p-secret" : undefined),
    readFile: async (path) => (path === "site.yaml" ? new TextEncoder().encode(text) : await readFile(path)),
  });
  assert.equal(
    site === null,
    faults.some(({ severity }) => severity === "fault"),
  );
  const lines = text.split("\n");
  for (const { file, line, column, message } of faults) {
    if (file !== "site.yaml") continue;
    assert.ok(
      line >= 1 && line <= lines.length && column >= 1 && column <= (lines[line - 1]?.length ?? 0) + 1,
      `${line}:${column} ${message}`,
    );
    assert.doesNotMatch(message, /t0p-secret|undefined|\[object|NaN|\bat .*\.ts:/);
  }
}

test("a sound one stays sound", async () => await assertTold(SITE));

test("cut, doubled, swapped or retyped", async () => {
  const piece = fc.constantFrom(
    "",
    " ",
    "\t",
    "  ",
    ":",
    "-",
    "{",
    "}",
    "[",
    "]",
    '"',
    "'",
    "#",
    "&a",
    "*a",
    "!",
    "|",
    ">",
    "null",
    "~",
    "-1",
    "1e999",
    "${",
    "${env:X}",
    "<<: ",
    "---\n",
    "\u0000",
    "é",
    "🙂",
    "\n",
  );
  const at = fc.nat({ max: SITE.length - 1 });
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(at, fc.nat({ max: 6 }), piece), { minLength: 1, maxLength: 3 }),
      async (edits) => {
        let text = SITE;
        for (const [start, length, insert] of edits) text = text.slice(0, start) + insert + text.slice(start + length);
        await assertTold(text);
      },
    ),
    { numRuns: 120 },
  );
});

test("with lines left out, moved or indented otherwise", async () => {
  const line = fc.nat({ max: LINES.length - 1 });
  await fc.assert(
    fc.asyncProperty(line, line, fc.constantFrom("", "  ", "    ", "- "), async (from, to, indent) => {
      const lines = [...LINES];
      const [moved = ""] = lines.splice(from, 1);
      lines.splice(to, indent === "" ? 1 : 0, indent + moved.trimStart());
      await assertTold(lines.join("\n"));
    }),
    { numRuns: 60 },
  );
});

test("with any scalar replaced by something of another kind", async () => {
  const scalars = [...SITE.matchAll(/(?<=[:[,] )(?:"[^"]*"|[\w./-]+)/g)];
  const value = fc.constantFrom(
    "null",
    "true",
    "-1",
    "1.5",
    "1e400",
    '""',
    "[]",
    "{}",
    "[1, 2]",
    "{ a: b }",
    "x",
    ".nan",
    "0x1F",
    "99999999999999999999",
  );
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...scalars), value, async (scalar, replacement) => {
      await assertTold(SITE.slice(0, scalar.index) + replacement + SITE.slice(scalar.index + scalar[0].length));
    }),
    { numRuns: 120 },
  );
});
