/** What docs/writing-a-profile.md shows is a profile that works, and behaves as the page says. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { formatFault } from "#profiles/fault.ts";
import { loadSite } from "./load.ts";

const page = await readFile(join(import.meta.dirname, "../../docs/writing-a-profile.md"), "utf8");
const [profile = "", variants = ""] = [...page.matchAll(/```yaml\n(.*?)```/gs)].map(([, text]) => text ?? "");

async function points(stated: string): Promise<Record<string, { address?: number; scale: number }>> {
  const site = `gateway: { id: g }\ndevices: [{ id: d, profile: acme/pm3, modbus: { host: h }, ${stated} }]\ntargets: [console: {}]\n`;
  const file = `${profile}${variants}`;
  const { site: loaded, faults } = await loadSite("site.yaml", {
    env: () => undefined,
    readFile: async (path) => {
      const text = { "site.yaml": site, "acme/pm3.yaml": file }[path];
      if (text === undefined) throw Object.assign(new Error(path), { code: "ENOENT" });
      return await Promise.resolve(new TextEncoder().encode(text));
    },
  });
  assert.deepEqual(faults.map(formatFault), []);
  return Object.fromEntries((loaded?.devices[0]?.points ?? []).map((point) => [point.name, point]));
}

test("the profile that the page writes loads, and its variants do what the page says", async () => {
  const newest = await points('firmware: "2.6.1"');
  assert.deepEqual(Object.keys(newest), ["voltage_l1", "power", "energy_import", "relays"]);
  assert.deepEqual([newest["power"]?.address, newest["power"]?.scale], [2, 1]);
  const older = await points('firmware: "2.5.1"');
  assert.deepEqual([older["power"]?.address, older["power"]?.scale], [8, 10]);
  assert.deepEqual(Object.keys(await points('firmware: "2.6", parameters: { wiring: 3P3W }')), [
    "power",
    "energy_import",
    "relays",
  ]);
  assert.deepEqual(Object.keys(await points('firmware: "2.6", model: PM-3D')), ["power", "energy_import", "relays"]);
});
