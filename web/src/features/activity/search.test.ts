import { describe, expect, it } from "vitest";
import { activitySearch, taskFilter, taskSearch } from "@/features/activity/search";

const ENDPOINT = "ddb59aef-6d04-11e5-ba46-22000b92c6ec";

describe("the address of the list", () => {
  it("keeps what it knows and drops the rest", () => {
    const whole = {
      tab: "failed",
      type: "DELETE",
      q: "night",
      from: "2026-01-01",
      to: "2026-01-31",
      endpoint: ENDPOINT,
    };
    expect(activitySearch(whole)).toEqual(whole);
    const wrong = {
      tab: "all",
      type: "MOVE",
      q: "",
      from: "yesterday",
      to: "2026-99-99",
      endpoint: "x",
      more: 1,
    };
    expect(activitySearch(wrong)).toEqual({});
    expect(activitySearch({ q: 2026 })).toEqual({ q: "2026" });
    expect(taskSearch({ tab: "events", errors: true, files: "skipped" })).toEqual({
      tab: "events",
      errors: true,
      files: "skipped",
    });
    expect(taskSearch({ tab: "overview", errors: "no", files: 1 })).toEqual({});
  });
});

describe("the filter", () => {
  it("has a clause for each", () => {
    expect(taskFilter({})).toBe("");
    expect(taskFilter({ tab: "attention", type: "TRANSFER", endpoint: ENDPOINT })).toBe(
      `status:ACTIVE,INACTIVE/type:TRANSFER/endpoint:${ENDPOINT}`,
    );
  });

  it("does not let a label's text be more than text", () => {
    expect(taskFilter({ q: "a/b, c*" })).toBe("label:~*a*b* c**");
    expect(taskFilter({ q: "!x" })).toBe("label:~*!x*");
  });

  it("takes whole days of the reader's zone", () => {
    const from = new Date(2026, 0, 31).toISOString().replace(".000", "");
    const to = new Date(2026, 0, 31, 23, 59, 59).toISOString().replace(".000", "");
    expect(taskFilter({ from: "2026-01-31", to: "2026-01-31" })).toBe(`request_time:${from},${to}`);
    expect(taskFilter({ to: "2026-01-31" })).toBe(`request_time:,${to}`);
  });
});
