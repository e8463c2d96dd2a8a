/**
 * 1 / scale where that is a whole number, else 0: dividing by 10 is exact where multiplying by 0.1 is
 * not, and a device that says 2301 means 230.1, not 230.10000000000002.
 */
export function divisorOf(scale: number): number {
  const inverse = Math.round(1 / scale);
  return Math.abs(inverse) > 1 && 1 / inverse === scale ? inverse : 0;
}
