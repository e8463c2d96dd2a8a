/**
 * Units that a scale writes into its answer. A person may change them at the scale between two
 * readings, so they are converted at run time, to the unit that the profile promises.
 */

/** Milligrams, by what stands on the wire and by UCUM code. The pound and the ounce are exact (avoirdupois, 1959). */
const MILLIGRAMS: ReadonlyMap<string, number> = new Map([
  ["mg", 1],
  ["g", 1000],
  ["kg", 1e6],
  ["t", 1e9],
  ["lb", 453_592.37],
  ["[lb_av]", 453_592.37],
  ["oz", 28_349.523_125],
  ["[oz_av]", 28_349.523_125],
  ["ct", 200],
  ["[car_m]", 200],
]);

/** A number in the unit written on the wire, in the unit wanted; null where the one is not known to be the other. */
export type Convert = (value: number, written: string) => number | null;

/** `unit` is the point's, in UCUM. */
export function compileConvert(unit: string): Convert {
  const wanted_mg = MILLIGRAMS.get(unit);
  return (value, written) => {
    if (written === unit) return value;
    const written_mg = MILLIGRAMS.get(written);
    if (written_mg === undefined || wanted_mg === undefined) return null;
    // The larger by the smaller: 1 kg is 1000 g exactly, where a factor of 0.001 would not be exact.
    return written_mg >= wanted_mg ? value * (written_mg / wanted_mg) : value / (wanted_mg / written_mg);
  };
}
