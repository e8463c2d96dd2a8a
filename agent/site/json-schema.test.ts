/** The editor schemas against files that are right, and files that are not; the reference page against the schemas. */
import assert from "node:assert/strict";
import { existsSync, globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { Ajv2020 } from "ajv/dist/2020.js";
import { parse } from "yaml";
import { profileJsonSchema, siteJsonSchema } from "./json-schema.ts";
import { referenceFile, referencePage } from "./reference.ts";

const ROOT = join(import.meta.dirname, "../..");
const ajv = new Ajv2020({ allErrors: true, strict: false, formats: { uri: true, date: true } });
const site = ajv.compile(siteJsonSchema());
const profile = ajv.compile(profileJsonSchema());

/** What stands in YAML blocks of the documents, and in whole site files of this repository. */
function siteTexts(): [where: string, text: string][] {
  const files = globSync(["test/hardware-sim/**/*.yaml", "deploy/**/*.yaml", "docs/examples/*.yaml"], { cwd: ROOT });
  const documents = globSync(["README.md", "docs/*.md"], { cwd: ROOT }).flatMap((path) =>
    [...readFileSync(join(ROOT, path), "utf8").matchAll(/```yaml\n(.*?)```/gs)].map(
      ([, text = ""], index): [string, string] => [`${path} block ${index + 1}`, text],
    ),
  );
  return [
    ...files.map((path): [string, string] => [path, readFileSync(join(ROOT, path), "utf8")]),
    ...documents,
  ].filter(([, text]) => /^devices:/m.test(text) && /^gateway:/m.test(text));
}

describe("the editor schema of site files", () => {
  const given: [string, string][] = [
    [
      "the least",
      "gateway: { id: a }\ndevices: [{ id: m, profile: eastron/sdm630, modbus: { host: h } }]\ntargets: [{ console: {} }]",
    ],
    [
      "references in place of numbers",
      'gateway: { id: "${env:A}" }\ndevices: [{ id: m, profile: a/b, modbus: { host: h, port: "${env:PORT}" } }]\ntargets: [{ otlp: { endpoint: "${file:x}" } }]',
    ],
    [
      "every protocol, with points",
      'gateway: { id: a }\ndevices:\n  - { id: a, modbus: { serial: { port: p } }, points: [{ name: x, address: 1, states: { 1: a } }] }\n  - { id: b, opcua: { endpoint: "opc.tcp://h" }, points: [{ name: x, address: "i=1" }] }\n  - { id: c, serial: { host: h, tcp_port: 4001 }, firmware: { main: 1.08 } }\ntargets: [{ id: x, from: end, file: { path: x } }]\nagent: { http: false, buffer: { limit: 2GiB } }',
    ],
    ...siteTexts(),
  ];
  for (const [where, text] of given) {
    test(`takes ${where}`, () => {
      assert.ok(site(parse(text)), JSON.stringify(site.errors?.slice(0, 3)));
    });
  }
  for (const [what, text] of [
    ["an unknown key", "gateway: { id: a }\ndevices: []\ntarget: []"],
    [
      "two protocols",
      'gateway: { id: a }\ndevices: [{ id: a, modbus: { host: h }, opcua: { endpoint: "opc.tcp://h" } }]',
    ],
    ["an unknown target", "gateway: { id: a }\ndevices: []\ntargets: [{ kafka: {} }]"],
    ["a unit that is too high", "gateway: { id: a }\ndevices: [{ id: a, modbus: { host: h, unit: 256 } }]"],
    ["a duration without a unit", "gateway: { id: a }\ndevices: [{ id: a, modbus: { host: h }, every: 500 }]"],
  ] as const) {
    test(`refuses ${what}`, () => assert.equal(site(parse(text)), false));
  }
});

describe("the editor schema of profiles", () => {
  const files = globSync("firmware-profiles/*/*.yaml", { cwd: ROOT }).filter((path) => !path.includes("/common/"));
  test("is tried on all of them", () => assert.ok(files.length >= 6));
  for (const path of files) {
    test(`takes ${path}`, () => {
      assert.ok(profile(parse(readFileSync(join(ROOT, path), "utf8"))), JSON.stringify(profile.errors?.slice(0, 3)));
    });
  }
  test("refuses a point field that its protocol has not", () => {
    const head = { title: "t", manufacturer: "m", model: "m", version: "1.0.0" };
    assert.ok(profile({ ...head, protocol: "modbus", points: [{ name: "a", address: 1, area: "coil" }] }));
    assert.equal(profile({ ...head, protocol: "opcua", points: [{ name: "a", address: "i=1", area: "coil" }] }), false);
  });
});

test("docs/reference.md says what the schemas say (node agent/site/reference.ts writes it)", () => {
  assert.ok(existsSync(referenceFile));
  assert.ok(readFileSync(referenceFile, "utf8") === referencePage(), "run: node agent/site/reference.ts");
});
