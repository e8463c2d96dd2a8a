/**
 * Console target: readings on standard output, for people or as JSON lines.
 *
 *   Batch ─▶ lines ─▶ stream.write, waiting until it is taken ─▶ delivered
 */
import type { Writable } from "node:stream";
import type { AdapterContext, Batch, Outcome, Target } from "../../contract.ts";
import { jsonLines } from "../../lines.ts";
import type { ConsoleOptions } from "./options.ts";
import { TextLines } from "./text.ts";

/** `output` is standard output unless somebody else wants the lines. It is never closed here. */
export async function createTarget(
  options: ConsoleOptions,
  _context: AdapterContext,
  output: Writable = process.stdout,
): Promise<Target> {
  const text = new TextLines();
  return new ConsoleTarget(options.format === "json" ? jsonLines : (batch) => text.of(batch), output);
}

class ConsoleTarget implements Target {
  readonly #lines: (batch: Batch) => string;
  readonly #output: Writable;
  readonly #closing = new AbortController();
  /** A reader that went away (EPIPE) is the outcome of the write that found out, not a crash. */
  readonly #ignore = (): void => {};

  constructor(lines: (batch: Batch) => string, output: Writable) {
    this.#lines = lines;
    this.#output = output;
    output.on("error", this.#ignore);
  }

  deliver(batch: Batch, signal: AbortSignal): Promise<Outcome> {
    const abort = AbortSignal.any([signal, this.#closing.signal]);
    if (abort.aborted) return Promise.resolve({ kind: "retry", reason: "aborted" });
    const text = this.#lines(batch);
    if (text === "") return Promise.resolve({ kind: "delivered", rejected: 0 });
    // A stream that has failed once takes everything and calls nobody back.
    const { errored, writable } = this.#output;
    if (errored !== null || !writable) return Promise.resolve({ kind: "retry", reason: errored?.message ?? "closed" });
    return new Promise((resolve) => {
      // What was handed to the stream will be printed, also after an abort: a later try prints it twice.
      const onAbort = (): void => resolve({ kind: "retry", reason: "aborted" });
      abort.addEventListener("abort", onAbort, { once: true });
      this.#output.write(text, (error) => {
        abort.removeEventListener("abort", onAbort);
        resolve(error ? { kind: "retry", reason: error.message } : { kind: "delivered", rejected: 0 });
      });
    });
  }

  close(): Promise<void> {
    this.#closing.abort();
    this.#output.off("error", this.#ignore);
    return Promise.resolve();
  }
}
