/**
 * Values that move as those of a running machine do: a pure function of point, device and time, so
 * that a test asks here what a simulated device has just served. After scaling, and already rounded
 * to what the type on the wire can hold; within `range`, and never a sentinel.
 *
 *   gauge     three slow sines around what the unit and the name suggest
 *   weight    loads that are put on, settle, and are taken off
 *   counter   rises with the gauge it would integrate; starts again at its rollover
 *   state     a code, changing every half minute or so, mostly one that sounds like normal running
 *   text      identities stand still, the rest changes now and then
 */
import type { Point } from "#profiles/schema.ts";
import type { Series } from "#profiles/series.ts";
import { energyShare, supplyOf } from "./electrical.ts";
import { prefixOf, quantityOf } from "./quantities.ts";

export type Value = (time_us: number) => number | string;

/** 2026-01-01 UTC: totals count from here. */
const EPOCH_S = 1_767_225_600;
const STATE_S = 24;
const LOAD_S = 12;
const SETTLING_S = 2.5;
const NORMAL = /^(run|on\b|ok|normal|auto|good|closed|ready|operat|mppt|produc|execut|online|none|no\b|stable)/i;
const TROUBLE = /alarm|warning|fault|error|event/i;
/** What somebody has set once does not change by itself. */
const SETTING = /wiring|setting|_mode_set/i;
const IDENTITY = /serial|version|firmware|model|manufacturer|vendor|type|(^|_)id$/;

const cache = new WeakMap<Point, Map<string, Value>>();

/** The value of `point` on `device_id` at `time_us` (microseconds since 1970). */
export function valueOf(point: Point, series: Series, device_id: string, time_us: number): number | string {
  let byDevice = cache.get(point);
  if (byDevice === undefined) cache.set(point, (byDevice = new Map()));
  let value = byDevice.get(device_id);
  if (value === undefined) byDevice.set(device_id, (value = compile(point, series, device_id)));
  return value(time_us);
}

function compile(point: Point, series: Series, device_id: string): Value {
  const seed = hash(`${device_id}/${series.name}`);
  if (series.value === "text") return textValue(point, series, seed);
  const words = [series.name, series.metric, ...Object.values(series.attributes)].join(" ").toLowerCase();
  const wire = wireOf(point);
  if (words.includes("stable") && (series.kind === "state" || wire.type === "bool")) {
    return stableValue(series, hash(device_id));
  }
  if (series.kind === "state") return stateValue(series, wire, seed);
  if (wire.type === "bool" || wire.bits === 1) {
    return (time_us) => (fraction(mix(seed, slotOf(time_us, STATE_S, seed))) < 0.7 ? 1 : 0);
  }
  if (series.kind === "counter") return counterValue(point, series, wire, words, seed, hash(device_id));
  return gaugeValue(point, series, wire, words, seed, hash(device_id));
}

// --- What the wire can hold ------------------------------------------------------------------------

interface Wire {
  readonly type: string | null;
  /** Width of a bit field; 0 without one. */
  readonly bits: number;
  /** Raw limits. */
  readonly low: number;
  readonly high: number;
  /** Rounds a raw value to one that the type holds and that is no sentinel. */
  readonly round: (raw: number) => number;
}

const LIMITS: Readonly<Record<string, readonly [number, number]>> = {
  bool: [0, 1],
  u8: [0, 0xff],
  u16: [0, 0xffff],
  s16: [-0x8000, 0x7fff],
  u24: [0, 0xff_ffff],
  u32: [0, 0xffff_ffff],
  s32: [-0x8000_0000, 0x7fff_ffff],
  bcd16: [0, 9999],
  bcd32: [0, 99_999_999],
  u64: [0, Number.MAX_SAFE_INTEGER],
  s64: [-Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER],
  i64: [-Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER],
};

function wireOf(point: Point): Wire {
  // Each protocol names its types in its own way; u16 or i64 mean the same in all of them.
  const { type, bits, scale_register } = point as Point & {
    type?: string;
    bits?: { width: number };
    scale_register?: number;
  };
  const limits = type === undefined ? undefined : LIMITS[type];
  const [low, high] = bits !== undefined ? [0, 2 ** bits.width - 1] : (limits ?? [-1e300, 1e300]);
  const sentinels = new Set((point.sentinels ?? []).map((entry) => (typeof entry === "object" ? entry.value : entry)));
  const whole = limits !== undefined || bits !== undefined;
  return {
    type: type ?? null,
    bits: bits?.width ?? 0,
    low,
    high,
    round(raw) {
      // With a scale register the device chooses the digits; a decimal text has about six.
      if (scale_register !== undefined) return raw;
      let rounded = whole ? Math.round(raw) : type === "f32" ? Math.fround(raw) : Number(raw.toPrecision(10));
      rounded = Math.min(high, Math.max(low, rounded));
      while (sentinels.has(rounded)) rounded += rounded < high ? 1 : -1;
      return rounded;
    },
  };
}

