/**
 * From the points of one interval to the fewest reads that the device allows. Pure.
 *
 *   points ─▶ spans (value and scale register together) ─▶ areas ─▶ stretches between forbidden ranges ─▶ reads
 *                                                              └─▶ read-alone ranges, each one exact block
 *
 * A read is a window over sorted spans. Opening each window at the lowest span left and taking all
 * that fits gives the fewest windows: any window that holds this span begins no later and so reaches
 * no further, and what moves into the first window never bridged a hole between spans that stay out
 * (those reach beyond its end). Among plans of that many reads, the one that reads the fewest
 * registers is taken.
 */
import type { ModbusPoint } from "#profiles/schema.ts";
import { LinesideError } from "../../contract.ts";
import {
  type Area,
  checkPoint,
  FUNCTION_OF,
  isBitArea,
  PROTOCOL_BITS_MAX,
  PROTOCOL_REGISTERS_MAX,
  type ReadFunction,
  type Span,
  spanOf,
} from "./types.ts";

export type AddressRange = readonly [first: number, last: number];

/** What a device allows; the defaults are those of firmware-profiles/schema.ts. */
export interface Limits {
  readonly registers_max: number;
  readonly bits_max: number;
  /** Longest run of unused registers inside a read; 16 bits count as one register. */
  readonly gap_registers_max: number;
  /** No read touches these addresses, in any area. */
  readonly forbidden: readonly AddressRange[];
  /** Register ranges that are read as one block of exactly this length, and by no other read. */
  readonly alone: readonly AddressRange[];
}

export const GAP_REGISTERS_DEFAULT = 16;

/** The device's limits, from its options. */
export function limitsOf(options: {
  readonly registers_max?: number | undefined;
  readonly bits_max?: number | undefined;
  readonly gap_registers_max?: number | undefined;
  readonly forbidden?: readonly AddressRange[] | undefined;
  readonly alone?: readonly AddressRange[] | undefined;
}): Limits {
  return {
    registers_max: options.registers_max ?? PROTOCOL_REGISTERS_MAX,
    bits_max: options.bits_max ?? PROTOCOL_BITS_MAX,
    gap_registers_max: options.gap_registers_max ?? GAP_REGISTERS_DEFAULT,
    forbidden: options.forbidden ?? [],
    alone: options.alone ?? [],
  };
}

/** One read request and the points that its answer feeds. Immutable. */
export interface Read {
  readonly area: Area;
  readonly function_code: ReadFunction;
  readonly address: number;
  /** Registers, or bits in the bit areas. */
  readonly count: number;
  /** Indexes of points, by address. */
  readonly points: readonly number[];
  /** A read-alone block: its length is the device's rule, and it cannot be split. */
  readonly exact: boolean;
}

/** A span and the points that have it. */
interface Item extends Span {
  readonly points: number[];
}

/** Bytes of data that the answer to a read carries. */
export const dataBytes = (read: Pick<Read, "area" | "count">): number =>
  isBitArea(read.area) ? Math.ceil(read.count / 8) : read.count * 2;

/**
 * The reads for `indexes` of `points`. Throws LinesideError `config` for a point that no read can
 * serve: longer than a read may be, or across a forbidden range.
 */
export function planReads(points: readonly ModbusPoint[], indexes: Iterable<number>, limits: Limits): readonly Read[] {
  const areas = new Map<Area, Map<string, Item>>();
  for (const index of indexes) {
    const point = points[index];
    if (point === undefined) throw new RangeError(`no point ${index}`);
    checkPoint(point);
    const span = spanOf(point);
    const items = areas.get(point.area) ?? new Map<string, Item>();
    areas.set(point.area, items);
    const key = `${span.first}:${span.last}`;
    const item = items.get(key);
    if (item === undefined) items.set(key, { ...span, points: [index] });
    else item.points.push(index);
  }
  const reads: Read[] = [];
  for (const [area, items] of areas) reads.push(...planArea(points, area, [...items.values()], limits));
  return reads;
}

