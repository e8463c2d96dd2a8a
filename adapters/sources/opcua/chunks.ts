/** Calls in chunks that a server bears: a refused chunk is halved, and the size that worked is kept. */
import { ServiceRefused } from "./link.ts";

const CHUNK = 500;
/** Refusals of a whole call because it asks for too much at once. */
const TOO_MUCH = new Set([
  "BadTooManyOperations",
  "BadTooManyMonitoredItems",
  "BadRequestTooLarge",
  "BadResponseTooLarge",
  "BadEncodingLimitsExceeded",
  "BadTcpMessageTooLarge",
]);

export class ChunkSize {
  #size: number;

  /** `limit` is what the server states; 0 where it states none. */
  constructor(limit: number) {
    this.#size = limit > 0 ? Math.min(limit, CHUNK) : CHUNK;
  }

  get size(): number {
    return this.#size;
  }

  /** Whether the same call may be tried again in smaller chunks. */
  shrink(error: unknown): boolean {
    if (this.#size <= 1 || !(error instanceof ServiceRefused) || !TOO_MUCH.has(error.status)) return false;
    this.#size = Math.ceil(this.#size / 2);
    return true;
  }
}
