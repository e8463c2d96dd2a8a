/** Waiting with a limit: every promise of the library is waited for against the clock and the caller's abort. */
import { type Clock, LinesideError } from "../../contract.ts";

/**
 * Settles as `work` does, or rejects as soon as `signal` aborts or `limit_ms` has passed; what `work`
 * does later is of no interest then.
 */
export function within<T>(
  work: Promise<T>,
  limit_ms: number,
  clock: Clock,
  late: () => Error,
  signal?: AbortSignal,
): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const cancel = clock.after(limit_ms, () => finish(() => reject(late())));
    const onAbort = (): void => finish(() => reject(aborted()));
    const finish = (settle: () => void): void => {
      cancel();
      signal?.removeEventListener("abort", onAbort);
      settle();
    };
    if (signal?.aborted) onAbort();
    else signal?.addEventListener("abort", onAbort, { once: true });
    // Also where it is given up already: a rejection that nobody handles would end the process.
    work.then(
      (value) => finish(() => resolve(value)),
      (error: unknown) => finish(() => reject(error instanceof Error ? error : new Error(String(error)))),
    );
  });
}

/** For closing down: waits, but neither fails nor waits for ever. */
export async function settled(work: Promise<unknown>, limit_ms: number, clock: Clock): Promise<boolean> {
  try {
    await within(work, limit_ms, clock, aborted);
    return true;
  } catch {
    return false;
  }
}

export function aborted(): LinesideError {
  return new LinesideError("aborted", "given up on request");
}
