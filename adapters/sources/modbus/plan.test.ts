import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { modbusPoint, type ModbusPoint } from "#profiles/schema.ts";
import { LinesideError } from "../../contract.ts";
import { type Limits, limitsOf, planReads, type Read, splitRead } from "./plan.ts";
import { spanOf } from "./types.ts";

function point(given: Record<string, unknown>, index = 0): ModbusPoint {
  return { ...modbusPoint.parse({ name: `p${index}`, ...given }), every: 1000 };
}

const plan = (given: readonly Record<string, unknown>[], limits: Partial<Limits> = {}): readonly Read[] => {
  const points = given.map(point);
  return planReads(points, points.keys(), limitsOf(limits));
};

const shape = (reads: readonly Read[]) => reads.map((read) => [read.function_code, read.address, read.count]);

describe("plan", () => {
  test("neighbours share a read, small holes are read along", () => {
    assert.deepEqual(shape(plan([{ address: 0 }, { address: 17, type: "f32" }])), [[3, 0, 19]]);
    assert.deepEqual(shape(plan([{ address: 0 }, { address: 18 }])), [
      [3, 0, 1],
      [3, 18, 1],
    ]);
  });
  test("areas are read apart, coils count bits", () => {
    const reads = plan([
      { address: 0 },
      { address: 0, area: "input" },
      { address: 5, area: "coil", type: "bool" },
      { address: 200, area: "coil", type: "bool" },
      { address: 3, area: "discrete", type: "bool" },
    ]);
    assert.deepEqual(shape(reads), [
      [3, 0, 1],
      [4, 0, 1],
      [1, 5, 196],
      [2, 3, 1],
    ]);
  });
  test("a value is never parted, nor from its scale register", () => {
    assert.deepEqual(shape(plan([{ address: 0 }, { address: 9, type: "f32" }], { registers_max: 10 })), [
      [3, 0, 1],
      [3, 9, 2],
    ]);
    const reads = plan([{ address: 2, scale_register: 40 }, { address: 39 }], { gap_registers_max: 0 });
    assert.deepEqual(shape(reads), [[3, 2, 39]]);
  });
  test("forbidden ranges part reads", () => {
    assert.deepEqual(shape(plan([{ address: 0 }, { address: 4 }], { forbidden: [[2, 3]] })), [
      [3, 0, 1],
      [3, 4, 1],
    ]);
  });
  test("a read-alone range is one block of exactly its length", () => {
    const reads = plan(
      [
        { address: 64001 },
        { address: 64002, type: "string", length: 10, kind: "text" },
        { address: 64000 },
        { address: 64028 },
      ],
      { alone: [[64001, 64027]], registers_max: 20 },
    );
    assert.deepEqual(shape(reads), [
      [3, 64000, 1],
      [3, 64001, 27],
      [3, 64028, 1],
    ]);
  });
  test("among plans of fewest reads, the one that reads least", () => {
    // Taking 14 along with 0-5 would also be two reads, and eight registers more.
    const given = [0, 1, 2, 3, 4, 5, 14, 16, 17, 18, 19, 20].map((address) => ({ address }));
    assert.deepEqual(shape(plan(given, { registers_max: 15 })), [
      [3, 0, 6],
      [3, 14, 7],
    ]);
  });
  test("what no read can serve is a fault of the configuration that names the point", () => {
    const fails = (given: Record<string, unknown>, limits: Partial<Limits>, message: RegExp) =>
      assert.throws(
        () => plan([given], limits),
        (error) => error instanceof LinesideError && error.code === "config" && message.test(error.message),
      );
    fails({ name: "energy", address: 0, type: "f64" }, { registers_max: 2 }, /energy.*4 registers.*2/);
    fails({ name: "id", address: 5 }, { forbidden: [[5, 6]] }, /id.*forbidden/);
    fails({ name: "id", address: 4, type: "u32" }, { alone: [[5, 6]] }, /id.*alone/);
    fails({ name: "far", address: 65535, type: "u32" }, {}, /far.*65535/);
    fails({ name: "text", address: 0, type: "string" }, {}, /text.*length/);
    fails({ name: "flag", address: 0, type: "f32", bits: { shift: 0, width: 1 } }, {}, /flag.*bits/);
  });
  test("reads are frozen", () => {
    const [read] = plan([{ address: 0 }]);
    assert.ok(read && Object.isFrozen(read) && Object.isFrozen(read.points));
  });
});

describe("split", () => {
  test("at the widest hole first, then in the middle, down to a point", () => {
    const points = [0, 1, 2, 9].map((address, i) => point({ address }, i));
    const [read] = planReads(points, points.keys(), limitsOf({}));
    assert.ok(read);
    const halves = splitRead(points, read);
    assert.deepEqual(halves && shape(halves), [
      [3, 0, 3],
      [3, 9, 1],
    ]);
    const quarters = halves && splitRead(points, halves[0]);
    assert.deepEqual(quarters && shape(quarters), [
      [3, 0, 1],
      [3, 1, 2],
    ]);
    assert.equal(halves && splitRead(points, halves[1]), null);
  });
  test("bits of one register and exact blocks stay together", () => {
    const points = [0, 1].map((shift, i) => point({ address: 7, type: "bool", bits: { shift, width: 1 } }, i));
    const [read] = planReads(points, points.keys(), limitsOf({}));
    assert.equal(read && splitRead(points, read), null);
    const [block] = planReads([point({ address: 1 }), point({ address: 2 })], [0, 1], limitsOf({ alone: [[1, 3]] }));
    assert.equal(block && splitRead(points, block), null);
  });
});

