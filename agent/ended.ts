/** Waiting for something to end, never for ever: what does not end in time is said so and left behind. */
import type { Clock, Log } from "#adapters/contract.ts";
import { messageOf } from "./message.ts";

/** Resolves when `work` has settled or `limit_ms` have passed, whichever comes first; never rejects. */
export async function ended(
  context: { readonly clock: Clock; readonly log: Log },
  what: string,
  limit_ms: number,
  work: Promise<unknown>,
): Promise<void> {
  const { clock, log } = context;
  const { promise, resolve } = Promise.withResolvers<void>();
  const cancel = clock.after(limit_ms, () => {
    log.error({ limit_ms }, `${what} does not end: it is left behind after ${limit_ms / 1000} s`);
    resolve();
  });
  const done = work.then(
    () => undefined,
    (error: unknown) => {
      log.error({ err: error }, `${what} ends with an error: ${messageOf(error)}`);
    },
  );
  await Promise.race([done, promise]);
  cancel();
}
