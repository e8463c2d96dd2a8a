#!/usr/bin/env node
/**
 * The `lineside` command: makes sure that a Node runs it that can, then hands over to main.ts.
 *
 *   Node fits ──▶ main.ts
 *   it does not, but the lockfile's Node is installed ──▶ the same again, with that one
 *   neither ──▶ what to do, exit 2
 *
 * Plain JavaScript without top-level await, so that an old Node gets as far as the advice.
 */
import { spawn } from "child_process";
import { fileURLToPath } from "url";
import guard from "./guard.cjs";

const facts = guard.factsOf(guard.ROOT);
const text = guard.advice(facts);
const node = guard.nodeOfLockfile(guard.ROOT);

if (text === null) {
  // `lineside schema | head`: a reader that has seen enough is no fault. Only `run` goes on without one.
  if (process.argv[2] !== "run") {
    process.stdout.on("error", (error) => {
      if (error.code !== "EPIPE") throw error;
      process.exit();
    });
  }
  void import("./main.ts");
} else if (facts.installed && node !== null && node !== process.execPath) {
  const child = spawn(node, [...guard.NODE_FLAGS, fileURLToPath(import.meta.url), ...process.argv.slice(2)], {
    stdio: "inherit",
  });
  // Ctrl-C reaches the child by itself (one process group); a second SIGINT would read as impatience.
  process.on("SIGINT", () => {});
  for (const signal of ["SIGTERM", "SIGHUP", "SIGUSR2"]) process.on(signal, () => child.kill(signal));
  child.on("error", (error) => {
    process.stderr.write(`${error.message}\n\n${text}\n`);
    process.exit(2);
  });
  child.on("exit", (code, signal) => {
    if (signal === null) process.exit(code);
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
  });
} else {
  process.stderr.write(`\n${text}\n`);
  process.exit(2);
}
