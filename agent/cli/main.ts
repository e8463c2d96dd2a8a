/** The command line, a public interface. Each command is a file beside this one, loaded when it is used. */
import { Command, CommanderError } from "commander";
import { VERSION } from "../version.ts";
import { EXIT, exitWith } from "./exit.ts";

const program = new Command("lineside")
  .description(
    "Edge telemetry agent: reads Modbus, OPC UA and serial devices and forwards what they say, losing nothing silently.",
  )
  .version(VERSION)
  .showHelpAfterError("(--help tells what there is)")
  .exitOverride()
  .addHelpText(
    "after",
    "\nExit codes: 0 done, 1 the input is at fault, 2 the command line is, 3 the device or network is.",
  );

/** Runs a command and leaves with its code, once its output is through. */
function leave(action: () => Promise<number>): Promise<void> {
  return action().then((code) => {
    process.exitCode = code;
  });
}

program
  .command("run")
  .description("run the agent in the foreground")
  .argument("<site.yaml>", "the site file")
  .option("--data <dir>", "where the journal and certificates are kept", "lineside-data")
  .action((path: string, options: { data: string }) =>
    leave(async () => {
      const [{ runAgent }, { load, siteOrExit }] = await Promise.all([import("../main.ts"), import("./site.ts")]);
      const { site, files } = await siteOrExit(path);
      const code = await runAgent({ site, files, data_dir: options.data, load: async () => await load(path) });
      // Not left to the event loop: what an adapter left behind must not keep a stopped agent alive.
      return exitWith(code);
    }),
  );

program
  .command("check")
  .description("validate a site file and every profile it names")
  .argument("<site.yaml>", "the site file")
  .option("--json", "as JSON")
  .action((path: string, options: { json?: boolean }) =>
    leave(async () => await (await import("./check.ts")).checkCommand(path, options)),
  );

program
  .command("read")
  .description("read every device once and show value, unit, quality and reason")
  .argument("<site.yaml>", "the site file")
  .option("--device <id>", "only this device")
  .option("--json", "as JSON")
  .action((path: string, options: { device?: string; json?: boolean }) =>
    leave(async () => {
      const [{ readCommand }, { siteOrExit }] = await Promise.all([import("./read.ts"), import("./site.ts")]);
      const { site } = await siteOrExit(path);
      return await readCommand(site, options);
    }),
  );

program
  .command("sim")
  .description("serve the simulated devices of a site file or profile on real ports")
  .argument("<site.yaml|profile>", "a site file, or the name of a profile such as eastron/sdm630")
  .option("--write <file>", "write a site file that reads the simulated devices")
  .option("--json", "as JSON")
  .action((what: string, options: { write?: string; json?: boolean }) =>
    leave(async () => {
      const args: string[] = [];
      if (options.write !== undefined) args.push("--write", options.write);
      if (options.json === true) args.push("--json");
      return await (await import("./sim.ts")).simCommand([what, ...args]);
    }),
  );

const buffer = program.command("buffer").description("look into a journal, also while the agent is down");
for (const [name, description] of [
  ["status", "how much is queued for each target, and how large the journal is"],
  ["verify", "check every record; exit 1 where something is damaged"],
  ["export", "print every record as JSON lines"],
] as const) {
  buffer
    .command(name)
    .description(description)
    .argument("<dir>", "the --data directory of the agent")
    .option("--json", "as JSON")
    .action((dir: string, options: { json?: boolean }) =>
      leave(async () => await (await import("./buffer.ts")).bufferCommand(name, dir, options)),
    );
}

program
  .command("schema")
  .description("print the JSON Schema that editors use")
  .option("--profile", "of device profiles instead of site files")
  .option("--json", "JSON, as always")
  .action((options: { profile?: boolean }) =>
    leave(async () => await (await import("./schema.ts")).schemaCommand(options)),
  );

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) {
    process.exitCode = error.exitCode === 0 ? EXIT.done : EXIT.usage;
  } else if (error instanceof Error && "code" in error && typeof error.code === "string") {
    process.stderr.write(`${error.message}\n`);
    process.exitCode = EXIT.input;
  } else {
    throw error;
  }
}
