/** Reads the files of a site and its profiles once each, and remembers which they were. */
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { type At, type Report, textFile } from "./report.ts";
import { type Data, type ParseOptions, parseYaml } from "./yaml.ts";

/** The profiles that come with Lineside. */
export const shippedProfiles: string = dirname(fileURLToPath(import.meta.url));

export interface FilesContext {
  readonly readFile: (path: string) => Promise<Uint8Array>;
  readonly report: Report;
}

export class Files {
  readonly #context: FilesContext;
  readonly #read = new Set<string>();

  constructor(context: FilesContext) {
    this.#context = context;
  }

  /** Every path that was read: what would change the outcome if it changed. */
  get paths(): readonly string[] {
    return [...this.#read];
  }

  /** The bytes of a file; null where there is none at this path. */
  async bytes(path: string): Promise<Uint8Array | null> {
    try {
      const bytes = await this.#context.readFile(path);
      this.#read.add(path);
      return bytes;
    } catch (error) {
      if (codeOf(error) === "ENOENT" || codeOf(error) === "ENOTDIR") return null;
      throw error;
    }
  }

  /** The data of a YAML file: null where there is none, undefined where it is unreadable (told). */
  async yaml(path: string, name: string, options?: ParseOptions): Promise<Data | null | undefined> {
    try {
      const bytes = await this.bytes(path);
      if (bytes === null) return null;
      const data = parseYaml(name, bytes, this.#context.report, options);
      return data === null ? undefined : data;
    } catch (error) {
      this.#context.report.fault(topOf(name), unreadable(error));
      return undefined;
    }
  }
}

export const topOf = (name: string): At => ({ file: textFile(name, ""), offset: 0 });

export const codeOf = (error: unknown): string =>
  typeof error === "object" && error !== null && "code" in error ? String(error.code) : "";

/** Why a file cannot be read, and what to do. */
export function unreadable(error: unknown): string {
  switch (codeOf(error)) {
    case "ENOENT":
    case "ENOTDIR":
      return "there is no such file";
    case "EISDIR":
      return "this is a folder, not a file";
    case "EACCES":
    case "EPERM":
      return "this file may not be read; check its owner and mode";
    default:
      if (codeOf(error) === "") throw error;
      return `this file cannot be read (${codeOf(error)})`;
  }
}
