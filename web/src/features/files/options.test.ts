import i18next from "i18next";
import { describe, expect, it } from "vitest";
import type { Entry } from "@/features/files/listing";
import {
  documentOf,
  type Job,
  meetingOf,
  type Options,
  overlaps,
  sentences,
  USUAL,
  USUAL_SYNC,
} from "@/features/files/options";
import { addTexts } from "@/i18n";

const from = { endpointId: "here", name: "Instrument", path: "/data/" };
const to = { endpointId: "there", name: "Archive", path: "/keep/" };
const entry = (name: string, kind: Entry["kind"] = "file"): Entry => ({
  name,
  kind,
  isLink: false,
  size: 1,
  modified: null,
});
const files: Job = { from, to, entries: [entry("a.txt")] };
const trees: Job = { from, to, entries: [entry("run", "folder"), entry("pipe", "other")] };
const folders: Job = { from, to, entries: null };

await addTexts("files");

describe("the document", () => {
  it("has the paths of what is chosen, and verifies", () => {
    expect(documentOf(trees, USUAL, "id")).toEqual({
      DATA_TYPE: "transfer",
      submission_id: "id",
      source_endpoint: "here",
      destination_endpoint: "there",
      label: null,
      sync_level: null,
      delete_destination_extra: false,
      verify_checksum: true,
      encrypt_data: false,
      preserve_timestamp: false,
      skip_source_errors: false,
      fail_on_quota_errors: false,
      recursive_symlinks: "ignore",
      DATA: [
        {
          DATA_TYPE: "transfer_item",
          source_path: "/data/run/",
          destination_path: "/keep/run/",
          recursive: true,
        },
        { DATA_TYPE: "transfer_item", source_path: "/data/pipe", destination_path: "/keep/pipe" },
      ],
    });
  });
  it("takes a whole folder into the other", () => {
    expect(documentOf(folders, USUAL_SYNC, "id")).toMatchObject({
      sync_level: 1,
      DATA: [{ source_path: "/data/", destination_path: "/keep/", recursive: true }],
    });
  });
  it("has every option", () => {
    const options: Options = {
      label: " Tuesday ",
      sync: "0",
      deleteExtra: true,
      verify: false,
      encrypt: true,
      preserveTimes: true,
      skipSourceErrors: true,
      failOnQuota: true,
      links: "keep",
      algorithm: "SHA512",
      deadline: "2026-12-24T18:00",
      rules: [
        { method: "exclude", name: " *.tmp ", type: null },
        { method: "include", name: "x", type: "dir" },
        { method: "exclude", name: "  ", type: null },
      ],
    };
    expect(documentOf(folders, options, "id")).toMatchObject({
      label: "Tuesday",
      sync_level: 0,
      delete_destination_extra: true,
      verify_checksum: false,
      encrypt_data: true,
      preserve_timestamp: true,
      skip_source_errors: true,
      fail_on_quota_errors: true,
      recursive_symlinks: "keep",
      deadline: new Date("2026-12-24T18:00").toISOString(),
      filter_rules: [
        { DATA_TYPE: "filter_rule", method: "exclude", name: "*.tmp" },
        { DATA_TYPE: "filter_rule", method: "include", name: "x", type: "dir" },
      ],
      DATA: [{ checksum_algorithm: "SHA512" }],
    });
  });
  it("deletes nothing for files, whatever was ticked before", () => {
    expect(documentOf(files, { ...USUAL, deleteExtra: true }, "id").delete_destination_extra).toBe(false);
  });
});

function words(job: Job, options: Partial<Options>): string[] {
  const values = { from: from.name, to: to.name, fromPath: from.path, toPath: to.path };
  return sentences(job, { ...USUAL, ...options }).map(
    ({ key, kind }) => `${kind}: ${i18next.t(`say.${key}`, { ns: "files", ...values })}`,
  );
}

describe("the words", () => {
  it("of a plain transfer", () => {
    expect(words(files, {})).toEqual([
      "say: Copies everything to Archive, /keep/. Files of the same name there are overwritten.",
      "say: Verifies each file that is copied by its checksum.",
    ]);
  });
  it("of a mirror say what is deleted where", () => {
    expect(words(folders, { sync: "1", deleteExtra: true })).toEqual([
      "say: Copies what is new or different (by size) to Archive, /keep/.",
      "danger: Deletes what is in Archive, /keep/ and not in Instrument, /data/, when all has been copied." +
        " This cannot be undone.",
      "say: Verifies each file that is copied by its checksum.",
    ]);
  });
  it("of all there is, each option has its sentence", () => {
    const said = words(trees, {
      sync: "3",
      deleteExtra: true,
      verify: false,
      links: "copy",
      preserveTimes: true,
      encrypt: true,
      skipSourceErrors: true,
      rules: [{ method: "exclude", name: "x", type: null }],
    });
    expect(said).toHaveLength(9);
    expect(said.filter((one) => one.startsWith("warn"))).toHaveLength(2);
    expect(said.filter((one) => one.includes(": say."))).toEqual([]);
    expect(said[1]).toContain("these folders");
  });
  it("of filter rules for files warn that they mean nothing", () => {
    expect(words(files, { rules: [{ method: "exclude", name: "x", type: null }] })[1]).toMatch(/^warn/);
  });
});

describe("what is at both ends", () => {
  const here = [entry("a.txt"), entry("b")];
  const there = [entry("b"), entry("old"), entry("a.txt")];
  it("is told of chosen names", () => {
    expect(meetingOf(files, here, there)).toEqual({ same: ["a.txt"], extra: null });
  });
  it("is told of whole folders, with what is only there", () => {
    expect(meetingOf(folders, here, there)).toEqual({ same: ["a.txt", "b"], extra: ["old"] });
  });
  it("is not guessed", () => expect(meetingOf(folders, null, there).extra).toBeNull());
});

describe("one place", () => {
  const home = { ...to, endpointId: "here" };
  it.each([
    ["another server", { from, to: { ...to, path: "/data/" }, entries: [entry("a")] }, false],
    ["the same folder", { from, to: { ...home, path: "/data/" }, entries: [entry("a")] }, true],
    ["beside it", { from, to: home, entries: [entry("run", "folder")] }, false],
    ["into itself", { from, to: { ...home, path: "/data/run/x/" }, entries: [entry("run", "folder")] }, true],
    ["a whole folder into one in it", { from, to: { ...home, path: "/data/x/" }, entries: null }, true],
  ] as [string, Job, boolean][])("%s", (_, job, over) => expect(overlaps(job)).toBe(over));
});
