/**
 * The 'Never' list of the design as a check of one source file: text in, faults out.
 *
 *   agent ──▶ adapters ──▶ firmware-profiles        an arrow means 'imports'; there is no other one
 *   agent ──▶ firmware-profiles
 *   agent ──▶ buffer
 *   test  ──▶ everything; files named *.test.ts ──▶ their own arrows and test
 *
 * Circles are oxlint's part (import/no-cycle), types are tsc's. The file is parsed, not searched: a
 * word in a comment, a string or a property name is no fault.
 */
import { posix } from "node:path";
import { type Node, type ParseResult, type Program, parseSync, visitorKeys } from "oxc-parser";

export interface Fault {
  readonly file: string;
  readonly line: number;
  readonly rule: string;
  readonly message: string;
}

type Room = "agent" | "adapters" | "buffer" | "firmware-profiles" | "test" | "deploy";

const ARROWS: Readonly<Record<Room, readonly Room[]>> = {
  agent: ["adapters", "firmware-profiles", "buffer"],
  adapters: ["firmware-profiles"],
  buffer: [],
  "firmware-profiles": [],
  deploy: [],
  test: ["agent", "adapters", "buffer", "firmware-profiles", "deploy"],
};

/** package.json's `imports`, by room. */
const ALIASES: Readonly<Record<string, Room>> = {
  "#agent": "agent",
  "#adapters": "adapters",
  "#buffer": "buffer",
  "#profiles": "firmware-profiles",
  "#test": "test",
};

/** Packages that only some production folders may import. Everything may be imported by tests. */
const PACKAGES: readonly { readonly name: RegExp; readonly only: readonly string[] }[] = [
  {
    name: /^(modbus-serial|serialport|@serialport\/.*|node-opcua(-.*)?|mqtt|protobufjs(\/.*)?|@grpc\/.*)$/,
    only: ["adapters/"],
  },
  { name: /^(level|classic-level|abstract-level|browser-level)$/, only: ["buffer/"] },
  { name: /^(commander|pino|pino-pretty)$/, only: ["agent/"] },
];

/** Where the process, its environment and its signals may be touched. */
const PROCESS_OWNERS = ["agent/main.ts", "agent/cli/"];
/** Where wall time and timers may be had. */
const TIME_OWNERS = ["agent/clock.ts"];

const PROCESS_MEMBERS = new Set(["exit", "exitCode", "reallyExit", "abort", "env", "kill", "argv", "chdir", "umask"]);
const PROCESS_EVENTS = new Set([
  "on",
  "once",
  "addListener",
  "prependListener",
  "off",
  "removeListener",
  "removeAllListeners",
]);
const TIME_PROCESS_MEMBERS = new Set(["hrtime", "uptime"]);
const TIMERS = new Set(["setTimeout", "setInterval", "setImmediate"]);
const TIMER_MODULES = /^(node:)?(timers|timers\/promises)$/;
const GLOBALS = new Set(["globalThis", "global"]);

function roomOf(path: string): Room | null {
  const [first = ""] = path.split("/");
  return first in ARROWS ? (first as Room) : null;
}

const within = (path: string, owners: readonly string[]): boolean =>
  owners.some((owner) => (owner.endsWith("/") ? path.startsWith(owner) : path === owner));

/** `adapters/sources/modbus` for what belongs to that adapter, else null. */
const adapterOf = (path: string): string | null => /^adapters\/(?:sources|targets)\/[^/]+/.exec(path)?.[0] ?? null;

/** The file or package that `request` means in `file`, as a path from the root where it is ours. */
function resolveRequest(file: string, request: string): { path: string } | { package: string } {
  if (request.startsWith(".")) return { path: posix.join(posix.dirname(file), request) };
  const [alias = "", ...rest] = request.split("/");
  const room = ALIASES[alias];
  return room === undefined ? { package: request } : { path: posix.join(room, ...rest) };
}

interface Import {
  readonly request: string | null;
  readonly offset: number;
  readonly bare: boolean;
  /** Names taken from the module; empty for all of it. */
  readonly names: readonly string[];
}

/** `require("...")`, also one that createRequire made. */
function requiresOf(program: Program): Import[] {
  const found: Import[] = [];
  walk(program, null, (node) => {
    if (node.type !== "CallExpression" || node.callee.type !== "Identifier" || node.callee.name !== "require") return;
    const [argument] = node.arguments;
    const literal = argument?.type === "Literal" && typeof argument.value === "string" ? argument.value : null;
    found.push({ request: literal, offset: node.start, bare: false, names: [] });
  });
  return found;
}

