/** What a site file says of an OTLP receiver. Defaults and names follow the OTLP exporter specification. */
import { duration } from "#profiles/schema.ts";
import { z } from "zod";

export const otlpOptions = z
  .strictObject({
    endpoint: z
      .string()
      .regex(/^https?:\/\/[^\s/]+/, "expected a URL such as https://otel.plant.example:4317")
      .describe("URL of the receiver; https means TLS. For HTTP, /v1/metrics and /v1/logs are appended."),
    protocol: z
      .enum(["grpc", "http/protobuf", "http/json"])
      .optional()
      .describe("Default: http/protobuf where the port is 4318, else grpc."),
    headers: z
      .record(z.string().regex(/^[A-Za-z0-9-_.]+$/), z.string())
      .default({})
      .describe("Sent with each request; tokens as ${env:NAME} or ${file:PATH}."),
    compression: z
      .enum(["gzip", "zstd", "none"])
      .default("gzip")
      .describe(
        "zstd costs half of gzip's CPU and packs tighter, but only some receivers take it (the OpenTelemetry Collector does), and over HTTP alone.",
      ),
    quality_attributes: z
      .boolean()
      .default(true)
      .describe(
        "Readings that are not good carry lineside.quality and lineside.quality_reason. false keeps a series' attributes the same whatever its quality (Prometheus): bad is then the flag alone.",
      ),
    timeout: duration.default(10_000).describe("Wait for an answer. Default: 10s."),
    tls: z
      .strictObject({
        ca: z
          .string()
          .optional()
          .describe("PEM file of the authority that signed the receiver's certificate. Default: the system's."),
        certificate: z.string().optional().describe("PEM file of our certificate (mTLS)."),
        private_key: z.string().optional().describe("PEM file of our private key (mTLS)."),
        server_name: z.string().optional().describe("Name to expect in the receiver's certificate."),
      })
      .default({}),
  })
  .superRefine(({ compression, protocol, endpoint }, context) => {
    if (compression === "zstd" && protocolOf(protocol, endpoint) === "grpc") {
      const message = "zstd needs protocol http/protobuf or http/json; gRPC has gzip or none";
      context.addIssue({ code: "custom", path: ["compression"], message });
    }
  });

/** The protocol that is spoken: OTLP/HTTP where the port is the one registered for it. */
export function protocolOf(
  stated: "grpc" | "http/protobuf" | "http/json" | undefined,
  endpoint: string,
): "grpc" | "http/protobuf" | "http/json" {
  return stated ?? (URL.parse(endpoint)?.port === "4318" ? "http/protobuf" : "grpc");
}

export type OtlpOptions = z.output<typeof otlpOptions>;
