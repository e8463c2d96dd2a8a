/**
 * Devices made in code, for tests: what loading a profile makes, without files. Points get their
 * defaults from the schema, series from the points.
 */
import type { Device } from "#adapters/contract.ts";
import { type Protocol, protocols } from "#profiles/schema.ts";
import { type PointOf, seriesOf } from "#profiles/series.ts";
import type { z } from "zod";

type PointInput<P extends Protocol> = z.input<(typeof protocols)[P]["point"]>;

export interface DeviceGiven<P extends Protocol, Options> {
  readonly protocol: P;
  readonly id: string;
  readonly options: Options;
  /** As in YAML; `every` is a duration. */
  readonly points: readonly PointInput<P>[];
  /** Poll interval of points that have none, in milliseconds. Default: 1000. */
  readonly every_ms?: number;
}

export function makeDevice<P extends Protocol, Options>(given: DeviceGiven<P, Options>): Device<PointOf[P], Options> {
  const schema = protocols[given.protocol].point;
  const points = given.points.map((input) => {
    const parsed = schema.parse(input);
    // The schema of a protocol yields the point of that protocol; TypeScript does not carry the pair.
    return { ...parsed, every: parsed.every ?? given.every_ms ?? 1000 } as unknown as PointOf[P];
  });
  return {
    id: given.id,
    options: given.options,
    points,
    descriptor: {
      device: given.id,
      source: given.protocol,
      resource: { "service.name": "lineside", "device.id": given.id },
      scope: { name: `test/${given.protocol}`, version: "1" },
      series: points.map((point) => seriesOf(given.protocol, point)),
    },
  };
}
