/**
 * What a target refused for good, kept with its reason: data for a person, who may mend the receiver.
 *
 *   DATA/dead-letter/TARGET/20261122T180301.123456Z-0001.letter
 *     one line of JSON: target, reason, time, readings, events, devices, descriptors
 *     a journal payload: the batch, exactly (batch/layout.ts)
 *
 * The readings are already counted as dropped, and told as a gap; the letters of all targets together
 * are bounded, and the oldest go first.
 */
import type { Batch, Clock, Descriptor, Log } from "#adapters/contract.ts";
import { isoTime } from "#adapters/lines.ts";
import { existsSync } from "node:fs";
import { mkdir, open, readdir, readFile, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { decodePayload } from "./batch/reader.ts";
import { BatchWriter } from "./batch/writer.ts";
import { messageOf } from "./message.ts";

/** All letters together. */
const LETTERS_BYTES_MAX = 64 * 1024 * 1024;
const ENDING = ".letter";

/** The first line of a letter. */
export interface LetterHead {
  readonly version: 1;
  readonly target: string;
  /** What the receiver said. */
  readonly reason: string;
  /** When it was refused, RFC 3339. */
  readonly time: string;
  readonly readings: number;
  readonly events: number;
  readonly devices: readonly string[];
  /** `descriptors[i]` is number i + 1 in the payload. */
  readonly descriptors: readonly Descriptor[];
}

export interface DeadLetterOptions {
  readonly dir: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly limit_bytes?: number;
}

export class DeadLetters {
  readonly #options: DeadLetterOptions;
  #count = 0;
  /** Targets refuse side by side; letters are written and bounded one after another. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(options: DeadLetterOptions) {
    this.#options = options;
  }

  /** Writes a batch, durably; the file's path, or null where it could not be written (that is logged). */
  async keep(target: string, reason: string, batch: Batch): Promise<string | null> {
    const turn = this.#turn.then(async () => await this.#keep(target, reason, batch));
    this.#turn = turn;
    return await turn;
  }

  async #keep(target: string, reason: string, batch: Batch): Promise<string | null> {
    const { dir, clock, log } = this.#options;
    const time = isoTime(clock.now_us());
    try {
      const bytes = encodeLetter(target, reason, time, batch);
      await this.#makeRoom(bytes.length);
      const folder = join(dir, target);
      await mkdir(folder, { recursive: true });
      const number = String(++this.#count % 10_000).padStart(4, "0");
      const path = join(folder, `${time.replaceAll(/[-:]/g, "")}-${number}${ENDING}`);
      await writeDurably(path, bytes);
      return path;
    } catch (error) {
      log.error({ target, err: error }, `${target}: what it refused cannot be kept: ${messageOf(error)}`);
      return null;
    }
  }

  /** Deletes the oldest letters until `bytes` more fit. */
  async #makeRoom(bytes: number): Promise<void> {
    const { dir, log, limit_bytes = LETTERS_BYTES_MAX } = this.#options;
    const letters = (await listLetters(dir)).sort((a, b) => a.name.localeCompare(b.name));
    let total = letters.reduce((sum, letter) => sum + letter.bytes, 0);
    for (const { path, bytes: freed } of letters) {
      if (total + bytes <= limit_bytes) return;
      await rm(path, { force: true });
      total -= freed;
      log.warn({ path }, `dead letters take more than ${limit_bytes} bytes: the oldest is deleted`);
    }
  }
}

/** Letters of all targets, in no order; none where nothing was ever refused. */
export async function listLetters(dir: string): Promise<{ name: string; path: string; bytes: number }[]> {
  if (!existsSync(dir)) return [];
  const entries = await readdir(dir, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile() && entry.name.endsWith(ENDING));
  return await Promise.all(
    files.map(async ({ name, parentPath }) => {
      const path = join(parentPath, name);
      return { name, path, bytes: (await stat(path)).size };
    }),
  );
}

/** A letter's head and its batch, exactly as it was refused. */
export async function readLetter(path: string): Promise<{ head: LetterHead; batch: Batch }> {
  const bytes = await readFile(path);
  const end = bytes.indexOf("\n");
  const head = JSON.parse(bytes.toString("utf8", 0, end)) as LetterHead;
  const { frames, events, readings } = decodePayload(bytes.subarray(end + 1), (id) => {
    const descriptor = head.descriptors[id - 1];
    if (descriptor === undefined) throw new Error(`${path}: descriptor ${id} is missing`);
    return descriptor;
  });
  return { head, batch: { frames, events, readings } };
}

function encodeLetter(target: string, reason: string, time: string, batch: Batch): Buffer {
  const writer = new BatchWriter();
  const descriptors: Descriptor[] = [];
  const idOf = (descriptor: Descriptor): number => {
    const known = descriptors.indexOf(descriptor);
    return known >= 0 ? known + 1 : descriptors.push(descriptor);
  };
  for (const { descriptor, frame } of batch.frames) writer.frame(idOf(descriptor), frame);
  for (const event of batch.events) writer.event(idOf(event.descriptor), event);
  const devices = [...new Set(descriptors.map(({ device }) => device))];
  const { readings } = batch;
  const head: LetterHead = {
    version: 1,
    target,
    reason,
    time,
    readings,
    events: batch.events.length,
    devices,
    descriptors,
  };
  return Buffer.concat([Buffer.from(`${JSON.stringify(head)}\n`), writer.finish().payload]);
}

/** A letter is there whole or not at all, also after a power cut. */
async function writeDurably(path: string, bytes: Uint8Array): Promise<void> {
  const part = `${path}.part`;
  const file = await open(part, "w");
  try {
    await file.writeFile(bytes);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(part, path);
}
