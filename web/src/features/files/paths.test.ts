import { describe, expect, it } from "vitest";
import {
  above,
  completion,
  crumbs,
  folderOf,
  halves,
  inside,
  nameOf,
  wrongName,
} from "@/features/files/paths";

describe("what was typed becomes the path of a folder", () => {
  it.each([
    ["/data", "/data/"],
    ["/data//2026/./run/", "/data/2026/run/"],
    ["/data/2026/../2027", "/data/2027/"],
    ["/..", "/"],
    ["~", "/~/"],
    ["~/x", "/~/x/"],
    ["/~", "/~/"],
    ["/~/..", "/~/"],
    ["/~/a/../..", "/~/"],
    ["  /with blanks/ ", "/with blanks/"],
    ["", "/base/"],
    ["below", "/base/below/"],
    ["../beside", "/beside/"],
  ])("%j is %s", (typed, path) => expect(folderOf(typed, "/base/")).toBe(path));
});

describe("the folder above", () => {
  it("is a step less", () => expect(above("/a/b/")).toBe("/a/"));
  it("of the first one is the root", () => expect(above("/a/")).toBe("/"));
  it("of the root is none", () => expect(above("/")).toBeNull());
  it("of the home directory needs its real path", () => {
    expect(above("/~/")).toBeNull();
    expect(above("/~/", "/home/ada/")).toBe("/home/");
  });
  it("below home stays there", () => expect(above("/~/a/", "/home/ada/a/")).toBe("/~/"));
});

it("has a crumb for each folder on the way", () => {
  expect(crumbs("/a/b/").map((one) => one.path)).toEqual(["/", "/a/", "/a/b/"]);
  expect(crumbs("/~/a/")).toEqual([
    { name: "~", path: "/~/" },
    { name: "a", path: "/~/a/" },
  ]);
  expect(crumbs("/")).toEqual([{ name: "/", path: "/" }]);
});

it("names what is in a folder", () => {
  expect(inside("/a/", "b")).toBe("/a/b");
  expect(inside("/a/", "b", true)).toBe("/a/b/");
  expect(nameOf("/a/b/")).toBe("b");
  expect(nameOf("/")).toBe("");
});

it("fills in what names share", () => {
  expect(halves("/data/ru")).toEqual({ folder: "/data/", beginning: "ru" });
  expect(halves("ru")).toEqual({ folder: "", beginning: "ru" });
  expect(completion("ru", ["run 1", "run 2", "other"])).toBe("run ");
  expect(completion("ru", ["run"])).toBe("run");
  expect(completion("x", ["run"])).toBeNull();
});

it.each([
  ["ok.txt", null],
  ["", "empty"],
  ["a/b", "slash"],
  ["..", "dots"],
  ["a\nb", "line"],
  ["é".repeat(128), "long"],
  ["é".repeat(127), null],
])("the name %j: %s", (name, wrong) => expect(wrongName(name)).toBe(wrong));
