import type { AdapterContext, Target } from "../../contract.ts";
import { type Received, type Stand, targetSuite } from "#test/contract/target.ts";
import { micros, numberOf, valueOf, valuesOf } from "#test/receiver/book.ts";
import { type KeptRequest, startReceiver } from "#test/receiver/receiver.ts";
import type { z } from "zod";
import { otlpOptions } from "./options.ts";
import { createTarget } from "./target.ts";

const TIMEOUT_MS = 400;
type Input = Partial<z.input<typeof otlpOptions>>;

for (const [name, given] of Object.entries({
  "otlp over gRPC": { protocol: "grpc" },
  "otlp over HTTP, protobuf": { protocol: "http/protobuf" },
  "otlp over HTTP, protobuf, uncompressed": { protocol: "http/protobuf", compression: "none" },
  "otlp over HTTP, JSON": { protocol: "http/json", compression: "zstd" },
} satisfies Record<string, Input>)) {
  targetSuite(name, { timeout_ms: TIMEOUT_MS, open: (context) => open(given, context) });
}

async function open(given: Input, context: AdapterContext): Promise<Stand> {
  const receiver = await startReceiver({ requests_kept: 100 });
  const endpoint = given.protocol === "grpc" ? receiver.grpc_endpoint : receiver.http_endpoint;
  const options = otlpOptions.parse({ endpoint, timeout: `${TIMEOUT_MS}ms`, ...given });
  const target: Target = await createTarget(options, context);
  return {
    target,
    received: () =>
      Promise.resolve(receiver.requests().flatMap((request) => (request.accepted ? recordsOf(request) : []))),
    refuse: () => receiver.behave({ kind: "refused" }),
    // Over gRPC as RetryInfo, over HTTP as Retry-After.
    postpone: (wait_ms) => receiver.behave({ kind: "throttled", retry_after: wait_ms / 1000 }),
    tooLarge: () => receiver.behave({ kind: "too_large" }),
    silence: () => receiver.behave({ kind: "silent" }),
    heal: () => receiver.behave(null),
    lose: () => receiver.setOutage(true),
    regain: () => receiver.setOutage(false),
    stop: () => receiver.stop(),
  };
}

function recordsOf({ body }: KeptRequest): Received[] {
  const points = (body.resourceMetrics ?? []).flatMap(({ resource, scopeMetrics }) =>
    (scopeMetrics ?? []).flatMap(({ metrics }) =>
      (metrics ?? []).flatMap(({ name = "", gauge, sum }) =>
        ((gauge ?? sum)?.dataPoints ?? []).map((point): Received => {
          const without = ((point.flags ?? 0) & 1) === 1;
          const time_us = micros(point.timeUnixNano);
          return {
            device: deviceOf(resource),
            name,
            time_us,
            value: without ? null : numberOf(point),
            ...qualityOf(point),
          };
        }),
      ),
    ),
  );
  const logs = (body.resourceLogs ?? []).flatMap(({ resource, scopeLogs }) =>
    (scopeLogs ?? []).flatMap(({ logRecords }) =>
      (logRecords ?? []).map((record): Received => {
        const value = valueOf(record.body);
        return {
          device: deviceOf(resource),
          name: record.eventName ?? "",
          time_us: micros(record.timeUnixNano),
          value: typeof value === "string" ? value : null,
          ...qualityOf(record),
        };
      }),
    ),
  );
  return [...points, ...logs];
}

type Attributed = { readonly attributes?: Parameters<typeof valuesOf>[0] };
const deviceOf = (resource: Attributed | undefined): string => String(valuesOf(resource?.attributes)["device.id"]);

function qualityOf({ attributes }: Attributed): Pick<Received, "quality" | "reason"> {
  const { "lineside.quality": quality = "good", "lineside.quality_reason": reason = "" } = valuesOf(attributes);
  return { quality: quality === "bad" || quality === "uncertain" ? quality : "good", reason: String(reason) };
}
