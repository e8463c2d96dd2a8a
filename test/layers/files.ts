/** What holds for the repository's files as text, whatever their language. */
import { existsSync, globSync, readFileSync, readdirSync } from "node:fs";
import { extname, join } from "node:path";
import { type Fault, checkSource } from "./rules.ts";

/** Folders that are made, not written. */
const MADE = new Set(["node_modules", ".git", ".cache", ".bench", ".lineside", "dist", "coverage", "__pycache__"]);
const CODE = new Set([".ts", ".mts", ".cts", ".js", ".mjs", ".cjs"]);
const TEXT = new Set([
  ...CODE,
  ".json",
  ".jsonc",
  ".md",
  ".yaml",
  ".yml",
  ".py",
  ".sh",
  ".txt",
  ".service",
  ".toml",
  ".proto",
  "",
]);

/** Put together here, so that this file does not name them itself. */
const HOSTS = [
  ["registry", "npmjs"],
  ["registry", "yarnpkg"],
  ["npmmirror", "com"],
  ["files", "pythonhosted"],
  ["pypi", "org"],
  ["index", "crates"],
  ["proxy", "golang"],
  ["deb", "debian"],
  ["repo1", "maven"],
].map((labels) => labels.join("."));

/** Every file of the repository, as paths from `root` with `/`. */
export function filesOf(root: string): string[] {
  const found: string[] = [];
  const visit = (folder: string): void => {
    for (const entry of readdirSync(join(root, folder), { withFileTypes: true })) {
      const path = folder === "" ? entry.name : `${folder}/${entry.name}`;
      if (entry.isDirectory() && !MADE.has(entry.name)) visit(path);
      else if (entry.isFile() && path !== ".git") found.push(path);
    }
  };
  visit("");
  return found.toSorted();
}

/** What must not stand in any text of ours. */
export function checkText(file: string, text: string): Fault[] {
  const faults: Fault[] = [];
  text.split("\n").forEach((content, index) => {
    const report = (rule: string, message: string) => faults.push({ file, line: index + 1, rule, message });
    for (const host of HOSTS)
      if (content.includes(host)) report("host", `${host}: name no registry's host, a mirror must serve too`);
    if (file === "package-lock.json" && /"resolved": /.test(content))
      report("lockfile", "a resolved URL: npm install with this folder's .npmrc leaves it out");
    if (/^(<{7}|>{7}) /.test(content)) report("merge", "a conflict marker");
  });
  return faults;
}

/** Every adapter says what it does, its options, its faults, its limits and how it was proven. */
function checkAdapters(root: string): Fault[] {
  return globSync("adapters/{sources,targets}/*/", { cwd: root })
    .filter((folder) => !existsSync(join(root, folder, "README.md")))
    .map((folder) => ({ file: folder, line: 1, rule: "readme", message: "an adapter without a README.md" }));
}

/** All faults of the repository at `root`, and how many files were looked at. */
export function checkRepository(root: string): { readonly faults: Fault[]; readonly sources: number } {
  const faults = checkAdapters(root);
  let sources = 0;
  for (const file of filesOf(root)) {
    if (!TEXT.has(extname(file))) continue;
    const text = readFileSync(join(root, file), "utf8");
    faults.push(...checkText(file, text));
    if (!CODE.has(extname(file))) continue;
    sources++;
    faults.push(...checkSource(file, text));
  }
  return { faults, sources };
}
