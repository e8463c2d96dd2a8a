import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { describe, test } from "node:test";
import { checkRepository, checkText } from "./files.ts";
import { checkSource } from "./rules.ts";

/** Rules broken by one source text. */
const rules = (file: string, source: string): string[] => [
  ...new Set(checkSource(file, source).map((fault) => fault.rule)),
];

/** Planted violations: file, source, the rule that must notice. */
const BROKEN: readonly (readonly [file: string, source: string, rule: string])[] = [
  // Arrows between rooms.
  ["adapters/frame.ts", `import { x } from "#agent/clock.ts"; x;`, "arrow"],
  ["adapters/frame.ts", `import type { X } from "#buffer/journal.ts"; export type Y = X;`, "arrow"],
  ["adapters/frame.ts", `import { x } from "../agent/clock.ts"; x;`, "arrow"],
  ["adapters/frame.ts", `export const load = () => import("#agent/main.ts");`, "arrow"],
  ["adapters/frame.ts", "export const load = () => import(`#agent/main.ts`);", "arrow"],
  ["adapters/frame.ts", `export { x } from "#agent/clock.ts"; export const y = 1;`, "arrow"],
  ["buffer/journal.ts", `import { GOOD } from "#adapters/quality.ts"; GOOD;`, "arrow"],
  [
    "firmware-profiles/load.ts",
    `import type { Series } from "#adapters/contract.ts"; export type S = Series;`,
    "arrow",
  ],
  ["adapters/sources/modbus/plan.test.ts", `import { x } from "#agent/clock.ts"; x;`, "arrow"],
  ["agent/forward.ts", `import { GOOD } from "../adapters/quality.ts"; GOOD;`, "arrow"],
  ["agent/forward.ts", `import { x } from "#agent/clock.ts"; x;`, "arrow"],
  ["agent/forward.ts", `import { x } from "../scripts/x.ts"; x;`, "arrow"],
  ["agent/forward.ts", `export const load = (name: string) => import(name);`, "import"],
  ["adapters/frame.ts", `export const x = require("#agent/main.ts");`, "arrow"],
  // Adapters and their siblings.
  ["adapters/sources/modbus/source.ts", `import { x } from "../serial/port.ts"; x;`, "sibling"],
  ["adapters/sources/modbus/source.ts", `import { x } from "../../targets/otlp/map.ts"; x;`, "sibling"],
  ["adapters/targets/file/target.ts", `import { sources } from "../../registry.ts"; sources;`, "sibling"],
  // Tests stay out of production.
  ["agent/main.ts", `import { x } from "#test/hardware-sim/contract.ts"; x;`, "test"],
  ["agent/cli/sim.ts", `export const load = () => import("#test/hardware-sim/x.ts");`, "test"],
  ["buffer/journal.ts", `import { x } from "./journal.test.ts"; x;`, "test"],
  // Packages that belong to a room.
  ["agent/main.ts", `import modbus from "modbus-serial"; modbus;`, "package"],
  ["agent/main.ts", `import { x } from "node-opcua-client"; x;`, "package"],
  ["buffer/journal.ts", `import protobuf from "protobufjs/minimal.js"; protobuf;`, "package"],
  ["agent/health.ts", `import { Level } from "level"; Level;`, "package"],
  ["adapters/targets/file/target.ts", `import { ClassicLevel } from "classic-level"; ClassicLevel;`, "package"],
  ["adapters/targets/file/target.ts", `import pino from "pino"; pino;`, "package"],
  // The process.
  ["agent/collect.ts", `process.exit(1);`, "process"],
  ["agent/collect.ts", `export const home = process.env.HOME;`, "process"],
  ["agent/collect.ts", `export const home = process.env["HOME"];`, "process"],
  ["agent/collect.ts", `globalThis.process["exit"](1);`, "process"],
  ["agent/collect.ts", `export const part = (name: "exit") => process[name];`, "process"],
  ["agent/collect.ts", `const { env } = process; env;`, "process"],
  ["agent/collect.ts", `import { env } from "node:process"; env;`, "process"],
  ["adapters/targets/file/target.ts", `process.once("SIGHUP", () => {});`, "process"],
  ["agent/main.test-helper.ts", `process.exitCode = 1;`, "process"],
  // Time.
  ["agent/collect.ts", `export const t = Date.now();`, "time"],
  ["agent/collect.ts", `export const now = Date.now;`, "time"],
  ["agent/main.ts", `export const t = new Date();`, "time"],
  ["agent/cli/run.ts", `export const t = Date();`, "time"],
  ["agent/collect.ts", `export const t = performance.now();`, "time"],
  ["agent/collect.ts", `export const t = process.hrtime.bigint();`, "time"],
  ["adapters/sources/modbus/source.ts", `setTimeout(() => {}, 5);`, "time"],
  ["adapters/sources/modbus/source.ts", `globalThis.setInterval(() => {}, 5);`, "time"],
  ["adapters/sources/modbus/source.ts", `export const options = { later: setImmediate };`, "time"],
  ["adapters/sources/modbus/source.ts", `export const options = { setTimeout };`, "time"],
  [
    "adapters/sources/modbus/source.ts",
    `import { setTimeout as sleep } from "node:timers/promises"; await sleep(1);`,
    "time",
  ],
  ["adapters/sources/modbus/source.ts", `import { performance } from "node:perf_hooks"; performance;`, "time"],
  ["adapters/sources/modbus/source.ts", `export const signal = AbortSignal.timeout(5);`, "time"],
  // Barrels, side effects, silenced checks.
  ["adapters/all.ts", `export { GOOD } from "./quality.ts"; export { createFrame } from "./frame.ts";`, "barrel"],
  ["adapters/all.ts", `export * from "./quality.ts"; export const own = 1;`, "barrel"],
  ["adapters/sources/modbus/index.ts", `export const own = 1;`, "barrel"],
  ["agent/main.ts", `import "./register.ts";`, "side-effect"],
  ["agent/main.ts", `// @ts-ignore\nexport const x: number = "a";`, "silenced"],
  ["test/x.test.ts", `/* @ts-expect-error */\nexport const x: number = "a";`, "silenced"],
  ["test/x.test.ts", `// oxlint-disable-next-line no-eval\neval("1");`, "silenced"],
  ["agent/main.ts", `export const = 1;`, "syntax"],
];

