/**
 * A target that need not be there when the agent starts: what it is made from (a certificate, a folder,
 * a mount) may be missing for a while. Until it can be made its readings are kept, as they are for a
 * receiver that is down, and its neighbours never notice.
 */
import type { Batch, Outcome, Target } from "#adapters/contract.ts";
import { messageOf } from "./message.ts";

/** How long after a failure it is tried again. */
const RETRY_MS = 10_000;

export class LateTarget implements Target {
  readonly #make: () => Promise<Target>;
  #made: Target | null = null;

  constructor(make: () => Promise<Target>) {
    this.#make = make;
  }

  /** Makes the target where it is not made yet; rejects with why it cannot be. */
  async open(): Promise<Target> {
    return (this.#made ??= await this.#make());
  }

  async deliver(batch: Batch, signal: AbortSignal): Promise<Outcome> {
    let target = this.#made;
    if (target === null) {
      try {
        target = await this.open();
      } catch (error) {
        const reason = messageOf(error);
        return { kind: "retry", reason, wait_ms: RETRY_MS };
      }
    }
    return await target.deliver(batch, signal);
  }

  async close(): Promise<void> {
    await this.#made?.close();
  }
}
