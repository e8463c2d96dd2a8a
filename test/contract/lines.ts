/** Reads JSON lines back, as anybody might who knows only what the README of the file target says. */
import type { Received } from "./target.ts";

export interface Line {
  readonly time: string;
  readonly device: string;
  readonly point?: string;
  readonly value?: number | bigint | string | null;
  readonly unit?: string;
  readonly quality?: "good" | "uncertain" | "bad";
  readonly reason?: string;
  readonly start?: string;
  readonly state?: string;
  readonly flags?: readonly string[];
  readonly event?: string;
  readonly severity?: string;
  readonly message?: string;
  readonly attributes?: Readonly<Record<string, unknown>>;
}

/** Every line has to end with a newline. Integers beyond 2^53 become bigint. */
export function parseLines(text: string): Line[] {
  const lines = text.split("\n");
  if (lines.pop() !== "") throw new Error("the last line has no end");
  return lines.map((line) => JSON.parse(line, exact) as Line);
}

/** JSON.parse gives revivers the text of a number (ES2025), which has all its digits. */
function exact(_key: string, value: unknown, context?: { readonly source?: string }): unknown {
  if (typeof value !== "number" || Number.isSafeInteger(value) || context?.source === undefined) return value;
  return /^-?\d+$/.test(context.source) ? BigInt(context.source) : value;
}

export function recordsOfLines(text: string): Received[] {
  return parseLines(text).map((line) => ({
    device: line.device,
    name: line.point ?? line.event ?? "",
    time_us: Date.parse(line.time.slice(0, 19) + "Z") * 1000 + Number(line.time.slice(20, 26)),
    value: line.value ?? line.message ?? null,
    quality: line.quality ?? "good",
    reason: line.reason ?? "",
  }));
}
