import { describe, expect, it } from "vitest";
import {
  all,
  chosenOf,
  move,
  NOTHING,
  none,
  pick,
  rowsOf,
  type Selection,
  toggle,
  typedTo,
} from "@/features/files/selection";

const rows = rowsOf(
  ["alpha", "bravo", "bread", "charlie", "delta"].map((name) => ({
    name,
    kind: "file" as const,
    isLink: false,
    size: 0,
    modified: null,
  })),
);
const chosen = (selection: Selection) => [...selection.chosen].sort();

describe("the mouse", () => {
  it("chooses one", () => {
    const picked = pick(rows, pick(rows, NOTHING, 0, {}), 2, {});
    expect(chosen(picked)).toEqual(["bread"]);
    expect(picked.focus).toBe("bread");
  });
  it("adds and takes away with control", () => {
    let picked = pick(rows, NOTHING, 0, {});
    picked = pick(rows, picked, 2, { keep: true });
    expect(chosen(picked)).toEqual(["alpha", "bread"]);
    expect(chosen(pick(rows, picked, 0, { keep: true }))).toEqual(["bread"]);
  });
  it("makes ranges with shift, from where the last one began", () => {
    let picked = pick(rows, NOTHING, 2, {});
    picked = pick(rows, picked, 4, { range: true });
    expect(chosen(picked)).toEqual(["bread", "charlie", "delta"]);
    picked = pick(rows, picked, 1, { range: true });
    expect(chosen(picked)).toEqual(["bravo", "bread"]);
  });
  it("adds a range with both", () => {
    let picked = pick(rows, NOTHING, 0, {});
    picked = pick(rows, picked, 2, { keep: true });
    picked = pick(rows, picked, 3, { keep: true, range: true });
    expect(chosen(picked)).toEqual(["alpha", "bread", "charlie"]);
  });
  it("beside the rows changes nothing", () => expect(pick(rows, NOTHING, 9, {})).toBe(NOTHING));
});

describe("the keyboard", () => {
  it("goes and chooses, not beyond the ends", () => {
    const moved = move(rows, NOTHING, 99, {});
    expect([moved.focus, chosen(moved)]).toEqual(["delta", ["delta"]]);
    expect(move(rows, moved, -5, {}).focus).toBe("alpha");
  });
  it("goes alone with control", () => {
    const moved = move(rows, pick(rows, NOTHING, 0, {}), 3, { keep: true });
    expect([moved.focus, chosen(moved)]).toEqual(["charlie", ["alpha"]]);
    expect(chosen(toggle(moved, "charlie"))).toEqual(["alpha", "charlie"]);
  });
  it("takes a range along with shift, and gives it back", () => {
    let moved = move(rows, NOTHING, 1, {});
    for (const to of [2, 3, 2]) moved = move(rows, moved, to, { range: true });
    expect(chosen(moved)).toEqual(["bravo", "bread"]);
  });
  it("has nowhere to go in an empty folder", () => expect(move(rowsOf([]), NOTHING, 0, {})).toBe(NOTHING));
});

it("chooses all, or none", () => {
  const every = all(rows, NOTHING);
  expect(every.chosen.size).toBe(5);
  expect(none(every).chosen.size).toBe(0);
});

it("acts on what is shown only", () => {
  const few = rowsOf(rows.entries.slice(0, 2));
  expect(chosenOf(few, all(rows, NOTHING)).map((one) => one.name)).toEqual(["alpha", "bravo"]);
});

describe("what is typed", () => {
  it.each([
    [0, "b", 1],
    [1, "b", 2],
    [2, "b", 1],
    [1, "br", 1],
    [1, "bre", 2],
    [1, "bb", 2],
    [4, "C", 3],
    [0, "x", -1],
  ])("from %d on %j goes to %d", (from, typed, to) => expect(typedTo(rows, from, typed)).toBe(to));
});
