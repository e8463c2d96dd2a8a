/**
 * Walks every shipped profile from end to end: the site file that it needs, a simulated device made from
 * it on a real socket or pty, and its source reading every point back.
 */
import { sources } from "#adapters/registry.ts";
import type { Session, Source } from "#adapters/contract.ts";
import { exampleSite } from "#agent/site/example.ts";
import { loadSite } from "#agent/site/load.ts";
import type { SiteDevice } from "#agent/site/contract.ts";
import { shippedProfiles } from "#profiles/files.ts";
import { profileNames } from "#profiles/load.ts";
import assert from "node:assert/strict";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { realClock } from "./contract/clock.ts";
import { createRecorder, type Reading } from "./contract/recorder.ts";
import type { Simulated, SimulateOptions } from "./hardware-sim/contract.ts";

const names = await profileNames(shippedProfiles);
const folder = await mkdtemp(join(tmpdir(), "lineside-profiles-"));
after(async () => {
  await rm(folder, { recursive: true, force: true });
});

/** The longest that a pushed point may take to come after connecting. */
const PUSHED_MS = 10_000;

async function deviceOf(profile: string): Promise<SiteDevice> {
  const path = join(folder, "site.yaml");
  const { text } = await exampleSite(profile, folder, { readFile });
  const { site } = await loadSite(path, {
    env: () => undefined,
    readFile: async (wanted) => (wanted === path ? Buffer.from(text ?? "") : await readFile(wanted)),
  });
  const [device] = site?.devices ?? [];
  assert.ok(device);
  return device;
}

/** Each simulator takes the devices of its protocol, which the compiler cannot know here. */
async function simulate(device: SiteDevice, options: SimulateOptions): Promise<Simulated> {
  switch (device.protocol) {
    case "modbus":
      return await (await import("./hardware-sim/modbus/simulate.ts")).simulateModbus(device as never, options);
    case "opcua":
      return await (await import("./hardware-sim/opcua/simulate.ts")).simulate(device as never, options);
    case "serial":
      return await (await import("./hardware-sim/serial/simulate.ts")).simulateSerial(device as never, options);
  }
}

/** The last reading of every point, by its name. */
async function readAll(device: SiteDevice): Promise<Map<string, Reading>> {
  const quiet = (): void => undefined;
  const log = { debug: quiet, info: quiet, warn: quiet, error: quiet };
  const source: Source<never, never> = (await sources[device.protocol].load()).createSource({
    clock: realClock,
    log,
    data_dir: folder,
  });
  const recorder = createRecorder(device);
  const session: Session = source.open(device as never, recorder.context);
  const { signal } = new AbortController();
  try {
    await session.connect(signal);
    for (const group of session.groups.keys()) await session.poll(group, signal);
    const deadline = realClock.monotonic_ms() + PUSHED_MS;
    const missing = (): boolean => new Set(recorder.readings.map(({ point }) => point)).size < device.points.length;
    while (missing() && realClock.monotonic_ms() < deadline) await realClock.sleep(20);
  } finally {
    await session.close();
    await source.close();
  }
  assert.deepEqual(recorder.losses, []);
  return new Map(recorder.readings.map((reading) => [reading.name, reading]));
}

describe("a simulated device of every profile is read back", () => {
  for (const name of names) {
    test(name, async () => {
      const device = await deviceOf(name);
      const simulated = await simulate(device, { port: 0, now_us: realClock.now_us });
      try {
        const readings = await readAll({ ...device, options: { ...(device.options as object), ...simulated.options } });
        for (const point of device.points) {
          const reading = readings.get(point.name);
          assert.deepEqual([point.name, reading?.quality, reading?.reason], [point.name, "good", ""]);
          assert.notEqual(reading?.value, null);
          const { states } = point;
          if (states !== undefined)
            assert.ok(String(reading?.value) in states, `${point.name}: ${String(reading?.value)} is no state`);
        }
      } finally {
        await simulated.stop();
      }
    });
  }
});
