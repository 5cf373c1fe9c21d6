import { expect, it } from "vitest";
import { filesSearch, linkTo, placeOf, withPlace } from "@/features/files/search";

it("restores both panes", () => {
  const search = filesSearch({
    origin_id: "one",
    origin_path: "/a/",
    origin_sort: "-size",
    origin_filter: 2026,
    origin_hidden: true,
    destination_id: "two",
    two_pane: false,
    unknown: "gone",
    destination_path: ["no text"],
  });
  expect(search).toEqual({
    origin_id: "one",
    origin_path: "/a/",
    origin_sort: "-size",
    origin_filter: "2026",
    origin_hidden: true,
    destination_id: "two",
    two_pane: false,
  });
  expect(placeOf(search, "origin")).toEqual({
    endpointId: "one",
    path: "/a/",
    sort: { column: "size", descending: true },
    filter: "2026",
    hidden: true,
  });
  expect(placeOf(search, "destination")).toEqual({
    endpointId: "two",
    path: null,
    sort: { column: "name", descending: false },
    filter: "",
    hidden: false,
  });
});

it("sorts by name when the address names no column that there is", () => {
  expect(placeOf(filesSearch({ origin_sort: "-colour" }), "origin").sort.column).toBe("name");
});

it("changes one pane, and leaves out what is as usual", () => {
  const search = { origin_id: "one", origin_path: "/a/", origin_filter: "x", destination_id: "two" };
  const changed = withPlace(search, "origin", { path: "/b/", filter: "" });
  expect(JSON.parse(JSON.stringify(changed))).toEqual({
    origin_id: "one",
    origin_path: "/b/",
    destination_id: "two",
  });
  const sorted = withPlace(search, "destination", { sort: { column: "modified", descending: true } });
  expect(sorted.destination_sort).toBe("-modified");
  expect(sorted.origin_filter).toBe("x");
});

it("links to a folder, whatever is in its name", () => {
  const link = new URL(linkTo("one", "/a b/ü&?#/"), "https://example.org");
  expect(filesSearch(Object.fromEntries(link.searchParams))).toEqual({
    origin_id: "one",
    origin_path: "/a b/ü&?#/",
  });
});
