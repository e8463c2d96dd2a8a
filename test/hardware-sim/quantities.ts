/**
 * What a quantity usually looks like on a running line, by its unit and its name: where it lies, how
 * far it swings, how fast a total rises. Plausible, not true to any one machine.
 */

export interface Quantity {
  /** Where a gauge lies. */
  readonly centre: number;
  /** How far it swings to either side. */
  readonly swing: number;
  /** How fast a counter of this unit rises, per second. */
  readonly rate: number;
}

/** In base units; a prefix (kV, mA, MW) divides all three. */
const BASE: Readonly<Record<string, Quantity>> = {
  V: { centre: 230, swing: 3, rate: 1 },
  A: { centre: 14, swing: 5, rate: 1 },
  W: { centre: 4200, swing: 1500, rate: 1 },
  "V.A": { centre: 4600, swing: 1500, rate: 1 },
  "W.h": { centre: 5_000_000, swing: 1000, rate: 4200 / 3600 },
  "V.A.h": { centre: 5_000_000, swing: 1000, rate: 4600 / 3600 },
  J: { centre: 5_000_000, swing: 1000, rate: 4200 },
  Hz: { centre: 50, swing: 0.03, rate: 1 },
  Pa: { centre: 600_000, swing: 30_000, rate: 1 },
  bar: { centre: 6, swing: 0.3, rate: 1 },
  K: { centre: 330, swing: 6, rate: 1 },
  Cel: { centre: 58, swing: 6, rate: 1 },
  "[degF]": { centre: 136, swing: 10, rate: 1 },
  m: { centre: 0.4, swing: 0.1, rate: 0.2 },
  "m/s": { centre: 1.2, swing: 0.3, rate: 1 },
  g: { centre: 120, swing: 80, rate: 50 },
  t: { centre: 8, swing: 4, rate: 0.001 },
  "[lb_av]": { centre: 20, swing: 10, rate: 0.1 },
  "[oz_av]": { centre: 8, swing: 4, rate: 0.1 },
  L: { centre: 400, swing: 60, rate: 0.3 },
  "L/min": { centre: 18, swing: 3, rate: 1 },
  "L/h": { centre: 1080, swing: 180, rate: 1 },
  m3: { centre: 0.4, swing: 0.1, rate: 0.0003 },
  "m3/h": { centre: 1.1, swing: 0.2, rate: 1 },
  "g/h": { centre: 900_000, swing: 100_000, rate: 1 },
  s: { centre: 8, swing: 2, rate: 1 },
  min: { centre: 20, swing: 5, rate: 1 / 60 },
  h: { centre: 1200, swing: 10, rate: 1 / 3600 },
  d: { centre: 40, swing: 1, rate: 1 / 86_400 },
  "/min": { centre: 1450, swing: 25, rate: 1 },
  N: { centre: 5000, swing: 400, rate: 1 },
  "N.m": { centre: 42, swing: 6, rate: 1 },
  Ohm: { centre: 110, swing: 2, rate: 1 },
  deg: { centre: 12, swing: 8, rate: 1 },
  "%": { centre: 62, swing: 9, rate: 1 },
  "[ppm]": { centre: 480, swing: 60, rate: 1 },
  "1": { centre: 40, swing: 12, rate: 0.4 },
};

const PREFIX: Readonly<Record<string, number>> = { k: 1e3, M: 1e6, G: 1e9, m: 1e-3, u: 1e-6, d: 1e-1, c: 1e-2, h: 1e2 };

/** Other ways to write the same unit. */
const ALIAS: Readonly<Record<string, string>> = {
  "1/min": "/min",
  "W.s": "J",
  l: "L",
  "l/min": "L/min",
  "": "1",
};

/** What a prefix divides by: kW is 1000, W is 1. */
export function prefixOf(unit: string): number {
  const bare = unit.replaceAll(/\{[^}]*\}/g, "");
  return bare === "%" ? 0.01 : BASE[ALIAS[bare] ?? bare] === undefined ? (PREFIX[bare.slice(0, 1)] ?? 1) : 1;
}

function byUnit(unit: string): Quantity {
  // UCUM annotations say what is meant, not how much: V.A{reactive}, {rpm}/min.
  const bare = unit.replaceAll(/\{[^}]*\}/g, "");
  const name = ALIAS[bare] ?? bare;
  const known = BASE[name];
  if (known !== undefined) return known;
  const base = BASE[name.slice(1)];
  const factor = PREFIX[name.slice(0, 1)];
  if (base === undefined || factor === undefined) return { centre: 40, swing: 12, rate: 0.4 };
  return { centre: base.centre / factor, swing: base.swing / factor, rate: base.rate / factor };
}

/** `words`: name, metric and attribute values of the point, in one string. */
export function quantityOf(unit: string, words: string): Quantity {
  const usual = byUnit(unit);
  const has = (...parts: string[]) => parts.some((part) => words.includes(part));
  const times = (factor: number) => ({ ...usual, centre: usual.centre * factor, swing: usual.swing * factor });
  if (unit === "1" && has("factor", "cos_phi")) return { ...usual, centre: 0.93, swing: 0.05 };
  // Words of bits that nobody named: nothing is wrong. A control loop is near its set point.
  if (unit === "1" && has("alarm", "warning", "fault", "error")) return { ...usual, centre: 0, swing: 0 };
  if (has("control_error", "deviation")) return { ...usual, centre: 0.2, swing: 1 };
  if (unit.endsWith("V") && has("supply_voltage")) return times(24 / 230);
  if (unit === "%" && has("humidity")) return { ...usual, centre: 45, swing: 5 };
  if (has("setpoint", "target", "limit", "nominal", "rated")) return { ...usual, swing: 0 };
  if (unit.endsWith("V") && has("line_to_line", "l1-l2", "l2-l3", "l3-l1", "l1_l2", "l2_l3", "l3_l1"))
    return times(1.732);
  if (unit.endsWith("V") && has("dc")) return times(2.6);
  if (unit === "Cel" && has("ambient", "room", "cabinet")) return { ...usual, centre: 24, swing: 1.5 };
  if (unit.endsWith("A") && has("neutral", "leak", "residual")) return times(0.05);
  if (has("reactive")) return times(0.3);
  if (has("export", "feed_in")) return { ...times(0.4), rate: usual.rate * 0.4 };
  return usual;
}