function importsOf(source: string, parsed: ParseResult): Import[] {
  const { staticImports, staticExports, dynamicImports } = parsed.module;
  const found: Import[] = staticImports.map((entry) => ({
    request: entry.moduleRequest.value,
    offset: entry.start,
    bare: entry.entries.length === 0 && /^import\s*["']/.test(source.slice(entry.start, entry.end)),
    names: entry.entries.map(({ importName }) => importName.name ?? "*"),
  }));
  for (const entry of staticExports.flatMap((statement) => statement.entries)) {
    if (entry.moduleRequest !== null)
      found.push({ request: entry.moduleRequest.value, offset: entry.start, bare: false, names: [] });
  }
  for (const entry of dynamicImports) {
    const text = source.slice(entry.moduleRequest.start, entry.moduleRequest.end);
    const literal = /^(["'`])([^$]*)\1$/s.exec(text)?.[2];
    found.push({ request: literal ?? null, offset: entry.start, bare: false, names: [] });
  }
  return found;
}

function checkImports(file: string, room: Room, isTest: boolean, imports: readonly Import[], report: Report): void {
  for (const { request, offset, bare, names } of imports) {
    if (request === null) {
      if (!isTest) report("import", offset, "an import whose file is computed cannot be checked: name it as a literal");
      continue;
    }
    const clock = /^(node:)?perf_hooks$/.test(request) && names.some((name) => name === "performance" || name === "*");
    if ((clock || TIMER_MODULES.test(request)) && !isTest && !within(file, TIME_OWNERS)) {
      report("time", offset, `${request}: wall time and timers come from the injected Clock alone`);
    }
    if (/^(node:)?process$/.test(request) && !isTest && !within(file, PROCESS_OWNERS)) {
      report("process", offset, `${request} belongs to ${PROCESS_OWNERS.join(" and ")}`);
    }
    const target = resolveRequest(file, request);
    if ("package" in target) {
      const rule = PACKAGES.find(({ name }) => name.test(target.package));
      if (rule !== undefined && !isTest && !within(file, rule.only)) {
        report("package", offset, `${target.package} may be imported in ${rule.only.join(", ")} only`);
      }
      continue;
    }
    if (bare && !isTest)
      report("side-effect", offset, `${request} is imported for its side effect: register explicitly`);
    const to = roomOf(target.path);
    if (to === null) {
      if (target.path === "package.json") continue; // Our own version.
      report("arrow", offset, `${request} is in none of the rooms`);
      continue;
    }
    if (to !== room) {
      if (request.startsWith("."))
        report("arrow", offset, `${request} crosses rooms: write #${to === "firmware-profiles" ? "profiles" : to}/...`);
      if (to === "test" && !isTest) report("test", offset, `production code imports ${request}`);
      else if (to !== "test" && !ARROWS[room].includes(to))
        report("arrow", offset, `${room} may not import ${to} (${request})`);
    } else if (!request.startsWith(".") && !isTest) {
      report("arrow", offset, `${request} is in the same room: write a relative path`);
    }
    if (!isTest && target.path.endsWith(".test.ts")) report("test", offset, `production code imports ${request}`);
    const adapter = adapterOf(file);
    if (adapter !== null && to === "adapters") {
      const sibling = adapterOf(target.path);
      if (sibling !== null && sibling !== adapter)
        report("sibling", offset, `${adapter} may not import its sibling ${sibling}`);
      if (target.path === "adapters/registry.ts")
        report("sibling", offset, `${adapter} may not import the registry that lists it`);
    }
  }
}

/** True where an identifier of this name stands for the global, not for a key or a member. */
function isReference(node: Node, parent: Node | null): boolean {
  if (parent === null) return true;
  switch (parent.type) {
    case "MemberExpression":
      return parent.object === node || parent.computed;
    case "Property":
      return parent.computed || parent.shorthand || parent.value === node;
    case "MethodDefinition":
    case "PropertyDefinition":
    case "TSPropertySignature":
    case "TSMethodSignature":
      return parent.computed && parent.key === node;
    default:
      return !parent.type.startsWith("TS") || parent.type === "TSAsExpression" || parent.type === "TSNonNullExpression";
  }
}

/** The member's name, where it is written out: `a.name` or `a["name"]`. */
function memberName(node: Node): string | null {
  if (node.type !== "MemberExpression") return null;
  if (!node.computed) return node.property.type === "Identifier" ? node.property.name : null;
  return node.property.type === "Literal" && typeof node.property.value === "string" ? node.property.value : null;
}

/** The global's name, also behind `globalThis`. */
function globalName(node: Node): string | null {
  if (node.type === "Identifier") return node.name;
  if (node.type === "MemberExpression" && node.object.type === "Identifier" && GLOBALS.has(node.object.name))
    return memberName(node);
  return null;
}

function checkProcess(node: Node, parent: Node | null, report: Report): void {
  if (
    node.type === "VariableDeclarator" &&
    node.id.type === "ObjectPattern" &&
    node.init !== null &&
    globalName(node.init) === "process"
  ) {
    report("process", node.start, "process is taken apart: its parts cannot be checked then");
  }
  if (node.type !== "MemberExpression" || globalName(node.object) !== "process") return;
  const name = memberName(node);
  if (name === null) report("process", node.start, "process[...] with a computed name cannot be checked");
  else if (PROCESS_MEMBERS.has(name))
    report("process", node.start, `process.${name} belongs to ${PROCESS_OWNERS.join(" and ")}`);
  else if (PROCESS_EVENTS.has(name) && parent?.type === "CallExpression") {
    report(
      "process",
      node.start,
      `process.${name}(...): signals and process events belong to ${PROCESS_OWNERS.join(" and ")}`,
    );
  }
}

function checkTime(node: Node, parent: Node | null, report: Report): void {
  const say = (what: string) =>
    report("time", node.start, `${what}: wall time and timers come from the injected Clock alone`);
  if (node.type === "Identifier" && TIMERS.has(node.name) && isReference(node, parent)) return say(node.name);
  if ((node.type === "NewExpression" || node.type === "CallExpression") && globalName(node.callee) === "Date") {
    if (node.type === "CallExpression" || node.arguments.length === 0)
      say(node.type === "CallExpression" ? "Date()" : "new Date()");
    return;
  }
  if (node.type !== "MemberExpression") return;
  const object = globalName(node.object);
  const name = memberName(node);
  if (object === "Date" && name === "now") say("Date.now");
  else if (object === "performance" && (name === "now" || name === "timeOrigin")) say(`performance.${name}`);
  else if (object === "process" && name !== null && TIME_PROCESS_MEMBERS.has(name)) say(`process.${name}`);
  else if (object === "AbortSignal" && name === "timeout") say("AbortSignal.timeout");
  else if (object !== null && GLOBALS.has(object) && name !== null && TIMERS.has(name)) say(`${object}.${name}`);
}

function checkBarrel(file: string, program: Program, report: Report): void {
  if (/(^|\/)index\.[cm]?[jt]s$/.test(file))
    report("barrel", 0, "an index file: import from the file that owns the name");
  const statements = program.body.filter((node) => node.type !== "ImportDeclaration");
  const again = statements.filter((node) => node.type === "ExportNamedDeclaration" && node.source !== null);
  if (again.length > 0 && again.length === statements.length) {
    report("barrel", again[0]?.start ?? 0, "a file of nothing but re-exports: import from the file that owns the name");
  }
  for (const node of statements) {
    if (node.type === "ExportAllDeclaration")
      report("barrel", node.start, "export *: name what is exported, where it is made");
  }
}

function checkComments(parsed: ParseResult, report: Report): void {
  for (const comment of parsed.comments) {
    const text = comment.value.trim();
    const word = /^@ts-(?:ignore|nocheck|expect-error)\b/.exec(text)?.[0];
    if (word === "@ts-expect-error" && /\w.*\w/.test(text.slice(word.length))) continue;
    if (word !== undefined)
      report("silenced", comment.start, `${word}: mend the type, or expect the error and say why`);
    if (/^(ox|es)lint-disable/.test(text) && !/ -- \S/.test(text)) {
      report("silenced", comment.start, "say why the rule is off, after ' -- '");
    }
  }
}

type Report = (rule: string, offset: number, message: string) => void;

function walk(node: Node, parent: Node | null, visit: (node: Node, parent: Node | null) => void): void {
  visit(node, parent);
  const record = node as unknown as Record<string, unknown>; // Children are found by visitorKeys, which TypeScript cannot follow.
  for (const key of visitorKeys[node.type] ?? []) {
    const child = record[key];
    for (const one of Array.isArray(child) ? child : [child]) {
      if (one !== null && typeof one === "object" && "type" in one) walk(one as Node, node, visit);
    }
  }
}

/** Checks one source file. `file` is its path from the root, with `/`. */
export function checkSource(file: string, source: string): Fault[] {
  const faults: Fault[] = [];
  const report: Report = (rule, offset, message) => {
    faults.push({ file, line: source.slice(0, offset).split("\n").length, rule, message });
  };
  const room = roomOf(file);
  if (room === null) return faults;
  const parsed = parseSync(file, source);
  for (const error of parsed.errors) report("syntax", error.labels[0]?.start ?? 0, error.message);
  const isTest = room === "test" || /\.test\.[cm]?[jt]s$/.test(file);

  checkComments(parsed, report);
  checkImports(file, room, isTest, [...importsOf(source, parsed), ...requiresOf(parsed.program)], report);
  if (!isTest) {
    checkBarrel(file, parsed.program, report);
    walk(parsed.program, null, (node, parent) => {
      if (!within(file, PROCESS_OWNERS)) checkProcess(node, parent, report);
      if (!within(file, TIME_OWNERS)) checkTime(node, parent, report);
    });
  }
  return faults;
}