// --- Properties ---------------------------------------------------------------------------------

const types = fc.constantFrom("u16", "u32", "f32", "f64", "u64");
const small = fc.record({
  points: fc.array(
    fc.record({ address: fc.nat(40), type: types, reach: fc.option(fc.integer({ min: -6, max: 6 }), { nil: null }) }),
    { minLength: 1, maxLength: 6 },
  ),
  registers_max: fc.integer({ min: 12, max: 24 }),
  gap_registers_max: fc.nat(8),
  forbidden: fc.array(fc.tuple(fc.nat(46), fc.nat(2)), { maxLength: 2 }),
});

/** Points that no forbidden range touches, and the limits. */
function build(given: typeof small extends fc.Arbitrary<infer T> ? T : never): {
  points: ModbusPoint[];
  limits: Limits;
} {
  const forbidden = given.forbidden.map(([first, more]) => [first, first + more] as const);
  const points = given.points
    .map(({ address, type, reach }, i) =>
      point(
        { address, type, ...(reach === null || address + reach < 0 ? {} : { scale_register: address + reach }) },
        i,
      ),
    )
    .filter((p) => {
      const span = spanOf(p);
      return !forbidden.some(([first, last]) => span.first <= last && span.last >= first);
    });
  return { points, limits: limitsOf({ ...given, forbidden }) };
}

/** Whether these points may share a read, by the rules and not by the planner. */
function mayShare(points: readonly ModbusPoint[], limits: Limits): boolean {
  const used = new Set<number>();
  for (const p of points) {
    const { first, last } = spanOf(p);
    for (let register = first; register <= last; register += 1) used.add(register);
  }
  const first = Math.min(...used);
  const last = Math.max(...used);
  if (last - first + 1 > limits.registers_max) return false;
  let hole = 0;
  for (let register = first; register <= last; register += 1) {
    if (limits.forbidden.some(([from, to]) => register >= from && register <= to)) return false;
    hole = used.has(register) ? 0 : hole + 1;
    if (hole > limits.gap_registers_max) return false;
  }
  return true;
}

/** The fewest reads of all ways to share them out. */
function bruteForce(points: readonly ModbusPoint[], limits: Limits): number {
  let best = points.length;
  const place = (i: number, groups: ModbusPoint[][]): void => {
    if (groups.length >= best && i < points.length) return;
    const next = points[i];
    if (next === undefined) {
      if (groups.every((group) => mayShare(group, limits))) best = Math.min(best, groups.length);
      return;
    }
    for (const group of groups) {
      group.push(next);
      place(i + 1, groups);
      group.pop();
    }
    place(i + 1, [...groups, [next]]);
  };
  place(0, []);
  return best;
}

function checkReads(points: readonly ModbusPoint[], reads: readonly Read[], limits: Limits): void {
  const seen = reads.flatMap((read) => read.points).toSorted((a, b) => a - b);
  assert.deepEqual(seen, [...points.keys()], "each point in exactly one read");
  for (const read of reads) {
    const inside = read.points.flatMap((index) => points[index] ?? []);
    const last = read.address + read.count - 1;
    assert.ok(read.count <= limits.registers_max);
    assert.ok(
      inside.every((p) => spanOf(p).first >= read.address && spanOf(p).last <= last),
      "values are not parted",
    );
    assert.ok(mayShare(inside, limits), "rules are kept");
    assert.equal(Math.min(...inside.map((p) => spanOf(p).first)), read.address, "nothing needless before");
    assert.equal(Math.max(...inside.map((p) => spanOf(p).last)), last, "nothing needless after");
  }
}

describe("properties", () => {
  test("every point once, within the limits, and as few reads as brute force finds", () => {
    fc.assert(
      fc.property(small, (given) => {
        const { points, limits } = build(given);
        const reads = planReads(points, points.keys(), limits);
        checkReads(points, reads, limits);
        assert.equal(reads.length, bruteForce(points, limits));
      }),
      { numRuns: 1000 },
    );
  });
  test("the same for hundreds of points", () => {
    const many = fc.record({
      points: fc.array(fc.record({ address: fc.nat(2000), type: types, reach: fc.constant(null) }), {
        minLength: 1,
        maxLength: 300,
      }),
      registers_max: fc.integer({ min: 8, max: 125 }),
      gap_registers_max: fc.nat(40),
      forbidden: fc.array(fc.tuple(fc.nat(2000), fc.nat(20)), { maxLength: 6 }),
    });
    fc.assert(
      fc.property(many, (given) => {
        const { points, limits } = build(given);
        checkReads(points, planReads(points, points.keys(), limits), limits);
      }),
      { numRuns: 60 },
    );
  });
  test("splitting again and again keeps every point", () => {
    fc.assert(
      fc.property(small, (given) => {
        const { points, limits } = build(given);
        for (const read of planReads(points, points.keys(), limits)) {
          const leaves: Read[] = [];
          const part = (of: Read): void => {
            const halves = splitRead(points, of);
            if (halves === null) leaves.push(of);
            else for (const half of halves) part(half);
          };
          part(read);
          assert.deepEqual(new Set(leaves.flatMap((leaf) => leaf.points)), new Set(read.points));
        }
      }),
      { numRuns: 200 },
    );
  });
});
