import { describe, expect, it } from "vitest";
import { BY_NAME, type Entry, entryOf, shown, sumOf } from "@/features/files/listing";

function file(name: string, more: Partial<Entry> = {}): Entry {
  return { name, kind: "file", isLink: false, size: 0, modified: null, ...more };
}
const folder = (name: string) => file(name, { kind: "folder", size: 4096 });
const names = (entries: Entry[]) => entries.map((one) => one.name);

describe("the order", () => {
  const entries = [file("run 10"), file("run 9"), folder("z"), folder("a"), file("Éclair"), file("eclipse")];
  it("has folders first, and counts as people do", () => {
    expect(names(shown(entries, BY_NAME, "", true))).toEqual([
      "a",
      "z",
      "Éclair",
      "eclipse",
      "run 9",
      "run 10",
    ]);
  });
  it("is turned round for folders and files apart", () => {
    const sort = { column: "name", descending: true } as const;
    expect(names(shown(entries, sort, "", true))).toEqual(["z", "a", "run 10", "run 9", "eclipse", "Éclair"]);
  });
  it("by size leaves folders in the order of their names", () => {
    const sized = [folder("b"), folder("a"), file("small", { size: 1 }), file("big", { size: 9 })];
    const sort = { column: "size", descending: true } as const;
    expect(names(shown(sized, sort, "", true))).toEqual(["a", "b", "big", "small"]);
  });
  it("by time has what has none first", () => {
    const timed = [
      file("new", { modified: "2026-02-01 00:00:00+00:00" }),
      file("old", { modified: "2025-12-31 23:59:59+00:00" }),
      file("never"),
    ];
    const sort = { column: "modified", descending: false } as const;
    expect(names(shown(timed, sort, "", true))).toEqual(["never", "old", "new"]);
  });
  it("leaves what came from the server as it was", () => {
    const given = [file("b"), file("a")];
    shown(given, BY_NAME, "", true);
    expect(names(given)).toEqual(["b", "a"]);
  });
});

describe("what is shown", () => {
  const entries = [file(".profile"), file("Report.TXT"), file("data.csv"), file("data.csv.gz")];
  it.each([
    ["", ["data.csv", "data.csv.gz", "Report.TXT"]],
    ["txt", ["Report.TXT"]],
    ["*.csv", ["data.csv"]],
    ["data*", ["data.csv", "data.csv.gz"]],
    ["*a*.g?", ["data.csv.gz"]],
    ["????.csv", ["data.csv"]],
    ["report", ["Report.TXT"]],
    ["*", ["data.csv", "data.csv.gz", "Report.TXT"]],
    ["nothing", []],
    [" csv ", ["data.csv", "data.csv.gz"]],
  ])("with the filter %j", (filter, found) =>
    expect(names(shown(entries, BY_NAME, filter, false))).toEqual(found),
  );
  it("has hidden names when asked for", () => {
    expect(names(shown(entries, BY_NAME, "pro", true))).toEqual([".profile"]);
  });
});

it("a pattern that would make others slow is not", () => {
  const begun = performance.now();
  shown([file("a".repeat(255))], BY_NAME, "*a*a*a*a*a*a*a*a*a*a*b", true);
  expect(performance.now() - begun).toBeLessThan(1000);
});

it("counts folders, files, and the bytes of files", () => {
  expect(sumOf([folder("a"), file("b", { size: 3 }), file("c", { size: 4 })])).toEqual({
    folders: 1,
    files: 2,
    bytes: 7,
  });
});

it.each([
  ["dir", "folder"],
  ["file", "file"],
  ["other", "other"],
  ["invalid_symlink", "other"],
] as const)("what the API calls %s is a %s", (type, kind) => {
  expect(entryOf({ name: "x", type, size: 1, last_modified: null, link_target: "/y" })).toEqual({
    name: "x",
    kind,
    isLink: true,
    size: 1,
    modified: null,
  });
});
