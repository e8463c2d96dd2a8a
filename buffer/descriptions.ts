/**
 * Descriptions that are known in memory, by id and by content. An id never means two things, so equal bytes
 * may share one and a table is enough, whichever segment a record came from.
 */
import { hash } from "node:crypto";

/** Beyond this the least recently used go; a site of 100,000 points describes itself in about 20 MB. */
const BYTES_MAX = 64 * 1024 * 1024;
/** What an entry costs besides its bytes. */
const OVERHEAD_BYTES = 200;

export class Descriptions {
  /** The next new id; above every id on disk. */
  next_id = 1;
  readonly #by_id = new Map<number, { readonly bytes: Uint8Array; readonly digest: string }>();
  readonly #by_digest = new Map<string, number>();
  #bytes = 0;

  describe(bytes: Uint8Array): number {
    const digest = hash("sha256", bytes, "base64");
    const known = this.#by_digest.get(digest);
    if (known !== undefined) {
      this.get(known);
      return known;
    }
    const id = this.next_id++;
    this.#keep(id, Uint8Array.from(bytes), digest);
    return id;
  }

  /** What was found on disk. */
  add(id: number, bytes: Uint8Array): void {
    if (id >= this.next_id) this.next_id = id + 1;
    if (this.#by_id.has(id)) return;
    this.#keep(id, Uint8Array.from(bytes), hash("sha256", bytes, "base64"));
  }

  get(id: number): Uint8Array | undefined {
    const found = this.#by_id.get(id);
    if (found === undefined) return undefined;
    // A Map keeps the order of insertion: put it last, so that the first is the least recently used.
    this.#by_id.delete(id);
    this.#by_id.set(id, found);
    return found.bytes;
  }

  has(id: number): boolean {
    return this.#by_id.has(id);
  }

  #keep(id: number, bytes: Uint8Array, digest: string): void {
    this.#by_id.set(id, { bytes, digest });
    this.#by_digest.set(digest, id);
    this.#bytes += bytes.length + OVERHEAD_BYTES;
    for (const [oldest, { bytes: old, digest: old_digest }] of this.#by_id) {
      if (this.#bytes <= BYTES_MAX || oldest === id) break;
      this.#by_id.delete(oldest);
      if (this.#by_digest.get(old_digest) === oldest) this.#by_digest.delete(old_digest);
      this.#bytes -= old.length + OVERHEAD_BYTES;
    }
  }
}
