/**
 * YAML text to plain data that still knows where each of its parts stands, so that whatever is found
 * wrong with it later, also after merging it with other files, is told at its line and column.
 *
 *   bytes ─decode─▶ text ─parseDocument─▶ nodes ─convert─▶ data + origins (a side table by object)
 */
import {
  type Document,
  type Node,
  type Pair,
  type Scalar as YamlScalar,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  parseDocument,
  visit,
} from "yaml";
import { type At, type Report, type TextFile, textFile } from "./report.ts";

export type Scalar = string | number | boolean | null;
export type Data = Scalar | Data[] | DataMap;
export interface DataMap {
  [key: string]: Data;
}

/** Where one entry of a map or list was written. */
export interface Origin {
  /** The key; of a list's item, the item. */
  readonly key: At;
  readonly value: At;
  /** A scalar as it was written: `2.10` is the number 2.1, but as a version it is 2.10. */
  readonly text: string;
  /** Offset of the first character of the text itself, behind a quote; null where columns do not count through. */
  readonly inside: number | null;
  /** Filled in from the environment or a file: whether it is a number is for the field to say. */
  readonly substituted: boolean;
  /** What should have been filled in is missing, and told; what is made of it is of no interest. */
  readonly unresolved: boolean;
}

interface Origins {
  readonly self: At;
  readonly entries: Map<string, Origin>;
}

const origins = new WeakMap<object, Origins>();

/** Beyond it a site file is a mistake, or an attack. */
const BYTES_MAX = 4 * 1024 * 1024;
/** The parser recurses, and takes quadratic time on the way down. */
const DEPTH_MAX = 100;
/** Nodes after aliases are unfolded; a bomb of nested aliases ends here. */
const NODES_MAX = 200_000;
/** What the first error of a line drags after it helps nobody. */
const SYNTAX_FAULTS_MAX = 20;

export interface ParseOptions {
  /** Called for every text; what it returns stands in its place; null where nothing can (told by it). */
  readonly text?: (text: string, at: At, path: readonly string[]) => string | null;
}

/** The data of one YAML document; undefined where it cannot be read as such (told to `report`). */
export function parseYaml(
  name: string,
  bytes: Uint8Array,
  report: Report,
  options: ParseOptions = {},
): Data | undefined {
  const text = decode(name, bytes, report);
  if (text === undefined) return undefined;
  const file = textFile(name, text);
  const top = { file, offset: 0 };
  if (depthOf(text) > DEPTH_MAX) {
    report.fault(top, "this is nested too deeply to be read");
    return undefined;
  }
  const document = parseDocument(text, { prettyErrors: false, uniqueKeys: false, version: "1.2" });
  if (document.errors.length > 0) {
    let line = -1;
    let told = 0;
    for (const error of document.errors) {
      const at = { file, offset: openingOf(document, error.message, error.pos[0]) };
      const here = file.lines.findLastIndex((start) => start <= at.offset);
      if (here === line || told >= SYNTAX_FAULTS_MAX) continue;
      line = here;
      told += 1;
      report.fault(at, syntaxMessage(error.code, error.message, text, at.offset));
    }
    return undefined;
  }
  for (const { pos, message } of document.warnings) {
    report.fault(
      { file, offset: pos[0] },
      `${message.replace(/\.?$/, "")}; tags (!) have no meaning here, take it away`,
    );
  }
  if (document.contents === null) {
    report.fault(top, "this file is empty");
    return undefined;
  }
  const converter = new Converter(file, report, options);
  const data = converter.convert(document.contents, []);
  return converter.bombed ? undefined : data;
}

function decode(name: string, bytes: Uint8Array, report: Report): string | undefined {
  const top = { file: textFile(name, ""), offset: 0 };
  if (bytes.length > BYTES_MAX) {
    report.fault(top, `this file has ${bytes.length} bytes; at most ${BYTES_MAX} are read`);
    return undefined;
  }
  if ((bytes[0] === 0xff && bytes[1] === 0xfe) || (bytes[0] === 0xfe && bytes[1] === 0xff)) {
    report.fault(top, "this file is UTF-16; save it as UTF-8");
    return undefined;
  }
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    // Latin-1 umlauts and degree signs are the usual cause: show the first of them.
    const lossy = new TextDecoder("utf-8").decode(bytes);
    const offset = Math.max(0, lossy.indexOf("\ufffd"));
    report.fault({ file: textFile(name, lossy), offset }, "this is not UTF-8 from here on; save the file as UTF-8");
    return undefined;
  }
}

/** How deep brackets and dashes of one line go, at most; those in quotes count too, which does no harm. */
function depthOf(text: string): number {
  let depth = 0;
  let deepest = 0;
  for (const [sign] of text.matchAll(/[[{\]}]/g)) {
    depth += sign === "[" || sign === "{" ? 1 : depth > 0 ? -1 : 0;
    deepest = Math.max(deepest, depth);
  }
  return /(?:[-?] ){100}/.test(text) ? Infinity : deepest;
}

