/** Descriptors and the numbers under which the journal keeps them, in both directions, each made once. */
import type { Descriptor } from "#adapters/contract.ts";
import type { Journal } from "#buffer/contract.ts";

/** Decoded descriptors kept; a plant has one a device, and a few more after each change. */
const KEPT_MAX = 4096;

export class Descriptors {
  readonly #journal: Pick<Journal, "describe" | "description">;
  readonly #ids = new WeakMap<Descriptor, number>();
  /** Ordered by use, the oldest first. Identity is a cache key of the targets, so each id has one object. */
  readonly #known = new Map<number, Descriptor>();

  constructor(journal: Pick<Journal, "describe" | "description">) {
    this.#journal = journal;
  }

  /** The number of a descriptor; the journal writes it with the first payload that refers to it. */
  idOf(descriptor: Descriptor): number {
    let id = this.#ids.get(descriptor);
    if (id === undefined) {
      id = this.#journal.describe(new TextEncoder().encode(JSON.stringify(descriptor)));
      this.#ids.set(descriptor, id);
      this.#keep(id, descriptor);
    }
    return id;
  }

  /** Makes sure that `get` knows these. */
  async load(ids: readonly number[]): Promise<void> {
    for (const id of ids) {
      const known = this.#known.get(id);
      if (known !== undefined) {
        this.#known.delete(id);
        this.#known.set(id, known);
        continue;
      }
      const bytes = await this.#journal.description(id);
      // Ours: written by idOf above, and under a checksum since.
      this.#keep(id, JSON.parse(new TextDecoder().decode(bytes)) as Descriptor);
    }
  }

  readonly get = (id: number): Descriptor => {
    const known = this.#known.get(id);
    if (known === undefined) throw new Error(`descriptor ${id} was not loaded`);
    return known;
  };

  #keep(id: number, descriptor: Descriptor): void {
    this.#known.set(id, descriptor);
    if (this.#known.size <= KEPT_MAX) return;
    const [oldest] = this.#known.keys();
    if (oldest !== undefined) this.#known.delete(oldest);
  }
}
