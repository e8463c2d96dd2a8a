/** Collects the faults of one run, each at its place, so that all of them are told at once. */
import type { Fault } from "./fault.ts";

/** A file that was read: its name for people, and where its lines begin. */
export interface TextFile {
  readonly name: string;
  /** Offset of the first character of each line; the first is 0. */
  readonly lines: readonly number[];
}

/** A place in a file, as an offset in its text. */
export interface At {
  readonly file: TextFile;
  readonly offset: number;
}

export interface Report {
  fault(at: At, message: string): void;
  warn(at: At, message: string): void;
  /** By file, line and column; the same fault at the same place once. */
  list(): Fault[];
  /** Whether something was found that must not start. */
  readonly failed: boolean;
}

/** `redact` takes secrets out of every message. */
export function createReport(redact: (text: string) => string = (text) => text): Report {
  const found = new Map<string, Fault>();
  let failed = false;
  const add = (severity: Fault["severity"], at: At, message: string): void => {
    const fault: Fault = { severity, file: at.file.name, ...lineAndColumn(at), message: redact(message) };
    found.set(`${fault.file}:${fault.line}:${fault.column}:${severity}:${fault.message}`, fault);
    if (severity === "fault") failed = true;
  };
  return {
    fault: (at, message) => add("fault", at, message),
    warn: (at, message) => add("warning", at, message),
    list: () => [...found.values()].sort(byPlace),
    get failed() {
      return failed;
    },
  };
}

/** From 1, both. */
export function lineAndColumn({ file, offset }: At): { line: number; column: number } {
  let low = 0;
  let high = file.lines.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if ((file.lines[middle] ?? 0) <= offset) low = middle;
    else high = middle - 1;
  }
  return { line: low + 1, column: offset - (file.lines[low] ?? 0) + 1 };
}

export function textFile(name: string, text: string): TextFile {
  const lines = [0];
  for (let at = text.indexOf("\n"); at !== -1; at = text.indexOf("\n", at + 1)) lines.push(at + 1);
  return { name, lines };
}

function byPlace(a: Fault, b: Fault): number {
  if (a.file !== b.file) return a.file < b.file ? -1 : 1;
  return a.line - b.line || a.column - b.column || (a.message < b.message ? -1 : 1);
}
