/**
 * A three-phase supply whose figures agree with each other, as those of a real meter do: per phase a voltage,
 * a current and an angle; everything else follows from them.
 *
 *   V, I, phi of L1, L2, L3 ─▶ P = V I cos phi, Q = V I sin phi, S = V I ─▶ sums, factor, neutral, line to line
 */

/** -1 to 1, smooth, different for each name. */
export type Wander = (name: string, time_us: number) => number;
/** 0 to 1, fixed for each name. */
export type Fixed = (name: string) => number;

const PHASES = ["l1", "l2", "l3"] as const;
type Phase = (typeof PHASES)[number];

interface State {
  readonly volts: number;
  readonly amperes: number;
  readonly phi: number;
}

/**
 * What a point of the supply shows, in base units (V, A, W, V.A, var, degrees; a power factor as 0 to 1), or null
 * where `words` (name, metric and attribute values, in lower case) do not speak of a supply.
 */
export function supplyOf(metric: string, words: string, wander: Wander): ((time_us: number) => number) | null {
  if (!isSupply(metric)) return null;
  if (/^inverter\.(dc|mppt)\./.test(metric)) return directOf(metric, words, wander);
  const at = (phase: Phase, time_us: number): State => ({
    volts: 230 + 2.5 * wander(`${phase} volts`, time_us),
    amperes: 14 + 4 * wander(`${phase} amperes`, time_us),
    phi: ((20 + 5 * wander(`${phase} phi`, time_us)) * Math.PI) / 180,
  });
  const all = (time_us: number): readonly State[] => PHASES.map((phase) => at(phase, time_us));
  const sum = (time_us: number, of: (state: State) => number): number =>
    all(time_us).reduce((total, state) => total + of(state), 0);
  const active = ({ volts, amperes, phi }: State): number => volts * amperes * Math.cos(phi);
  const reactive = ({ volts, amperes, phi }: State): number => volts * amperes * Math.sin(phi);
  const angle = (time_us: number): number => Math.atan2(sum(time_us, reactive), sum(time_us, active));
  const [first, second] = phasesIn(words);
  const has = (...parts: string[]): boolean => parts.some((part) => words.includes(part));
  /** Of the phase that is named, or of all three. */
  const of = (one: (state: State) => number, together: (time_us: number) => number) =>
    first === undefined ? together : (time_us: number) => one(at(first, time_us));

  if (has("thd")) {
    const [centre, swing] = has("current") ? [9, 3] : [2.2, 0.6];
    return (time_us) => centre + swing * wander(words, time_us);
  }
  if (has("demand")) return has("maximum", "max") ? () => 11_400 : (time_us) => 9000 + 300 * wander("demand", time_us);
  if (has("frequency")) return null;
  if (has("power_factor", "cos_phi"))
    return of(
      ({ phi }) => Math.cos(phi),
      (time_us) => Math.cos(angle(time_us)),
    );
  if (has("phase_angle"))
    return of(
      ({ phi }) => (phi * 180) / Math.PI,
      (time_us) => (angle(time_us) * 180) / Math.PI,
    );
  if (has("power")) {
    // It takes from the grid: what it gives back is nothing, at this moment.
    if (has("export", "feed_in")) return () => 0;
    if (has("reactive")) return of(reactive, (time_us) => sum(time_us, reactive));
    if (has("apparent"))
      return of(
        ({ volts, amperes }) => volts * amperes,
        (time_us) => Math.hypot(sum(time_us, active), sum(time_us, reactive)),
      );
    return of(active, (time_us) => sum(time_us, active));
  }
  if (has("voltage")) {
    if (first !== undefined && second !== undefined)
      return (time_us) => (Math.sqrt(3) * (at(first, time_us).volts + at(second, time_us).volts)) / 2;
    return of(
      ({ volts }) => volts,
      (time_us) => sum(time_us, ({ volts }) => volts) / 3,
    );
  }
  if (has("current")) {
    if (has("current_n", "neutral"))
      return (time_us) => {
        const [a = 0, b = 0, c = 0] = all(time_us).map(({ amperes }) => amperes);
        return Math.sqrt(a * a + b * b + c * c - a * b - b * c - c * a);
      };
    const share = has("average", "mean") ? 1 / 3 : 1;
    return of(
      ({ amperes }) => amperes,
      (time_us) => share * sum(time_us, ({ amperes }) => amperes),
    );
  }
  return null;
}

/** The direct current side of an inverter: the strings of its trackers make the whole. */
function directOf(metric: string, words: string, wander: Wander): ((time_us: number) => number) | null {
  const strings = metric.startsWith("inverter.mppt.") ? 1 : 2;
  const volts = (time_us: number): number => 600 + 8 * wander("direct volts", time_us);
  const amperes = (time_us: number): number => strings * (7.8 + 0.6 * wander("direct amperes", time_us));
  if (words.includes("voltage")) return volts;
  if (words.includes("current")) return amperes;
  return words.includes("power") ? (time_us) => volts(time_us) * amperes(time_us) : null;
}

/** How fast an energy total rises, as a share of one phase's usual pace: those of the phases make the total's. */
export function energyShare(metric: string, words: string, fixed: Fixed): number | null {
  if (!isSupply(metric) || !words.includes("energy")) return null;
  const [first] = phasesIn(words);
  const wanted: readonly Phase[] = first === undefined ? PHASES : [first];
  const phases = wanted.reduce<number>((sum, phase) => sum + 0.85 + 0.3 * fixed(phase), 0);
  return phases * (words.includes("reactive") ? 0.36 : 1) * (/export|feed_in/.test(words) ? 0.02 : 1);
}

const isSupply = (metric: string): boolean => /^(electrical|inverter\.(ac|dc|mppt))\./.test(metric);

const phasesIn = (words: string): readonly Phase[] => PHASES.filter((phase) => words.includes(phase));
