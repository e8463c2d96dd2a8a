/**
 * `${env:NAME}` and `${file:PATH}` in the texts of a site file, and the list of what must never be
 * shown. `$${` stands for a plain `${`.
 *
 *   text ─references─▶ environment, files ─▶ value ─▶ site
 *                                              └─▶ redact(): faults, logs, dumps
 */
import type { Files } from "#profiles/files.ts";
import { codeOf, unreadable } from "#profiles/files.ts";
import type { At, Report } from "#profiles/report.ts";
import { isAbsolute, join } from "node:path";

const REFERENCE = /\$\$\{|\$\{([^}]*)\}?/g;
const SECRET_NAME =
  /(?:^|[._-])(?:pass(?:word|wd|phrase)?|tokens?|secrets?|credentials?|api[_-]?keys?|access[_-]?keys?|authorization|cookie)$/i;
/** Fields whose values people must be able to read in a log; a reference there is for comfort, not for secrecy. */
const PLAIN_FIELDS: ReadonlySet<string> = new Set([
  "host",
  "port",
  "tcp_port",
  "unit",
  "id",
  "name",
  "description",
  "enterprise",
  "site",
  "area",
  "line",
  "cell",
  "endpoint",
  "path",
  "server_name",
  "level",
  "format",
  "model",
  "firmware",
  "profile",
  "limit",
  "ca",
  "certificate",
  "private_key",
]);
/** `user:password@` in a URL. */
const USERINFO = /^[a-z][a-z0-9+.-]*:\/\/[^\s/@:]*:([^\s/@]+)@/i;
const SECRET_BYTES_MAX = 64 * 1024;
/** A shorter one would tear holes into every log line. */
const REDACTED_MIN = 4;

export class Secrets {
  readonly #env: (name: string) => string | undefined;
  readonly #folder: string;
  readonly #values = new Set<string>();
  readonly #contents = new Map<string, string | Error>();
  #pattern: RegExp | null = null;

  constructor(env: (name: string) => string | undefined, folder: string) {
    this.#env = env;
    this.#folder = folder;
  }

  /** Reads the files that the text of a site file refers to, so that it can then be parsed in one go. */
  async readFiles(siteText: string, files: Files): Promise<void> {
    for (const [, reference = ""] of siteText.matchAll(REFERENCE)) {
      if (!reference.startsWith("file:")) continue;
      const path = reference.slice("file:".length);
      this.#contents.set(path, await readSecret(isAbsolute(path) ? path : join(this.#folder, path), files));
    }
  }

  /** The text with its references filled in; null where one cannot be (told). */
  fill(text: string, at: At, path: readonly string[], report: Report): string | null {
    const field = path.at(-1) ?? "";
    const secretField = SECRET_NAME.test(field);
    let referred = false;
    let failed = false;
    const filled = text.replace(REFERENCE, (whole, reference: string | undefined) => {
      if (reference === undefined) return "${";
      referred = true;
      const value = this.#value(whole, reference, at, report);
      if (value === null) {
        failed = true;
        return "";
      }
      if (secretField || !PLAIN_FIELDS.has(field) || SECRET_NAME.test(reference) || reference.startsWith("file:"))
        this.#hide(value, at, report);
      return value;
    });
    if (failed) return null;
    const userinfo = USERINFO.exec(filled)?.[1];
    if (userinfo !== undefined) this.#hide(userinfo, at, report);
    if (referred || filled === "") return filled;
    if (secretField || userinfo !== undefined) {
      this.#hide(filled, at, report);
      report.warn(at, `a secret stands here in clear; write \${env:NAME} or \${file:PATH}`);
    }
    return filled;
  }

  #value(whole: string, reference: string, at: At, report: Report): string | null {
    const [scheme = "", ...rest] = reference.split(":");
    const name = rest.join(":");
    if (!whole.endsWith("}")) {
      report.fault(at, "a reference is opened and never closed: ${env:NAME} or ${file:PATH}");
    } else if (scheme === "env" && /^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) {
      const value = this.#env(name);
      if (value !== undefined && value !== "") return value;
      report.fault(at, `environment variable ${name} is ${value === undefined ? "not set" : "empty"}`);
    } else if (scheme === "file" && name !== "") {
      const value = this.#contents.get(name);
      if (typeof value === "string") return value;
      report.fault(at, `secret file ${name}: ${value?.message ?? "it was not read"}`);
    } else {
      const guess = /^[A-Za-z_][A-Za-z0-9_]*$/.test(reference) ? `; did you mean \${env:${reference}}?` : "";
      report.fault(
        at,
        `'${whole}' is neither \${env:NAME} nor \${file:PATH}${guess || " (a plain ${ is written $${)"}`,
      );
    }
    return null;
  }

  #hide(value: string, at: At, report: Report): void {
    if (value.length < REDACTED_MIN) {
      report.warn(at, `a secret of fewer than ${REDACTED_MIN} characters cannot be kept out of logs`);
      return;
    }
    this.#values.add(value);
    this.#pattern = null;
  }

  /** `text` with every secret in it, also as a URL or JSON would write it, replaced by ***. */
  redact = (text: string): string => {
    if (this.#values.size === 0) return text;
    this.#pattern ??= patternOf(this.#values);
    return text.replace(this.#pattern, "***");
  };
}

function patternOf(values: ReadonlySet<string>): RegExp {
  const forms = [...values].flatMap((value) => [value, encodeURIComponent(value), JSON.stringify(value).slice(1, -1)]);
  const longestFirst = [...new Set(forms)].sort((a, b) => b.length - a.length);
  return new RegExp(longestFirst.map((form) => form.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&")).join("|"), "g");
}

async function readSecret(path: string, files: Files): Promise<string | Error> {
  try {
    const bytes = await files.bytes(path);
    if (bytes === null) return new Error("there is no such file");
    if (bytes.length > SECRET_BYTES_MAX) return new Error(`it is bigger than ${SECRET_BYTES_MAX} bytes`);
    const text = new TextDecoder("utf-8", { fatal: true }).decode(bytes).replace(/\r?\n$/, "");
    return text === "" ? new Error("it is empty") : text;
  } catch (error) {
    return new Error(
      error instanceof TypeError && codeOf(error) === "ERR_ENCODING_INVALID_ENCODED_DATA"
        ? "it is not UTF-8 text"
        : unreadable(error),
    );
  }
}
