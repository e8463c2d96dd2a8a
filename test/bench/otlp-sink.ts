/** A worker thread that takes OTLP over gRPC and HTTP and throws it away: the other end of the export rows. */
import http from "node:http";
import type { AddressInfo } from "node:net";
import { promisify } from "node:util";
import { parentPort } from "node:worker_threads";
import grpc from "@grpc/grpc-js";

const EMPTY = Buffer.alloc(0);
const web = http.createServer((request, response) => {
  request.resume().on("end", () => response.writeHead(200, { "content-length": 0 }).end());
});
await new Promise<void>((resolve) => web.listen(0, "127.0.0.1", resolve));

const server = new grpc.Server({ "grpc.max_receive_message_length": -1 });
const asIs = (bytes: Buffer): Buffer => bytes;
server.addService(
  {
    export: {
      path: "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
      requestStream: false,
      responseStream: false,
      requestSerialize: asIs,
      requestDeserialize: asIs,
      responseSerialize: asIs,
      responseDeserialize: asIs,
    },
  },
  { export: (_call: unknown, callback: grpc.sendUnaryData<Buffer>) => callback(null, EMPTY) },
);
const grpc_port = await promisify(server.bindAsync.bind(server))(
  "127.0.0.1:0",
  grpc.ServerCredentials.createInsecure(),
);
// oxlint-disable-next-line unicorn/require-post-message-target-origin -- a worker thread, not a window
parentPort?.postMessage({ grpc_port, http_port: (web.address() as AddressInfo).port });
