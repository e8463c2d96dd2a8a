/** `npm run layers`: prints every fault as `file:line: rule: message`; exit 1 where there is one. */
import { resolve } from "node:path";
import { checkRepository } from "./files.ts";

const { faults, sources } = checkRepository(resolve(import.meta.dirname, "..", ".."));
for (const { file, line, rule, message } of faults) console.log(`${file}:${line}: ${rule}: ${message}`);
console.log(`layers: ${sources} source files, ${faults.length} faults`);
process.exitCode = faults.length > 0 || sources === 0 ? 1 : 0;
