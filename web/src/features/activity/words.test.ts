import { describe, expect, it } from "vitest";
import type { LiveTask } from "@/api/taskMerge";
import type { FinishedFile } from "@/api/tasks";
import { algorithmsOf, evidenceOf, optionsOf, tellingOf } from "@/features/activity/words";
import activity from "@/i18n/en/activity.json";
import schema from "../../../../docs/reference/openapi.json";

const task = (more: Partial<LiveTask>) =>
  ({
    type: "TRANSFER",
    status: "SUCCEEDED",
    sync_level: null,
    verify_checksum: true,
    recursive_symlinks: "ignore",
    files_transferred: 3,
    bytes_transferred: 30,
    bytes_checksummed: 30,
    ...more,
  }) as LiveTask;

describe("options", () => {
  it("of a plain transfer", () => expect(optionsOf(task({}))).toEqual(["copyAll", "verify", "linksIgnored"]));

  it("of one with everything", () => {
    const all = task({
      sync_level: 0,
      verify_checksum: false,
      delete_destination_extra: true,
      preserve_timestamp: true,
      encrypt_data: true,
      skip_source_errors: true,
      fail_on_quota_errors: true,
      recursive_symlinks: "keep",
    });
    const words = ["sync0", "noVerify", "mirror", "times", "encrypt", "skipErrors", "quota", "linksKept"];
    expect(optionsOf(all)).toEqual(words);
  });

  it("of a delete are not known", () => expect(optionsOf(task({ type: "DELETE" }))).toEqual([]));
});

describe("evidence", () => {
  it("is the number of files that were compared", () => {
    expect(evidenceOf(task({}))).toEqual({ kind: "all", files: 3, bytes: 30 });
    expect(evidenceOf(task({ verify_checksum: false }))).toEqual({
      kind: "some",
      files: 3,
      bytes: 30,
      of: 30,
    });
    expect(evidenceOf(task({ verify_checksum: false, bytes_checksummed: 0 }))).toEqual({
      kind: "none",
      files: 3,
    });
    expect(evidenceOf(task({ files_transferred: 0 }))).toEqual({ kind: "nothing" });
  });

  it("is not claimed before the end, nor of a delete", () => {
    expect(evidenceOf(task({ status: "ACTIVE" }))).toBeNull();
    expect(evidenceOf(task({ type: "DELETE" }))).toBeNull();
    expect(evidenceOf(task({ status: "FAILED", files_transferred: 0 }))).toBeNull();
  });

  it("names the digests", () => {
    const file = (checksum_algorithm: string | null) => ({ checksum_algorithm }) as FinishedFile;
    expect(algorithmsOf([file("MD5"), file("SHA256"), file(null), file("SHA256")])).toEqual([
      { algorithm: "SHA256", files: 2 },
      { algorithm: "MD5", files: 1 },
      { algorithm: null, files: 1 },
    ]);
  });
});

it("tells of details in sentences and all of them in a table", () => {
  const { told, table } = tellingOf({ error: "lost", retry: 2, list: ["a", "b"], more: { a: 1 }, empty: "" });
  expect(told).toEqual({ error: "lost" });
  expect(table).toContainEqual({ name: "list", value: "a, b" });
  expect(table).toContainEqual({ name: "more", value: '{\n  "a": 1\n}' });
});

it("has words for every code of an event and every kind of loss", () => {
  expect(Object.keys(activity.event)).toEqual(
    expect.arrayContaining(schema.components.schemas.EventCode.enum),
  );
  expect(Object.keys(activity.fidelity.kind)).toEqual(
    expect.arrayContaining(schema.components.schemas.Kind.enum),
  );
});
