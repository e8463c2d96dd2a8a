/**
 * UCUM codes (https://ucum.org, case sensitive). The units of everyday plants are known here; the
 * UCUM library with its tables (0.2 s, 20 MB) is loaded only where a unit is none of them.
 */
import type { UcumLibrary } from "@lhncbc/ucum-lhc";
import { nearest } from "./suggest.ts";

const BASE =
  "1 % deg A mA kA V mV kV W kW MW J kJ MJ N kN Pa hPa kPa MPa bar mbar Hz kHz MHz Ohm kOhm MOhm F uF H mH T K Cel [degF] g kg mg t m mm cm um km s ms us min h d L mL hL mol lm lx cd rad C S mS uS dB eV Bq".split(
    " ",
  );
const COMPOUND = (
  "W.h kW.h MW.h V.A kV.A MV.A V.A.h kV.A.h V.A{reactive} kV.A{reactive} MV.A{reactive} V.A{reactive}.h V.A.h{reactive} " +
  "kV.A.h{reactive} kV.A{reactive}.h A.h N.m m/s mm/s m/s2 m2 m3 cm3 mm2 L/min L/h mL/h mL/min L/s m3/h m3/s m3/min kg/h kg/s g/min kg/m3 " +
  "g/L mg/L mol/L mmol/L uS/cm mS/cm /min /s /h {rev}/min [ppm] [ppb] [pH] [psi] [lb_av] [oz_av] [in_i] [ft_i] mm[Hg] cm[H2O] W/m2 kJ/kg rad/s deg/s"
).split(" ");
const COMMON: ReadonlySet<string> = new Set([...BASE, ...COMPOUND]);

/** What people write, and the UCUM code that they mean. */
const MEANT: Readonly<Record<string, string>> = {
  "": "1",
  "-": "1",
  none: "1",
  "°C": "Cel",
  "℃": "Cel",
  degC: "Cel",
  celsius: "Cel",
  Celsius: "Cel",
  "°F": "[degF]",
  degF: "[degF]",
  "°": "deg",
  degrees: "deg",
  Wh: "W.h",
  kWh: "kW.h",
  MWh: "MW.h",
  VA: "V.A",
  kVA: "kV.A",
  VAh: "V.A.h",
  kVAh: "kV.A.h",
  Ah: "A.h",
  Nm: "N.m",
  var: "V.A{reactive}",
  VAr: "V.A{reactive}",
  kvar: "kV.A{reactive}",
  kVAr: "kV.A{reactive}",
  varh: "V.A.h{reactive}",
  kvarh: "kV.A.h{reactive}",
  rpm: "{rev}/min",
  "1/min": "/min",
  "U/min": "{rev}/min",
  ohm: "Ohm",
  Ω: "Ohm",
  kΩ: "kOhm",
  psi: "[psi]",
  ppm: "[ppm]",
  ppb: "[ppb]",
  pH: "[pH]",
  percent: "%",
  pct: "%",
  lb: "[lb_av]",
  oz: "[oz_av]",
  inch: "[in_i]",
  ft: "[ft_i]",
  mmHg: "mm[Hg]",
  cmH2O: "cm[H2O]",
  pcs: "{pcs}",
  pieces: "{pcs}",
  sec: "s",
  seconds: "s",
  hour: "h",
  hours: "h",
  hr: "h",
  minutes: "min",
  days: "d",
  kelvin: "K",
  volt: "V",
  Volt: "V",
  amp: "A",
  Amp: "A",
  lpm: "L/min",
  "m³": "m3",
  "m³/h": "m3/h",
  "m²": "m2",
  "m/s²": "m/s2",
  µm: "um",
  μm: "um",
  "µS/cm": "uS/cm",
  "μS/cm": "uS/cm",
  µs: "us",
};

let library: Promise<{ readonly default: UcumLibrary }> | undefined;

/** An annotation says what is counted and changes no unit: {part}, V.A{reactive}, {rev}/min. */
const ANNOTATION = /\{[!-z|~]+\}/g;
/** Units that are annotated where UCUM allows it: behind a unit, or alone in place of 1. */
const ANNOTATED = /^[^{}]*(?:\{[!-z|~]+\}[^{}]*)+$/;

/** null for a valid UCUM code; otherwise what is wrong, and what was probably meant. */
export async function unitProblem(unit: string): Promise<string | null> {
  if (COMMON.has(unit) || (ANNOTATED.test(unit) && COMMON.has(unit.replaceAll(ANNOTATION, "") || "1"))) return null;
  const meant = MEANT[unit];
  if (meant !== undefined) return problem(unit, meant);
  library ??= import("@lhncbc/ucum-lhc");
  const { status, ucumCode, suggestions } = (await library).default.UcumLhcUtils.getInstance().validateUnitString(
    unit,
    true,
  );
  if (status === "valid" && ucumCode === unit) return null;
  return problem(
    unit,
    nearest(unit, COMMON) ?? (ucumCode === "" ? null : ucumCode) ?? suggestions?.[0]?.units[0]?.[0] ?? null,
  );
}

const problem = (unit: string, meant: string | null): string =>
  `'${unit}' is no UCUM unit${meant === null ? " (see https://ucum.org)" : `; did you mean '${meant}'?`}`;
