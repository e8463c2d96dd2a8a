import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { row } from "./bench/stage.ts";
import { median, summarize, table } from "./bench/summary.ts";

describe("bench", () => {
  test("median of odd and even counts", () => {
    assert.deepEqual([median([3, 1, 2]), median([4, 1, 3, 2]), median([7])], [2, 2.5, 7]);
  });

  test("takes ratios within each repeat, not of the medians", () => {
    // The second repeat ran on a machine half as fast: its ratio is the same, its value is not.
    const repeats = [
      { rows: [row("decode", 10, "ns/point", 5)], rss_mb: 50 },
      { rows: [row("decode", 20, "ns/point", 10)], rss_mb: 60 },
      { rows: [row("decode", 12, "ns/point", 4)], rss_mb: 55 },
    ];
    const [decode, rss] = summarize(repeats);
    assert.deepEqual(decode, { name: "decode", unit: "ns/point", value: 12, min: 10, max: 20, floor: 5, ratio: 2 });
    assert.deepEqual([rss?.value, rss?.min, rss?.max, rss?.floor], [55, 50, 60, null]);
  });

  test("prints a Markdown table with short figures", () => {
    const text = table("otlp", summarize([{ rows: [row("encode", 1234567.8, "points/s", 0.0123456)], rss_mb: 61.27 }]));
    const [head, rule, first, second] = text.split("\n");
    assert.match(head ?? "", /^\| otlp +\| +median \| +min\.\.max \| +floor \| +ratio \| unit +\|$/);
    assert.match(rule ?? "", /^\|-+\|-+:\|-+:\|-+:\|-+:\|-+\|$/);
    assert.match(
      first ?? "",
      /^\| encode +\| 1,234,568 \| 1,234,568\.\.1,234,568 \| 0\.0123 \| \d+\.\d\d \| points\/s \|$/,
    );
    assert.match(second ?? "", /\| +61\.3 \| +61\.3\.\.61\.3 \| +- \| +- \| MB +\|$/);
  });
});
