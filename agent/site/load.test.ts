import assert from "node:assert/strict";
import { mkdtemp, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { formatFault } from "#profiles/fault.ts";
import type { LoadedSite, Site } from "./contract.ts";
import { exampleSite } from "./example.ts";
import { loadSite } from "./load.ts";

/** Loads `text` as /site/site.yaml, with these other files and variables. */
async function load(
  text: string,
  files: Readonly<Record<string, string>> = {},
  env: Readonly<Record<string, string>> = {},
): Promise<LoadedSite> {
  return loadSite("/site/site.yaml", {
    env: (name) => env[name],
    readFile: async (path) => {
      const known = path === "/site/site.yaml" ? text : files[path];
      return known === undefined ? readFile(path) : new TextEncoder().encode(known);
    },
    resource: { "host.name": "gw.local" },
  });
}

async function loadGood(...given: Parameters<typeof load>): Promise<Site> {
  const { site, faults } = await load(...given);
  assert.deepEqual(faults.map(formatFault), []);
  assert.ok(site);
  return site;
}

const SITE = `gateway: { id: press-gw1, enterprise: Acme, site: Lyon, area: Press shop, attributes: { plant.code: LY2 } }
devices:
  - id: main-meter
    profile: eastron/sdm630
    line: Supply
    modbus: { host: 10.0.3.17, unit: 1 }
    only: [voltage_l1, energy_import]
    points:
      - { name: voltage_l1, range: [180, 260] }
      - { name: extra, address: 0x200, area: holding, type: u16 }
  - id: oven
    opcua: { endpoint: "opc.tcp://10.0.3.20:4840" }
    every: 500ms
    area: Heat treatment
    points:
      - { name: temperature, address: "nsu=http://acme.example/oven;s=Zone1.PV", unit: Cel }
  - { id: spare, enabled: false, profile: danfoss/vlt-fc, modbus: { serial: { port: /dev/ttyUSB0 } } }
targets:
  - otlp: { endpoint: "https://otel.plant.example:4317" }
  - { id: copy, from: end, file: { path: out.jsonl } }
`;

describe("a site", () => {
  test("brings profile and site file together", async () => {
    const [meter, oven, ...rest] = (await loadGood(SITE)).devices;
    assert.deepEqual(rest, []);
    assert.equal(meter?.protocol, "modbus");
    assert.equal(meter?.profile, "eastron/sdm630");
    assert.deepEqual(meter?.options, {
      order: "ABCD",
      registers_max: 50,
      gap_registers_max: 4,
      pause: 100,
      host: "10.0.3.17",
      port: 502,
      framing: "tcp",
      unit: 1,
    });
    assert.deepEqual(
      meter?.points.map(({ name, every, range, unit }) => ({ name, every, range, unit })),
      [
        { name: "voltage_l1", every: 1000, range: [180, 260], unit: "V" },
        { name: "energy_import", every: 10_000, range: undefined, unit: "kW.h" },
        { name: "extra", every: 1000, range: undefined, unit: "1" },
      ],
    );
    assert.deepEqual(
      meter?.descriptor.series.map(({ metric, value, monotonic }) => [metric, value, monotonic]),
      [
        ["electrical.voltage", "double", false],
        ["electrical.energy.active", "double", true],
        ["extra", "int", false],
      ],
    );
    assert.deepEqual(
      oven?.points.map(({ name, every }) => [name, every]),
      [["temperature", 500]],
    );
    assert.deepEqual(oven?.place, { file: "/site/site.yaml", line: 11, column: 5 });
  });

  test("says of each device what OTLP resources need", async () => {
    const { devices, gateway } = await loadGood(SITE);
    assert.deepEqual(gateway.resource, {
      "host.name": "gw.local",
      "service.name": "lineside",
      "service.instance.id": "press-gw1",
      "isa95.enterprise": "Acme",
      "isa95.site": "Lyon",
      "isa95.area": "Press shop",
      "plant.code": "LY2",
    });
    assert.deepEqual(devices[0]?.descriptor.resource, {
      ...gateway.resource,
      "isa95.line": "Supply",
      "device.id": "main-meter",
      "device.manufacturer": "Eastron",
      "device.model.identifier": "SDM630-Modbus",
      "device.model.name": "Eastron SDM630-Modbus three-phase meter",
    });
    assert.deepEqual(devices[0]?.descriptor.scope, { name: "eastron/sdm630", version: "1.0.0" });
    assert.equal(devices[1]?.descriptor.resource["isa95.area"], "Heat treatment");
  });

  test("has targets with names, defaults, and the agent's settings", async () => {
    const { targets, agent } = await loadGood(SITE);
    assert.deepEqual(
      targets.map(({ name, type, from }) => ({ name, type, from })),
      [
        { name: "otlp", type: "otlp", from: "start" },
        { name: "copy", type: "file", from: "end" },
      ],
    );
    assert.deepEqual(agent, {
      http: { host: "127.0.0.1", port: 9464 },
      log: { level: "info", format: "auto" },
      commit_interval_ms: 1000,
      buffer: { limit_bytes: 1024 ** 3 },
      metrics_interval_ms: 10_000,
    });
    const set = await loadGood(
      `${SITE}agent: { http: false, log: { level: debug }, commit_interval: 250ms, buffer: { limit: 1.5GiB }, metrics_interval: false }\n`,
    );
    assert.deepEqual(set.agent, {
      http: null,
      log: { level: "debug", format: "auto" },
      commit_interval_ms: 250,
      buffer: { limit_bytes: 1.5 * 1024 ** 3 },
      metrics_interval_ms: null,
    });
  });

  test("takes the firmware as it is written, and decides variants by it", async () => {
    const device = (firmware: string): string => `gateway: { id: gw }
devices: [{ id: m, profile: kostal/ksem, modbus: { host: h }, only: [power], firmware: ${firmware} }]
targets: [{ console: {} }]
`;
    for (const [written, address, version] of [
      ["2.5", 40087, "2.5"],
      ["2.10", 40088, "2.10"],
      ['"2.6.0"', 40088, "2.6.0"],
      ["{ firmware: 2.5.9 }", 40087, "2.5.9"],
    ] as const) {
      const [meter] = (await loadGood(device(written))).devices;
      assert.equal((meter?.points[0] as { address?: number } | undefined)?.address, address, written);
      assert.equal(meter?.descriptor.resource["device.firmware.version"], version);
    }
  });

  test("may use anchors and merge keys", async () => {
    const site = await loadGood(`gateway: { id: gw }
devices:
  - { <<: &meter { profile: eastron/sdm630, only: [power], line: A }, id: m1, modbus: { host: a } }
  - { <<: *meter, id: m2, line: B, modbus: { host: b } }
targets: [{ console: {} }]
`);
    assert.deepEqual(
      site.devices.map(({ descriptor }) => descriptor.resource["isa95.line"]),
      ["A", "B"],
    );
  });

  test("lists every file that it hangs on", async () => {
    const { files } = await load(SITE.replace("https://otel.plant.example:4317", "${file:endpoint.txt}"), {
      "/site/endpoint.txt": "https://a:4317\n",
    });
    assert.equal(files[0], "/site/site.yaml");
    assert.equal(files[1], "/site/endpoint.txt");
    assert.deepEqual(
      files.slice(2).map((path) => path.replace(/^.*firmware-profiles/, "firmware-profiles")),
      ["firmware-profiles/eastron/sdm630.yaml", "firmware-profiles/danfoss/vlt-fc.yaml"],
    );
  });
});

describe("fingerprints", () => {
  test("change exactly with what matters", async () => {
    const print = async (text: string): Promise<string[]> => {
      const { devices, targets } = await loadGood(text);
      return [...devices, ...targets].map(({ fingerprint }) => fingerprint);
    };
    const [meter, oven, otlp, copy] = await print(SITE);
    assert.equal(new Set([meter, oven, otlp, copy]).size, 4);
    const moved = SITE.replace("  - id: oven", "  # a comment\n\n  - id: oven").replace(
      "{ host: 10.0.3.17, unit: 1 }",
      "{ unit: 1, host: 10.0.3.17 }",
    );
    assert.deepEqual(await print(moved), [meter, oven, otlp, copy]);
    assert.deepEqual(
      (await print(SITE.replace("unit: Cel", "unit: K"))).map(
        (print_, index) => print_ === [meter, oven, otlp, copy][index],
      ),
      [true, false, true, true],
    );
    assert.deepEqual((await print(SITE.replace("from: end", "from: start"))).at(-1) === copy, false);
    // A renamed area is another resource for every device of the gateway.
    const [other] = await print(SITE.replace("area: Press shop", "area: Assembly"));
    assert.notEqual(other, meter);
  });
});

describe("references", () => {
  const site = (options: string): string =>
    `gateway: { id: gw }\ndevices: [{ id: m, profile: eastron/sdm630, modbus: { host: a } }]\ntargets:\n  - otlp: ${options}\n`;

  test("fill texts from the environment and from files, and take the type that the field wants", async () => {
    const { targets, devices } = await loadGood(
      `gateway: { id: "\${env:GATEWAY}" }
devices: [{ id: m, profile: eastron/sdm630, modbus: { host: a, port: "\${env:PORT}" } }]
targets:
  - otlp: { endpoint: "https://\${env:HOST}:4317", headers: { authorization: "Bearer \${file:secrets/token}", x-plain: "$\${kept}" } }
`,
      { "/site/secrets/token": "t0p-secret\n" },
      { HOST: "otel.example", PORT: "1502", GATEWAY: "1234" },
    );
    assert.deepEqual((targets[0]?.options as { headers: unknown } | undefined)?.headers, {
      authorization: "Bearer t0p-secret",
      "x-plain": "${kept}",
    });
    assert.equal((devices[0]?.options as { port: number } | undefined)?.port, 1502);
    assert.equal(devices[0]?.descriptor.resource["service.instance.id"], "1234");
  });

  test("never show up in faults or redacted text, whatever form they take", async () => {
    const secret = 'pa"ss word/1';
    const given = site(
      `{ endpoint: "https://a:4317", compression: "\${env:TOKEN}", headers: { authorization: "\${env:TOKEN}" } }`,
    );
    const { faults } = await load(given, {}, { TOKEN: secret });
    assert.deepEqual(
      faults.map(({ message }) => message),
      ["compression: expected one of gzip, zstd, none, not '***'"],
    );
    const { redact } = await loadGood(given.replace('compression: "${env:TOKEN}", ', ""), {}, { TOKEN: secret });
    assert.equal(
      redact(`${secret} ${encodeURIComponent(secret)} ${JSON.stringify({ secret })}`),
      '*** *** {"secret":"***"}',
    );
  });

  test("to plain fields stay readable in logs", async () => {
    const { redact } = await loadGood(site('{ endpoint: "https://${env:HOST}:4317" }'), {}, { HOST: "otel.example" });
    assert.equal(redact("otel.example refused"), "otel.example refused");
  });

  test("may be missing, empty or malformed, each told at its place", async () => {
    const { faults } = await load(
      site('{ endpoint: "${env:EMPTY}", headers: { a: "${env:}", b: "${vault:x}", c: "${env:OPEN" } }'),
      {},
      { EMPTY: "" },
    );
    assert.deepEqual(
      faults.map(({ line, column, message }) => `${line}:${column} ${message}`),
      [
        "4:23 environment variable EMPTY is empty",
        "4:53 '${env:}' is neither ${env:NAME} nor ${file:PATH} (a plain ${ is written $${)",
        "4:67 '${vault:x}' is neither ${env:NAME} nor ${file:PATH} (a plain ${ is written $${)",
        "4:84 a reference is opened and never closed: ${env:NAME} or ${file:PATH}",
      ],
    );
  });

  test("a secret in clear is a warning, does not stop anything, and is redacted too", async () => {
    const { site: loaded, faults } = await load(
      site('{ endpoint: "https://a:4317", headers: { authorization: Bearer abcdef } }'),
    );
    assert.deepEqual(faults.map(formatFault), [
      "/site/site.yaml:4:67: warning: a secret stands here in clear; write ${env:NAME} or ${file:PATH}",
    ]);
    assert.equal(loaded?.redact("sent Bearer abcdef"), "sent ***");
  });
});

describe("a site file that cannot be read", () => {
  test("is told as such: missing, a folder, or hidden", async (t) => {
    const folder = await mkdtemp(join(tmpdir(), "lineside-site-"));
    t.after(async () => rm(folder, { recursive: true }));
    const told = async (path: string, read: (path: string) => Promise<Uint8Array> = readFile): Promise<string[]> =>
      (await loadSite(path, { env: () => undefined, readFile: read })).faults.map(formatFault);
    assert.deepEqual(await told(join(folder, "none.yaml")), [`${folder}/none.yaml:1:1: there is no such file`]);
    await mkdir(join(folder, "site.yaml"));
    assert.deepEqual(await told(join(folder, "site.yaml")), [`${folder}/site.yaml:1:1: this is a folder, not a file`]);
    const denied = async (): Promise<Uint8Array> => Promise.reject(Object.assign(new Error("no"), { code: "EACCES" }));
    assert.deepEqual(await told("site.yaml", denied), [
      "site.yaml:1:1: this file may not be read; check its owner and mode",
    ]);
    await writeFile(join(folder, "big.yaml"), "#".repeat(4 * 1024 * 1024 + 1));
    assert.match((await told(join(folder, "big.yaml"))).join(), /at most 4194304 are read/);
    await writeFile(join(folder, "deep.yaml"), "[".repeat(100_000));
    assert.match((await told(join(folder, "deep.yaml"))).join(), /nested too deeply/);
    await writeFile(join(folder, "dashes.yaml"), "- ".repeat(100_000));
    assert.match((await told(join(folder, "dashes.yaml"))).join(), /nested too deeply/);
  });
});

test("an example site of every profile is a valid site file", async () => {
  for (const name of ["omron/e5cc", "umati/machinetool"]) {
    const { text, faults } = await exampleSite(name, "/site", { readFile });
    assert.deepEqual(
      faults.filter(({ severity }) => severity === "fault"),
      [],
    );
    const { site } = await load(text ?? "");
    assert.equal(site?.devices[0]?.profile, name);
  }
});
