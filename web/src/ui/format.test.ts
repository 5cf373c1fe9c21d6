import { describe, expect, it } from "vitest";
import { ago, bytes, duration, shortTime } from "@/ui/format";

describe("sizes", () => {
  it.each([
    [0, "0 B"],
    [1023, "1,023 B"],
    [1024, "1 KiB"],
    [1536, "1.5 KiB"],
    [5 * 1024 ** 3, "5 GiB"],
  ])("%d bytes are %s", (size, text) => expect(bytes(size)).toBe(text));
});

describe("durations", () => {
  it.each([
    [0.4, "0 s"],
    [59, "59 s"],
    [3600, "1 h"],
    [3905, "1 h 5 min"],
    [90_000, "1 d 1 h"],
  ])("%d s are %s", (seconds, text) => expect(duration(seconds)).toBe(text));
});

it("tells how long ago", () => {
  expect(ago("2026-01-01T00:00:00+00:00", Date.UTC(2026, 0, 1, 0, 5))).toBe("5 minutes ago");
});

it("tells the time of day of this year's times only", () => {
  const now = new Date("2026-06-01T00:00:00");
  expect(shortTime("2026-01-31 12:34:00", now)).toMatch(/^Jan 31, 12:34\sPM$/);
  expect(shortTime("2025-01-31 12:34:00", now)).toBe("Jan 31, 2025");
});