/** What looks like a violation and is none. */
const SOUND: readonly (readonly [file: string, source: string])[] = [
  [
    "agent/collect.ts",
    `import type { Frame } from "#adapters/frame.ts"; import { x } from "./batch/encode.ts"; export const y = (f: Frame) => x(f);`,
  ],
  [
    "adapters/registry.ts",
    `import { a } from "./sources/modbus/options.ts"; export const s = { a, load: () => import("./sources/modbus/source.ts") };`,
  ],
  [
    "adapters/sources/modbus/source.ts",
    `import modbus from "modbus-serial"; import { GOOD } from "../../quality.ts"; modbus; GOOD;`,
  ],
  [
    "adapters/sources/modbus/source.test.ts",
    `import { suite } from "#test/sources.ts"; setTimeout(suite, Date.now());`,
  ],
  ["buffer/journal.ts", `import { Level } from "level"; Level;`],
  [
    "agent/main.ts",
    `process.on("SIGTERM", () => process.exit(0)); import x from "../package.json" with { type: "json" }; x;`,
  ],
  [
    "agent/clock.ts",
    `export const now = () => Date.now() * 1000; export const later = setTimeout; export const m = performance.now();`,
  ],
  [
    "adapters/sources/modbus/tcp.ts",
    `import type { Socket } from "node:net"; export const f = (s: Socket) => s.setTimeout(5);`,
  ],
  [
    "adapters/sources/modbus/tcp.ts",
    `export class A { setTimeout(ms: number) { return ms; } } export interface B { setTimeout: number }`,
  ],
  [
    "adapters/sources/modbus/tcp.ts",
    `// Date.now() and setTimeout\nexport const text = "process.exit(1) setTimeout()"; export const d = new Date(5).toISOString();`,
  ],
  [
    "adapters/sources/modbus/tcp.ts",
    `export const m = process.memoryUsage(); process.stdout.write("x"); process.nextTick(() => {});`,
  ],
  [
    "test/bench/main.ts",
    `import { x } from "#buffer/journal.ts"; import { Level } from "level"; process.exit(x + Date.now()); Level;`,
  ],
  ["test/faults/rig.ts", `import { a } from "#test/receiver/receiver.ts"; import { b } from "../x.ts"; a(b);`],
  ["agent/x.ts", `// @ts-expect-error: the package has no types\nimport x from "x"; x;`],
  ["test/x.test.ts", `// oxlint-disable-next-line no-eval -- what is tested is eval\neval("1");`],
];

describe("layers", () => {
  for (const [file, source, rule] of BROKEN) {
    test(`${rule}: ${file}: ${source.replaceAll("\n", " ")}`, () => assert.deepEqual(rules(file, source), [rule]));
  }
  for (const [file, source] of SOUND) {
    test(`sound: ${file}: ${source.replaceAll("\n", " ")}`, () => assert.deepEqual(checkSource(file, source), []));
  }

  test("names the line", () => {
    assert.equal(checkSource("agent/x.ts", `const a = 1;\n\nexport const t = a + Date.now();\n`)[0]?.line, 3);
  });

  test("text: a resolved URL in the lockfile, a registry's host, a conflict marker", () => {
    const host = ["registry", "npmjs", "org"].join(".");
    const lock = `{\n  "resolved": "https://${host}/a.tgz"\n}`;
    assert.deepEqual(
      checkText("package-lock.json", lock).map(({ line, rule }) => [line, rule]),
      [
        [2, "host"],
        [2, "lockfile"],
      ],
    );
    assert.deepEqual(
      checkText("README.md", `see https://${host}`).map(({ rule }) => rule),
      ["host"],
    );
    assert.deepEqual(
      checkText("README.md", `${"<".repeat(7)} HEAD`).map(({ rule }) => rule),
      ["merge"],
    );
  });

  test("walks a repository, skips what is made, and misses no adapter without a README", (t) => {
    const root = mkdtempSync(join(tmpdir(), "lineside-layers-"));
    t.after(() => rmSync(root, { recursive: true }));
    const put = (path: string, text: string) => {
      mkdirSync(dirname(join(root, path)), { recursive: true });
      writeFileSync(join(root, path), text);
    };
    put("agent/a.ts", "process.exit(1);\n");
    put("node_modules/agent/a.ts", "process.exit(1);\n");
    put("adapters/sources/modbus/source.ts", "export const x = 1;\n");
    put("adapters/targets/otlp/README.md", "otlp\n");
    const { faults, sources } = checkRepository(root);
    assert.equal(sources, 2);
    assert.deepEqual(
      faults.map(({ file, rule }) => [file, rule]),
      [
        ["adapters/sources/modbus", "readme"],
        ["agent/a.ts", "process"],
      ],
    );
  });
});
