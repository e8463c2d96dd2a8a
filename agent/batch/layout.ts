/**
 * How readings lie in the journal: a payload is self-contained but for the descriptors that it names
 * by number, and those the journal keeps beside it.
 *
 *   payload   version u8 · codec u8 · 0 u16 · body length u32 · body (as it is, or zstd)
 *   body      block*
 *   block     REASON  class u8 · text                                  quality 1, 2, ... of this payload; 0 is good
 *             FRAME   descriptor · rows · flags u8 · time f64 · points · qualities · times · starts · values · texts
 *             EVENT   descriptor · JSON
 *             LOST    rows: readings that were lost before they reached the journal
 *
 * Numbers without a width are LEB128 varints, texts are a varint length and UTF-8, everything wider
 * is little-endian. A column that says nothing (all good, no times of the device's own) is left out.
 * Before the first column of eight bytes a row stand zeros, so that it begins at a multiple of eight in
 * the body: a reader looks at these columns where they are.
 */
export const VERSION = 1;
export const HEADER_BYTES = 8;

export const CODEC_PLAIN = 0;
export const CODEC_ZSTD = 1;

export const BLOCK_REASON = 1;
export const BLOCK_FRAME = 2;
export const BLOCK_EVENT = 3;
export const BLOCK_LOST = 4;

/** Points are first, first + 1, ...: only the first is written. Otherwise one varint each. */
export const POINTS_RUN = 1;
/** One quality for all rows. Without it and QUALITY_ROWS all rows are good. */
export const QUALITY_SAME = 2;
export const QUALITY_ROWS = 4;
/** A f64 a row: the device's own time. */
export const TIMES = 8;
/** A f64 a row: start of the sum, 0 where the row is no counter. */
export const STARTS = 16;
/** A text a row, its length plus one; 0 is no text. */
export const TEXTS = 32;
/** Eight bytes a row: f64 or i64, as the series says. Left out where no row has a value. */
export const VALUES = 64;

/** The bytes of a column of eight bytes a row begin at a multiple of this. */
export const COLUMN_ALIGNMENT = 8;

/** Bodies below this gain nothing from compression. */
export const COMPRESS_BYTES_MIN = 256;
/** Longest body that a reader takes: a bound against damaged lengths. */
export const BODY_BYTES_MAX = 64 * 1024 * 1024;
