/**
 * `lineside sim`: serves the simulated devices of a site or profile. The simulators live in
 * test/hardware-sim, which no production code imports: they run as a process of their own.
 */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { EXIT } from "./exit.ts";

const SERVE = fileURLToPath(new URL("../../test/hardware-sim/serve.ts", import.meta.url));

export async function simCommand(args: readonly string[]): Promise<number> {
  if (!existsSync(SERVE)) {
    process.stderr.write("the simulators are part of the source checkout, not of this installation\n");
    return EXIT.input;
  }
  // The channel tells the child when this process is gone, however it went: it then ends too.
  const child = spawn(process.execPath, [SERVE, ...args], { stdio: ["inherit", "inherit", "inherit", "ipc"] });
  // Ctrl-C reaches the child too; this process waits for it, so that the prompt comes back last.
  process.on("SIGINT", () => undefined);
  process.on("SIGTERM", () => child.kill("SIGTERM"));
  return await new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code) => resolve(code ?? EXIT.done));
  });
}
