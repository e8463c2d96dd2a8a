/** Exit codes, a public interface. */
export const EXIT = {
  done: 0,
  /** The input is at fault: site file, profile, journal. */
  input: 1,
  /** The command line is. */
  usage: 2,
  /** The device or the network is. */
  device: 3,
} as const;

export function exitWith(code: number): never {
  process.exit(code);
}