/** Through the raw value and back, by the formula that every source uses. */
function onWire(point: Point, wire: Wire, value: number): number {
  return wire.round((value - point.offset) / point.scale) * point.scale + point.offset;
}

// --- Numbers -----------------------------------------------------------------------------------------

function gaugeValue(point: Point, series: Series, wire: Wire, words: string, seed: number, device: number): Value {
  const ends = [wire.low, wire.high].map((raw) => raw * point.scale + point.offset);
  const low = Math.max(Math.min(...ends), point.range?.[0] ?? -1e300);
  const high = Math.min(Math.max(...ends), point.range?.[1] ?? 1e300);
  const place = (value: number) => Math.min(high, Math.max(low, value));
  if (words.includes("weigh")) {
    const capacity = Math.min(quantityOf(series.unit, "").centre * 2, high * 0.9);
    return (time_us) => digits(onWire(point, wire, place(loadAt(device, time_us) * capacity)), wire, 2, low, high);
  }
  const supply = supplyOf(series.metric, words, (name, time_us) => wave(hash(`${device}/${name}`), time_us));
  if (supply !== null) {
    const prefix = series.unit === "%" && words.includes("thd") ? 1 : prefixOf(series.unit);
    return (time_us) => digits(onWire(point, wire, place(supply(time_us) / prefix)), wire, 4, low, high);
  }
  let { centre, swing } = quantityOf(series.unit, words);
  // No two devices, and no two points, lie at the same place.
  centre += swing * 0.5 * (2 * fraction(mix(seed, 1)) - 1);
  if (centre - swing < low || centre + swing > high) {
    const span = Math.min(high - low, 4 * (Math.abs(centre) + swing));
    centre = low > -1e300 ? low + span * (0.4 + 0.2 * fraction(mix(seed, 1))) : high - span / 2;
    swing = Math.min(swing, span * 0.15);
  }
  return (time_us) => digits(onWire(point, wire, place(centre + swing * wave(seed, time_us))), wire, 4, low, high);
}

/** Types without a step of their own: as many decimals as a display would show, still within the limits. */
function digits(value: number, wire: Wire, decimals: number, low: number, high: number): number {
  if (wire.type !== null && wire.type !== "f64") return value;
  const rounded = Number(value.toFixed(decimals));
  return rounded < low || rounded > high ? value : rounded;
}

/** -1 to 1, smooth: periods of about 7 s, 40 s and 5 min. */
function wave(seed: number, time_us: number): number {
  const turns = (time_us / 1e6) * 2 * Math.PI;
  const phase = fraction(seed) * 2 * Math.PI;
  return (
    0.2 * Math.sin(turns / 7.3 + phase) +
    0.3 * Math.sin(turns / 41 + 2 * phase) +
    0.5 * Math.sin(turns / 307 + 3 * phase)
  );
}

function counterValue(point: Point, series: Series, wire: Wire, words: string, seed: number, device: number): Value {
  const { rate } = quantityOf(series.unit, words);
  const share = energyShare(series.metric, words, (phase) => fraction(hash(`${device}/${phase}`)));
  const own = rate * (share ?? 0.6 + 0.8 * fraction(seed));
  const start = own * 86_400 * 30 * (share === null ? fraction(mix(seed, 2)) : 1);
  const end = rolloverOf(point) ?? (wire.high < 1e300 ? wire.high + 1 : Number.POSITIVE_INFINITY);
  const low = Math.max(0, point.range?.[0] ?? 0);
  const high = point.range?.[1] ?? Number.POSITIVE_INFINITY;
  const omega = (2 * Math.PI) / 53;
  return (time_us) => {
    const s = Math.max(0, time_us / 1e6 - EPOCH_S);
    // The integral of own * (1 + 0.6 sin): it never goes back.
    const total = start + own * (s + (0.6 / omega) * (1 - Math.cos(omega * s)));
    const raw = Math.floor((Math.min(high, low + total) - point.offset) / point.scale / stepOf(wire)) * stepOf(wire);
    return wire.round(raw % end) * point.scale + point.offset;
  };
}

/** Types without a step of their own count in thousandths. */
const stepOf = (wire: Wire): number => (wire.type === null || wire.type.startsWith("f") ? 0.001 : 1);

