/** `lineside check`: every fault of a site file and of the profiles it names, in one run. */
import { formatFault } from "#profiles/fault.ts";
import { EXIT } from "./exit.ts";
import { load } from "./site.ts";
import { counted } from "./table.ts";

export async function checkCommand(path: string, options: { json?: boolean }): Promise<number> {
  const { site, faults } = await load(path);
  if (options.json === true) {
    process.stdout.write(`${JSON.stringify({ valid: site !== null, faults })}\n`);
  } else {
    for (const fault of faults) process.stdout.write(`${formatFault(fault)}\n`);
    if (site !== null) {
      const points = site.devices.reduce((sum, device) => sum + device.points.length, 0);
      const count = [
        counted(site.devices.length, "device"),
        counted(points, "point"),
        counted(site.targets.length, "target"),
      ].join(", ");
      process.stdout.write(`${path}: valid (${count})\n`);
    }
  }
  return site === null ? EXIT.input : EXIT.done;
}