/** The parser tells where it noticed; what is not closed began somewhere else, and that is where to look. */
function openingOf(document: Document.Parsed, message: string, noticed: number): number {
  const quote = message.startsWith("Missing closing");
  const bracket = message.startsWith("Flow");
  let opening = noticed;
  visit(document, {
    Scalar: (_, node) => {
      if (quote && node.type?.startsWith("QUOTE") === true && node.range) opening = node.range[0];
    },
    Collection: (_, node) => {
      if (bracket && node.flow === true && node.range && node.range[0] < noticed && node.range[2] >= noticed)
        opening = node.range[0];
    },
  });
  return opening;
}

/** What people did, rather than what the parser met. */
function syntaxMessage(code: string, message: string, text: string, offset: number): string {
  const before = text.slice(text.lastIndexOf("\n", offset - 1) + 1, offset + 1);
  if (before.endsWith("${")) {
    return 'inside { } or [ ] a reference needs quotes: "${env:NAME}"';
  }
  switch (code) {
    case "TAB_AS_INDENT":
      return "a tab cannot indent; use blanks";
    case "BAD_INDENT":
      return message.startsWith("Flow")
        ? "this bracket is opened and not closed, or what is in it stands too far to the left"
        : `wrong indentation (${message})`;
    case "BLOCK_AS_IMPLICIT_KEY":
      return "wrong indentation, or a second ': ' in this line (a text that holds ': ' needs quotes)";
    case "MULTILINE_IMPLICIT_KEY":
    case "MISSING_CHAR":
      return message.startsWith("Missing closing")
        ? "a quote is opened and never closed"
        : "a key needs ': ' (colon and blank) after it, or the indentation is wrong";
    case "BAD_SCALAR_START":
      return `${message}; put the text in quotes`;
    case "BAD_DQ_ESCAPE":
      return `${message}; in double quotes a backslash is written \\\\, or use single quotes`;
    case "MULTIPLE_DOCS":
      return "a second document (---) starts here; a file holds one";
    default:
      return `this is not YAML: ${message}`;
  }
}

class Converter {
  readonly #file: TextFile;
  readonly #report: Report;
  readonly #options: ParseOptions;
  readonly #anchors = new Map<string, Node>();
  readonly #open = new Set<Node>();
  readonly #unresolved = new Set<Node>();
  #nodes = 0;
  bombed = false;

  constructor(file: TextFile, report: Report, options: ParseOptions) {
    this.#file = file;
    this.#report = report;
    this.#options = options;
  }

  convert(node: Node | null, path: readonly string[]): Data {
    if (node === null) return null;
    this.#nodes += 1;
    if (this.#nodes > NODES_MAX) {
      if (!this.bombed)
        this.#report.fault(this.#at(node), "aliases (*) unfold to more than any site needs; write it out");
      this.bombed = true;
      return null;
    }
    if (isAlias(node)) {
      const target = this.#anchors.get(node.source);
      if (target === undefined) {
        this.#report.fault(this.#at(node), `there is no anchor &${node.source} before this alias`);
        return null;
      }
      if (this.#open.has(target)) {
        this.#report.fault(this.#at(node), `alias *${node.source} stands inside its own anchor`);
        return null;
      }
      return this.convert(target, path);
    }
    if (node.anchor !== undefined && node.anchor !== "") this.#anchors.set(node.anchor, node);
    if (isScalar(node)) return this.#scalar(node, path);
    this.#open.add(node);
    try {
      if (isSeq(node)) return this.#list(node.items as (Node | null)[], this.#at(node), path);
      if (isMap(node)) return this.#map(node.items as Pair<Node, Node | null>[], this.#at(node), path);
    } finally {
      this.#open.delete(node);
    }
    return null;
  }

  #scalar(node: YamlScalar, path: readonly string[]): Scalar {
    const { value } = node;
    if (typeof value === "string") {
      if (this.#options.text === undefined) return value;
      const filled = this.#options.text(value, this.#at(node), path);
      if (filled === null) this.#unresolved.add(node);
      return filled ?? value;
    }
    // .nan is the sentinel nan; .inf and 1e999 are no numbers that a field could take.
    if (typeof value === "number" && !Number.isFinite(value)) return Number.isNaN(value) ? "nan" : (node.source ?? "");
    if (typeof value === "number" || typeof value === "boolean" || value === null) return value;
    this.#report.fault(this.#at(node), "expected a text, a number, true or false");
    return null;
  }

  #list(items: readonly (Node | null)[], self: At, path: readonly string[]): Data[] {
    const entries = new Map<string, Origin>();
    const list = items.map((item, index) => {
      const at = item === null ? self : this.#at(item);
      const data = this.convert(item, [...path, String(index)]);
      entries.set(String(index), this.#origin(at, item, data));
      return data;
    });
    origins.set(list, { self, entries });
    return list;
  }

