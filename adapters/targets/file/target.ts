/**
 * File target: JSON lines in a file that is rotated by size.
 *
 *   Batch ─▶ lines ─▶ (file gone or renamed by somebody? open anew) ─▶ (full? rotate) ─▶ append ─▶ fdatasync ─▶ delivered
 *                                                                          └ failed ─▶ cut back to where the batch began ─▶ retry
 *
 * 'delivered' means on the disk. After a failure the file ends where it ended before the batch, so that
 * giving the batch again writes each line once; only a crash between writing and answering repeats lines.
 */
import { type FileHandle, open, rename, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { type AdapterContext, type Batch, LinesideError, type Log, type Outcome, type Target } from "../../contract.ts";
import { jsonLines } from "../../lines.ts";
import type { FileOptions } from "./options.ts";

/** What a person has to mend before the agent starts; anything else may pass. */
const CONFIG_FAULTS = new Set(["ENOENT", "ENOTDIR", "EISDIR", "EACCES", "EPERM", "EROFS", "ELOOP", "ENAMETOOLONG"]);
const NEWLINE = 10;
/** How a line of ours begins: only those are cut away where a crash left them unfinished. */
const LINE_BEGIN = '{"time":"';
const TAIL_BYTES = 64 * 1024;

/** Throws LinesideError `config` where the file cannot be opened. */
export async function createTarget(options: FileOptions, context: AdapterContext): Promise<Target> {
  const target = new FileTarget(options, context.log);
  await target.begin();
  return target;
}

class FileTarget implements Target {
  readonly #options: FileOptions;
  readonly #log: Log;
  #file: FileHandle | null = null;
  #closed = false;
  #last: Promise<unknown> = Promise.resolve();

  constructor(options: FileOptions, log: Log) {
    this.#options = options;
    this.#log = log;
  }

  async begin(): Promise<void> {
    try {
      await this.#open();
    } catch (cause) {
      const code = codeOf(cause);
      if (CONFIG_FAULTS.has(code))
        throw new LinesideError("config", `file: path: cannot open ${this.#options.path} (${code})`, { cause });
      this.#log.warn({ path: this.#options.path, code }, "the file cannot be opened yet");
    }
  }

  /** One batch at a time: a second call waits for the first. */
  deliver(batch: Batch, signal: AbortSignal): Promise<Outcome> {
    const outcome = this.#last.then(() => this.#deliver(batch, signal));
    this.#last = outcome.catch(() => {});
    return outcome;
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#last;
    await this.#file?.close();
    this.#file = null;
  }

  async #deliver(batch: Batch, signal: AbortSignal): Promise<Outcome> {
    if (this.#closed || signal.aborted) return { kind: "retry", reason: "aborted" };
    const bytes = Buffer.from(jsonLines(batch));
    if (bytes.length === 0) return { kind: "delivered", rejected: 0 };
    let size = -1;
    try {
      const file = await this.#ready(bytes.length);
      size = (await file.stat()).size;
      await file.appendFile(bytes);
      await file.datasync();
      return { kind: "delivered", rejected: 0 };
    } catch (error) {
      await this.#abandon(size);
      const code = codeOf(error);
      const reason = code === "ENOSPC" || code === "EDQUOT" ? `disk full (${code})` : `${code}: ${messageOf(error)}`;
      return { kind: "retry", reason: `${this.#options.path}: ${reason}` };
    }
  }

  /** The file that `path` names now, with room for a batch. */
  async #ready(bytes: number): Promise<FileHandle> {
    const { path, rotate_bytes } = this.#options;
    let file = this.#file;
    if (file !== null && !(await isStill(file, path))) {
      this.#file = null;
      await file.close();
      file = null;
    }
    file ??= await this.#open();
    const { size } = await file.stat();
    if (size === 0 || size + bytes <= rotate_bytes) return file;
    this.#file = null;
    await file.close();
    await this.#rotate();
    return this.#open();
  }

  async #open(): Promise<FileHandle> {
    const { path } = this.#options;
    const file = await open(path, "a+");
    try {
      await mendEnd(file, this.#log, path);
      await syncDirectory(path);
    } catch (error) {
      await file.close();
      throw error;
    }
    this.#file = file;
    return file;
  }

  async #rotate(): Promise<void> {
    const { path, keep } = this.#options;
    if (keep === 0) return rm(path, { force: true });
    await rm(`${path}.${keep}`, { force: true });
    for (let index = keep - 1; index >= 1; index--) await renameIfThere(`${path}.${index}`, `${path}.${index + 1}`);
    await renameIfThere(path, `${path}.1`);
  }

  /** After a failure: takes back what the batch has written, and opens anew next time. */
  async #abandon(size: number): Promise<void> {
    const file = this.#file;
    this.#file = null;
    try {
      if (size >= 0) await file?.truncate(size);
    } catch (error) {
      this.#log.warn(
        { path: this.#options.path, code: codeOf(error) },
        "cannot take back an unfinished batch; its lines may come twice",
      );
    }
    await file?.close().catch(() => {});
  }
}

/** Whether `path` still names the open file (nobody renamed, replaced or removed it). */
async function isStill(file: FileHandle, path: string): Promise<boolean> {
  try {
    const [opened, named] = await Promise.all([file.stat(), stat(path)]);
    return opened.ino === named.ino && opened.dev === named.dev;
  } catch (error) {
    if (codeOf(error) === "ENOENT") return false;
    throw error;
  }
}

/** A crash may have left a line without its end: ours is cut away, anybody else's is ended. */
async function mendEnd(file: FileHandle, log: Log, path: string): Promise<void> {
  const { size } = await file.stat();
  let tail = Buffer.alloc(0);
  let begin = size;
  while (begin > 0 && tail.lastIndexOf(NEWLINE) < 0) {
    const length = Math.min(TAIL_BYTES, begin);
    begin -= length;
    const chunk = Buffer.alloc(length);
    await file.read(chunk, 0, length, begin);
    if (begin + length === size && chunk[length - 1] === NEWLINE) return;
    tail = Buffer.concat([chunk, tail]);
  }
  if (size === 0) return;
  const line_at = tail.lastIndexOf(NEWLINE) + 1;
  const rest = tail.toString("utf8", line_at, line_at + LINE_BEGIN.length);
  if (LINE_BEGIN.startsWith(rest)) {
    await file.truncate(begin + line_at);
    log.warn({ path, bytes: tail.length - line_at }, "removed an unfinished line from the end of the file");
  } else {
    await file.appendFile("\n");
  }
}

/** A new or renamed file is only there after a power cut when its directory was synced. */
async function syncDirectory(path: string): Promise<void> {
  const directory = await open(dirname(path), "r");
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

async function renameIfThere(from: string, to: string): Promise<void> {
  try {
    await rename(from, to);
  } catch (error) {
    if (codeOf(error) !== "ENOENT") throw error;
  }
}

const codeOf = (error: unknown): string => (error instanceof Error && "code" in error ? String(error.code) : "error");
const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