function planArea(points: readonly ModbusPoint[], area: Area, items: Item[], limits: Limits): Read[] {
  const bits = isBitArea(area);
  const max = bits ? limits.bits_max : limits.registers_max;
  const gap = bits ? limits.gap_registers_max * 16 : limits.gap_registers_max;
  const alone = bits ? [] : limits.alone;
  const walls = [...limits.forbidden, ...alone].toSorted((a, b) => a[0] - b[0]);
  const nameOf = (item: Item): string => points[item.points[0] ?? 0]?.name ?? "";

  const blocks = new Map<AddressRange, Item[]>();
  const stretches = new Map<number, Item[]>();
  for (const item of items) {
    const block = alone.find(([first, last]) => item.first >= first && item.last <= last);
    if (block !== undefined) {
      blocks.set(block, [...(blocks.get(block) ?? []), item]);
      continue;
    }
    const wall = walls.find(([first, last]) => item.first <= last && item.last >= first);
    if (wall !== undefined) {
      throw new LinesideError(
        "config",
        `point ${nameOf(item)}: registers ${item.first} to ${item.last} cross ${wall[0]} to ${wall[1]}, ` +
          "which this device does not let be read with them (forbidden or alone)",
      );
    }
    if (item.last - item.first + 1 > max) {
      throw new LinesideError(
        "config",
        `point ${nameOf(item)}: takes ${item.last - item.first + 1} registers, and one read may hold ${max}`,
      );
    }
    const stretch = walls.filter(([, last]) => last < item.first).length;
    stretches.set(stretch, [...(stretches.get(stretch) ?? []), item]);
  }

  const reads: Read[] = [];
  for (const [[first, last], inside] of blocks) {
    if (last - first + 1 > PROTOCOL_REGISTERS_MAX) {
      throw new LinesideError("config", `alone: ${first} to ${last} is more than ${PROTOCOL_REGISTERS_MAX} registers`);
    }
    reads.push(readOf(area, inside, { first, last }));
  }
  for (const stretch of stretches.values()) {
    stretch.sort((a, b) => a.first - b.first || a.last - b.last);
    for (const window of windowsOf(stretch, max, gap)) reads.push(readOf(area, window, null));
  }
  return reads.sort((a, b) => a.address - b.address);
}

function readOf(area: Area, items: readonly Item[], block: Span | null): Read {
  const sorted = items.toSorted((a, b) => a.first - b.first || a.last - b.last);
  const first = block?.first ?? sorted[0]?.first ?? 0;
  const last = block?.last ?? Math.max(...sorted.map((item) => item.last));
  return Object.freeze({
    area,
    function_code: FUNCTION_OF[area],
    address: first,
    count: last - first + 1,
    points: Object.freeze(sorted.flatMap((item) => item.points)),
    exact: block !== null,
  });
}

function windowsOf(items: readonly Item[], max: number, gap: number): Item[][] {
  const greedy = fewestWindows(items, max, gap);
  const tight = tightestWindows(items, max, gap);
  // Spans that contain one another can ask for windows that are no runs of the sorted spans.
  return tight.length <= greedy.length ? tight : greedy;
}

/** The fewest windows, by the argument at the top. */
function fewestWindows(items: readonly Item[], max: number, gap: number): Item[][] {
  const windows: Item[][] = [];
  let left = [...items];
  while (left[0] !== undefined) {
    const end = left[0].first + max - 1;
    const window: Item[] = [];
    const out: Item[] = [];
    let covered = left[0].last;
    for (const item of left) {
      if (item.first <= covered + gap + 1 && item.last <= end) {
        window.push(item);
        covered = Math.max(covered, item.last);
      } else out.push(item);
    }
    windows.push(window);
    left = out;
  }
  return windows;
}

/** Of the partitions into runs of the sorted items with the fewest windows, one with the fewest registers. */
function tightestWindows(items: readonly Item[], max: number, gap: number): Item[][] {
  // best[i]: windows and registers for the first i items, and where the last window begins.
  const best: { windows: number; registers: number; from: number }[] = [{ windows: 0, registers: 0, from: 0 }];
  for (const [from, head] of items.entries()) {
    const before = best[from];
    if (before === undefined) continue;
    let covered = head.last;
    for (let i = from; i < items.length; i += 1) {
      const item = items[i];
      if (item === undefined || item.first > covered + gap + 1) break;
      covered = Math.max(covered, item.last);
      const length = covered - head.first + 1;
      if (length > max) break;
      const windows = before.windows + 1;
      const registers = before.registers + length;
      const known = best[i + 1];
      if (
        known === undefined ||
        windows < known.windows ||
        (windows === known.windows && registers < known.registers)
      ) {
        best[i + 1] = { windows, registers, from };
      }
    }
  }
  const runs: Item[][] = [];
  for (let end = items.length; end > 0; end = best[end]?.from ?? 0)
    runs.unshift(items.slice(best[end]?.from ?? 0, end));
  return runs;
}

/**
 * Two reads in place of one that the device refused: parted at the widest hole, which may be what it
 * refused, or in the middle. Null where there is nothing to part.
 */
export function splitRead(points: readonly ModbusPoint[], read: Read): readonly [Read, Read] | null {
  if (read.exact) return null;
  const byKey = new Map<string, Item>();
  for (const index of read.points) {
    const point = points[index];
    if (point === undefined) continue;
    const span = spanOf(point);
    const key = `${span.first}:${span.last}`;
    const item = byKey.get(key);
    if (item === undefined) byKey.set(key, { ...span, points: [index] });
    else item.points.push(index);
  }
  const items = [...byKey.values()];
  const [head] = items;
  if (head === undefined || items.length < 2) return null;
  let covered = head.last;
  let hole = 0;
  let at = items.length >> 1;
  for (const [i, item] of items.entries()) {
    const width = item.first - covered - 1;
    if (width > hole) {
      hole = width;
      at = i;
    }
    covered = Math.max(covered, item.last);
  }
  return [readOf(read.area, items.slice(0, at), null), readOf(read.area, items.slice(at), null)];
}