  #map(pairs: readonly Pair<Node, Node | null>[], self: At, path: readonly string[]): DataMap {
    const entries = new Map<string, Origin>();
    const map: DataMap = {};
    const inherited: DataMap[] = [];
    for (const pair of pairs) {
      const at = this.#at(pair.key);
      if (!isScalar(pair.key)) {
        this.#report.fault(at, "a key must be a plain text");
        continue;
      }
      // As it was written: 0x10 and 1.0 are names here, not numbers.
      const key = pair.key.source ?? String(pair.key.value);
      if (key === "__proto__") {
        this.#report.fault(at, `unknown key '${key}'`);
        continue;
      }
      if (key === "<<" && pair.key.type === "PLAIN") {
        inherited.push(...this.#inherited(pair, path));
        continue;
      }
      const first = entries.get(key);
      if (first !== undefined) {
        const line = this.#file.lines.findLastIndex((start) => start <= first.key.offset) + 1;
        this.#report.fault(at, `key '${key}' stands here twice; the first is in line ${line}`);
        continue;
      }
      const data = this.convert(pair.value, [...path, key]);
      map[key] = data;
      entries.set(key, { ...this.#origin(pair.value === null ? at : this.#at(pair.value), pair.value, data), key: at });
    }
    for (const base of inherited) {
      for (const [key, data] of Object.entries(base)) {
        const origin = origins.get(base)?.entries.get(key);
        if (entries.has(key) || origin === undefined) continue;
        map[key] = data;
        entries.set(key, origin);
      }
    }
    origins.set(map, { self, entries });
    return map;
  }

  /** `<<: *base` or `<<: [*a, *b]`: entries that the map takes over where it has none of its own. */
  #inherited(pair: Pair<Node, Node | null>, path: readonly string[]): DataMap[] {
    const data = this.convert(pair.value, path);
    const maps = Array.isArray(data) ? data : [data];
    if (maps.every(isDataMap)) return maps;
    this.#report.fault(this.#at(pair.key), "'<<' takes a map, or a list of maps");
    return [];
  }

  #at(node: Node): At {
    return { file: this.#file, offset: node.range?.[0] ?? 0 };
  }

  #origin(value: At, node: Node | null, data: Data): Origin {
    const scalar = node !== null && isScalar(node) ? node : null;
    const text = scalar === null ? "" : (scalar.source ?? String(scalar.value));
    const substituted = scalar !== null && typeof scalar.value === "string" && scalar.value !== data;
    // Columns count through where each character stands for itself: no escape, no folded line.
    const written = scalar?.range ? scalar.range[1] - scalar.range[0] : -1;
    const quotes = written - text.length;
    const inside = text.includes("\n") || (quotes !== 0 && quotes !== 2) ? null : value.offset + quotes / 2;
    const unresolved = node !== null && this.#unresolved.has(node);
    return { key: value, value, text, inside, substituted, unresolved };
  }
}

export const isDataMap = (data: unknown): data is DataMap =>
  typeof data === "object" && data !== null && !Array.isArray(data);

/** Where a map or list begins. Of data that came from no file: the start of a file without a name. */
export function selfOf(container: object): At {
  return origins.get(container)?.self ?? NOWHERE;
}

export const hasOrigins = (container: object): boolean => origins.has(container);

/** Where an entry was written; undefined where the container has none of that name. */
export function originOf(container: object, key: string | number): Origin | undefined {
  return origins.get(container)?.entries.get(String(key));
}

/** The value at `key`, else the container itself. */
export const valueAt = (container: object, key: string | number): At =>
  originOf(container, key)?.value ?? selfOf(container);
/** The key itself, else the container. */
export const keyAt = (container: object, key: string | number): At =>
  originOf(container, key)?.key ?? selfOf(container);

/** Says where the entries of a map made from others came from: each entry from the last that has it. */
export function inheritOrigins<T extends object>(made: T, self: At, from: readonly object[]): T {
  const entries = new Map<string, Origin>();
  for (const container of from) {
    for (const [key, origin] of origins.get(container)?.entries ?? []) {
      if (Object.hasOwn(made, key)) entries.set(key, origin);
    }
  }
  origins.set(made, { self, entries });
  return made;
}

/** A list made from items of others, each with its own origin. */
export function listFrom(
  self: At,
  items: readonly { readonly data: Data; readonly origin: Origin | undefined }[],
): Data[] {
  const list = items.map(({ data }) => data);
  const entries = new Map<string, Origin>();
  items.forEach(({ origin }, index) => origin !== undefined && entries.set(String(index), origin));
  origins.set(list, { self, entries });
  return list;
}

const NOWHERE: At = { file: { name: "", lines: [0] }, offset: 0 };
