/**
 * A fault of something that a person wrote: where it stands, and what is wrong with it. Site files
 * and profiles share it, for a site file's check covers every profile that it names.
 */
export interface Fault {
  /** fault: nothing may start from this file. warning: it may, but somebody should look. */
  readonly severity: "fault" | "warning";
  /** As the user gave it, or as a person would find it from there. */
  readonly file: string;
  /** From 1. */
  readonly line: number;
  /** From 1, in characters. */
  readonly column: number;
  readonly message: string;
}

/** `file:line:col: message`, as editors and terminals link it; a warning says that it is one. */
export function formatFault(fault: Fault): string {
  const { file, line, column, message } = fault;
  return `${file}:${line}:${column}: ${fault.severity === "warning" ? "warning: " : ""}${message}`;
}
