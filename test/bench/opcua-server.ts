/** The server of the OPC UA bench, in a process of its own: `node opcua-server.ts ITEMS EVERY_MS`; says its port. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DataType, nodesets, OPCUACertificateManager, OPCUAServer } from "node-opcua";

const ITEMS = Number(process.argv[2]);
const EVERY_MS = Number(process.argv[3]);
const folder = mkdtempSync(join(tmpdir(), "lineside-bench-opcua-"));
const certificates = (name: string): OPCUACertificateManager =>
  new OPCUACertificateManager({
    rootFolder: join(folder, name),
    automaticallyAcceptUnknownCertificate: true,
    disableFileWatchers: true,
  });
const server = new OPCUAServer({
  port: 0,
  host: "127.0.0.1",
  nodeset_filename: [nodesets.standard],
  serverCertificateManager: certificates("server"),
  userCertificateManager: certificates("users"),
});
await server.initialize();
const space = server.engine.addressSpace;
if (!space) throw new Error("no address space");
const namespace = space.registerNamespace("urn:lineside:bench");
let value = 0;
const variables = Array.from({ length: ITEMS }, (_, item) =>
  namespace.addVariable({
    browseName: `item${item}`,
    nodeId: `i=${1000 + item}`,
    dataType: "Double",
    // Exception based: an item is sent when it was set, and costs the server no timer.
    minimumSamplingInterval: 0,
    organizedBy: space.rootFolder.objects,
  }),
);
setInterval(() => {
  value += 0.5;
  for (const variable of variables) variable.setValueFromSource({ dataType: DataType.Double, value });
}, EVERY_MS);
await server.start();
process.stdout.write(`${JSON.stringify({ port: server.endpoints[0]?.port })}\n`);
process.stdin.resume().on("end", () => {
  rmSync(folder, { recursive: true, force: true });
  process.exit(0);
});
