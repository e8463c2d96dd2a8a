/** Tables for people: columns as wide as their content, numbers to the right. */
export interface Column<Row> {
  readonly title: string;
  readonly align?: "left" | "right";
  readonly text: (row: Row) => string;
}

export function table<Row>(columns: readonly Column<Row>[], rows: readonly Row[]): string {
  const cells = rows.map((row) => columns.map((column) => column.text(row)));
  const widths = columns.map((column, index) =>
    Math.max(column.title.length, ...cells.map((row) => row[index]?.length ?? 0)),
  );
  const line = (texts: readonly string[]): string =>
    texts
      .map((text, index) => {
        const width = widths[index] ?? 0;
        return columns[index]?.align === "right" ? text.padStart(width) : text.padEnd(width);
      })
      .join("  ")
      .trimEnd();
  return [line(columns.map((column) => column.title)), ...cells.map(line)].map((text) => `${text}\n`).join("");
}

/** A value as people read it: seven significant digits, integers and texts whole. */
export function valueText(value: number | bigint | string | null): string {
  if (value === null) return "-";
  if (typeof value === "string") return JSON.stringify(value);
  if (typeof value === "bigint") return value.toString();
  if (Number.isInteger(value) && Math.abs(value) < 1e15) return value.toString();
  return String(Number(value.toPrecision(7)));
}

/** A state's name beside its code. */
export function readingText({
  value,
  label,
}: {
  readonly value: number | bigint | string | null;
  readonly label: string;
}): string {
  return label === "" ? valueText(value) : `${label} (${valueText(value)})`;
}

export function bytesText(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB"];
  let amount = bytes;
  let unit = 0;
  while (amount >= 1024 && unit < units.length - 1) {
    amount /= 1024;
    unit++;
  }
  return `${unit === 0 ? amount : amount.toFixed(1)} ${units[unit]}`;
}

/** `1 device`, `2 devices`. */
export const counted = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? "" : "s"}`;
