/** The shipped MT-SICS profile against literal lines, and against its own simulated device. */
import { createSource } from "#adapters/sources/serial/source.ts";
import type { SerialOptions } from "#adapters/sources/serial/options.ts";
import type { Device } from "#adapters/contract.ts";
import { loadSite } from "#agent/site/load.ts";
import type { SerialPoint } from "#profiles/schema.ts";
import { realClock } from "#test/contract/clock.ts";
import { createRecorder, type Reading } from "#test/contract/recorder.ts";
import assert from "node:assert/strict";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { test } from "node:test";
import { simulateSerial } from "./simulate.ts";

type Scale = Device<SerialPoint, SerialOptions>;

/** A site with one scale; `section` is its serial section. */
async function loadScale(section: string): Promise<Scale> {
  const text = `gateway: { id: test }\ndevices:\n  - id: scale\n    profile: mettler-toledo/mt-sics\n    serial: ${section}\ntargets:\n  - console: {}\n`;
  const { site, faults } = await loadSite("/nowhere/site.yaml", {
    env: () => undefined,
    readFile: async (path) => (path === "/nowhere/site.yaml" ? Buffer.from(text) : await readFile(path)),
  });
  assert.deepEqual(faults, []);
  const device = site?.devices[0];
  assert.ok(device !== undefined);
  // A device of protocol serial has serial points and options: the loader parsed them with that schema.
  return device as unknown as Scale;
}

const quickly = "timeout: 100ms, pause: 1ms";

test("reads what a balance writes: stability, signs, blanks, units, refusals", async () => {
  let reply = "";
  const requests: string[] = [];
  const server = createServer((socket) => {
    socket.on("data", (bytes) => {
      requests.push(bytes.toString("latin1"));
      if (reply !== "") socket.write(reply);
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const device = await loadScale(
    `{ host: 127.0.0.1, tcp_port: ${(server.address() as AddressInfo).port}, ${quickly} }`,
  );
  const recorder = createRecorder(device);
  const source = createSource({ clock: realClock, log: recorder.context.log, data_dir: null });
  const session = source.open(device, recorder.context);
  await session.connect(new AbortController().signal);
  const ask = async (group: number, with_reply: string): Promise<Record<string, Reading["value"] | string>> => {
    reply = with_reply;
    recorder.readings.length = 0;
    await session.poll(group, new AbortController().signal);
    return Object.fromEntries(
      recorder.readings.map(({ name, quality, reason, value }) => [name, quality === "bad" ? reason : value]),
    );
  };

  assert.deepEqual(await ask(0, "S S     125.67 g\r\n"), { weight: 125.67, stable: 1n });
  assert.deepEqual(await ask(0, "S D       0.00 g\r\n"), { weight: 0, stable: 0n });
  assert.deepEqual(await ask(0, "S S -   12.345 g\r\n"), { weight: -12.345, stable: 1n });
  assert.deepEqual(await ask(0, "S S    -0.5 kg\r\n"), { weight: -500, stable: 1n });
  assert.deepEqual(await ask(0, "S S    1 lb\r\n"), { weight: 453.59237, stable: 1n });
  assert.deepEqual(await ask(0, "S S    250 mg\r\n"), { weight: 0.25, stable: 1n });
  assert.deepEqual(await ask(0, "S S    17 PCS\r\n"), { weight: "unit_unknown", stable: 1n });
  for (const [line, reason] of [
    ["S +", "overload"],
    ["S -", "underload"],
    ["S I", "not_executable"],
    ["ES", "syntax_error"],
    ["ET", "transmission_error"],
    ["EL", "logical_error"],
  ]) {
    assert.deepEqual(await ask(0, `${line}\r\n`), { weight: reason, stable: reason });
  }
  // A printed line, another command's answer and noise come first: none of them is the answer.
  assert.deepEqual(await ask(0, 'I4 A "12"\r\n\xff\x00\r\nS S 1.5 g\r\n'), { weight: 1.5, stable: 1n });
  assert.deepEqual(await ask(1, 'I3 A "1.10 18.6.4.1361.772"\r\n'), { software_version: "1.10 18.6.4.1361.772" });
  assert.deepEqual(await ask(1, "ES\r\n"), { software_version: "not_implemented" });
  assert.deepEqual(await ask(2, 'I4 A "0123456789"\r\n'), { serial_number: "0123456789" });
  assert.deepEqual(await ask(2, ""), { serial_number: "timeout" });
  assert.deepEqual(await ask(2, "I4 nonsense\r\n"), { serial_number: "garbage" });
  assert.deepEqual([...new Set(requests)], ["SI\r\n", "I3\r\n", "I4\r\n"]);

  await source.close();
  server.close();
  await once(server, "close");
});

test("an unplugged scale is lost with a clear code, and good two polls after it is back", async () => {
  const simulated = await simulateSerial(await loadScale("{ port: /dev/null }"), { port: 0, now_us: realClock.now_us });
  const device = await loadScale(`{ port: ${String(simulated.options["port"])}, ${quickly} }`);
  const recorder = createRecorder(device);
  const source = createSource({ clock: realClock, log: recorder.context.log, data_dir: null });
  const session = source.open(device, recorder.context);
  const { signal } = new AbortController();
  await session.connect(signal);
  await session.poll(0, signal);
  assert.deepEqual(
    recorder.readings.map(({ name, quality }) => [name, quality]),
    [
      ["weight", "good"],
      ["stable", "good"],
    ],
  );

  await simulated.cut();
  await session.poll(0, signal).catch(() => {});
  assert.deepEqual(
    recorder.losses.map(({ code }) => code),
    ["link_lost"],
  );
  await assert.rejects(session.poll(0, signal), { code: "link_lost" });
  await session.close();
  await assert.rejects(session.connect(signal), { code: "port_missing" });

  await simulated.restore();
  await session.connect(signal);
  recorder.readings.length = 0;
  await session.poll(0, signal);
  assert.ok(recorder.readings.every(({ quality }) => quality === "good"));
  await source.close();
  await simulated.stop();
});
