import { expect, it } from "vitest";
import { waitMs } from "@/api/progress";

it("waits longer after each attempt in vain, within bounds, and not all at the same time", () => {
  expect([0, 1, 2, 3].map((attempts) => waitMs(attempts, 0))).toEqual([500, 1_000, 2_000, 4_000]);
  expect(waitMs(0, 1)).toBe(250);
  expect(waitMs(1_000_000, 0)).toBe(30_000);
});