/** The raw value at which a counter starts again; null where it has none. */
function rolloverOf(point: Point): number | null {
  if (point.rollover === undefined || typeof point.rollover === "number") return point.rollover ?? null;
  const [base, exponent] = point.rollover.split("^").map(Number);
  return (base ?? 2) ** (exponent ?? 32);
}

// --- Loads on a scale --------------------------------------------------------------------------------

/** 0 to 1: nothing, then a load, then another; the scale takes `SETTLING_S` to follow. */
function loadAt(device: number, time_us: number): number {
  const slot = slotOf(time_us, LOAD_S, device);
  const level = (n: number) => (n % 3 === 0 ? 0 : 0.1 + 0.7 * fraction(mix(device, n)));
  const progress = Math.min(1, sinceSlot(time_us, LOAD_S, device) / SETTLING_S);
  return level(slot - 1) + (level(slot) - level(slot - 1)) * progress * progress * (3 - 2 * progress);
}

/** Whether the load of a device has settled: its weights stand still. */
function isSettled(device: number, time_us: number): boolean {
  return sinceSlot(time_us, LOAD_S, device) >= SETTLING_S;
}

function stableValue(series: Series, device: number): Value {
  const code = (pattern: RegExp) => series.states?.find(([, name]) => pattern.test(name))?.[0];
  const stable = code(/^(stable|yes|true|settled)/i) ?? 1;
  const moving = code(/^(unstable|dynamic|moving|no|false)/i) ?? (stable === 0 ? 1 : 0);
  return (time_us) => (isSettled(device, time_us) ? stable : moving);
}

// --- States and texts --------------------------------------------------------------------------------

function stateValue(series: Series, wire: Wire, seed: number): Value {
  const slot = (time_us: number) => slotOf(time_us, STATE_S, seed);
  const bits = series.flags?.map(([bit]) => bit) ?? [];
  if (bits.length > 0) {
    const often = TROUBLE.test(`${series.name} ${series.metric}`) ? 0.01 : 0.12;
    return (time_us) =>
      bits.reduce((sum, bit) => (fraction(mix(seed, slot(time_us) * 64 + bit)) < often ? sum + 2 ** bit : sum), 0);
  }
  // A code that the type cannot hold, or that would mean "no value", is never served.
  const named = (series.states ?? []).filter(([code]) => wire.round(code) === code);
  const codes = named.length > 0 ? named.map(([code]) => code) : [0, 1].map(wire.round);
  const normal = named.filter(([, name]) => NORMAL.test(name)).map(([code]) => code);
  if (SETTING.test(series.name)) return () => codes.at(-1) ?? 0;
  return (time_us) => {
    const draw = mix(seed, slot(time_us));
    const from = normal.length > 0 && fraction(mix(draw, 1)) < 0.75 ? normal : codes;
    return from[draw % from.length] ?? 0;
  };
}

function textValue(point: Point, series: Series, seed: number): Value {
  const { length } = point as Point & { length?: number };
  const cut = (text: string) => (length === undefined ? text : text.slice(0, length * 2));
  if (/version|firmware/.test(series.name)) return () => cut(`1.${seed % 10}.${(seed >>> 8) % 20}`);
  if (IDENTITY.test(series.name)) return () => cut(`SIM${String(seed % 1e6).padStart(6, "0")}`);
  return (time_us) => cut(`LOT-${String(mix(seed, slotOf(time_us, STATE_S, seed)) % 10_000).padStart(4, "0")}`);
}

// --- Chance that repeats -----------------------------------------------------------------------------

/** Which slot of `length_s` a time falls in; each seed has its own beat. */
const slotOf = (time_us: number, length_s: number, seed: number): number =>
  Math.floor(time_us / 1e6 / length_s + fraction(seed));

const sinceSlot = (time_us: number, length_s: number, seed: number): number => {
  const at = time_us / 1e6 / length_s + fraction(seed);
  return (at - Math.floor(at)) * length_s;
};

/** FNV-1a, then mixed. */
function hash(text: string): number {
  let sum = 0x811c9dc5;
  for (let i = 0; i < text.length; i += 1) sum = Math.imul(sum ^ text.charCodeAt(i), 0x01000193);
  return mix(sum, 0);
}

/** A well-mixed 32-bit number from a seed and a counter (the finaliser of MurmurHash3). */
function mix(seed: number, n: number): number {
  let x = Math.imul(seed ^ Math.imul(n | 0, 0x9e3779b1), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 15), 0xc2b2ae35);
  return (x ^ (x >>> 13)) >>> 0;
}

const fraction = (x: number): number => (x >>> 0) / 4_294_967_296;
