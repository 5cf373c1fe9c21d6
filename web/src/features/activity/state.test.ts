import { describe, expect, it } from "vitest";
import type { LiveTask } from "@/api/taskMerge";
import {
  directoryOf,
  fraction,
  lastName,
  needsAttention,
  parseDetails,
  roughly,
  secondsLeft,
  stateOf,
  troubledEndpoint,
} from "@/features/activity/state";

const task = (more: Partial<LiveTask>) =>
  ({
    status: "ACTIVE",
    type: "TRANSFER",
    nice_status: "OK",
    nice_status_details: null,
    is_paused: false,
    fatal_error: null,
    subtasks_skipped_errors: 0,
    bytes_transferred: 0,
    files: 1,
    source_endpoint_id: "s",
    source_endpoint_display_name: "Source",
    destination_endpoint_id: "d",
    destination_endpoint_display_name: "Destination",
    ...more,
  }) as LiveTask;

describe("the state", () => {
  it.each<[string, Partial<LiveTask>, boolean]>([
    ["queued", { nice_status: "Queued" }, false],
    ["running", {}, false],
    ["paused", { nice_status: "PAUSED", is_paused: true }, true],
    ["held", { nice_status: "PAUSED_BY_ADMIN", is_paused: true }, true],
    ["suspended", { status: "INACTIVE", nice_status: "OWNER_SUSPENDED" }, true],
    ["credential", { status: "INACTIVE", nice_status: "NO_CREDENTIALS" }, true],
    ["waitingTask", { nice_status: "WAITING_FOR_TASK", nice_status_details: '{"state":"running"}' }, false],
    ["waitingTask", { nice_status: "WAITING_FOR_TASK", nice_status_details: '{"state":"paused"}' }, true],
    ["waitingServer", { nice_status: "CONNECT_FAILED", nice_status_details: '{"tried_next":"soon"}' }, true],
    ["retrying", { nice_status: "NO_SPACE_LEFT", nice_status_details: "{}" }, true],
    ["succeeded", { status: "SUCCEEDED", nice_status: null }, false],
    ["skipped", { status: "SUCCEEDED", nice_status: null, subtasks_skipped_errors: 2 }, false],
    ["failed", { status: "FAILED", fatal_error: { code: "FILE_NOT_FOUND", description: "" } }, false],
    ["cancelled", { status: "FAILED", fatal_error: { code: "CANCELED", description: "" } }, false],
    ["expired", { status: "FAILED", fatal_error: { code: "EXPIRED", description: "" } }, false],
  ])("%s: %j", (kind, more, attention) => {
    expect(stateOf(task(more)).kind).toBe(kind);
    expect(needsAttention(task(more))).toBe(attention);
  });

  it("is cancelling from the request to the end", () => {
    expect(stateOf(task({}), true).kind).toBe("cancelling");
    expect(stateOf(task({ status: "SUCCEEDED" }), true).kind).toBe("succeeded");
  });

  it("names the endpoint of the trouble", () => {
    expect(troubledEndpoint(task({}), { role: "destination" })).toEqual({ id: "d", name: "Destination" });
    expect(troubledEndpoint(task({}), { role: "source" })?.id).toBe("s");
    expect(troubledEndpoint(task({}), {})).toBeUndefined();
    expect(troubledEndpoint(task({ destination_endpoint_id: null }), {})?.id).toBe("s");
  });
});

it("reads details that are JSON and those that are text", () => {
  expect(parseDetails('{"error":"x"}')).toEqual({ error: "x" });
  expect(parseDetails("plain")).toEqual({ text: "plain" });
  expect(parseDetails("[1]")).toEqual({ text: "[1]" });
  expect(parseDetails(null)).toEqual({});
});

describe("how far it is", () => {
  it("is told only when all files are known", () => {
    const half = { bytes_transferred: 5, bytes_total: 10 };
    expect(fraction(task(half))).toBeNull();
    expect(fraction(task({ ...half, walked: true }))).toBe(0.5);
    expect(fraction(task({ files: 0 }))).toBeNull();
    expect(fraction(task({ files: 0, nice_status: "Queued" }))).toBe(0);
    expect(fraction(task({ ...half, status: "SUCCEEDED" }))).toBe(1);
    expect(fraction(task({ ...half, status: "FAILED" }))).toBe(0.5);
    expect(fraction(task({ walked: true, bytes_total: 4, bytes_transferred: 9 }))).toBe(1);
  });

  it("says how long only while bytes move", () => {
    const moving = { bytes_transferred: 50, bytes_total: 100, walked: true, bytes_per_second: 5 };
    expect(secondsLeft(task(moving))).toBe(10);
    expect(secondsLeft(task({ ...moving, bytes_per_second: 0 }))).toBeNull();
    expect(secondsLeft(task({ ...moving, walked: false }))).toBeNull();
    expect(secondsLeft(task({ ...moving, nice_status: "TIMEOUT" }))).toBeNull();
    expect(secondsLeft(task({ ...moving, bytes_total: 1e12, bytes_per_second: 1 }))).toBeNull();
  });

  it.each([
    [0, 10],
    [34, 40],
    [61, 120],
    [3_700, 3_900],
    [90_000, 90_000],
  ])("%d s are roughly %d s", (exact, rough) => expect(roughly(exact)).toBe(rough));
});

it("waits for its owner, too, who waits for a task that does not go on by itself", () => {
  const waiting = (state: string) =>
    task({ nice_status: "WAITING_FOR_TASK", nice_status_details: JSON.stringify({ state }) });
  expect(stateOf(waiting("running")).tone).toBe("note");
  expect(stateOf(waiting("inactive")).tone).toBe("warn");
});

it("finds directories and names in paths", () => {
  expect(directoryOf("/a/b/c.txt", false)).toBe("/a/b/");
  expect(directoryOf("/a/b", true)).toBe("/a/b");
  expect(directoryOf("c.txt", false)).toBe("/~/");
  expect(lastName("/a/b/")).toBe("b");
  expect(lastName("/")).toBe("/");
});
