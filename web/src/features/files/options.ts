/** What a transfer is asked to do: as a document for the API, and in words before it is sent. */

import type { components } from "@/api/schema";
import type { Entry } from "@/features/files/listing";
import { inside } from "@/features/files/paths";

export type TransferDocument = components["schemas"]["TransferDocument"];

export const ALGORITHMS = ["BLAKE3", "SHA256", "SHA512", "SHA1", "MD5", "ADLER32"] as const;

export interface Rule {
  method: "exclude" | "include";
  name: string;
  type: "file" | "dir" | null;
}

/** `always` copies everything; the others look at what is at the destination first. */
export type SyncLevel = "always" | "0" | "1" | "2" | "3";

export interface Options {
  label: string;
  sync: SyncLevel;
  deleteExtra: boolean;
  verify: boolean;
  encrypt: boolean;
  preserveTimes: boolean;
  skipSourceErrors: boolean;
  failOnQuota: boolean;
  links: "ignore" | "keep" | "copy";
  /** Null: the fastest that both servers have. */
  algorithm: (typeof ALGORITHMS)[number] | null;
  /** In the reader's own time, as the field of a form has it; empty: the service's default. */
  deadline: string;
  rules: Rule[];
}

export const USUAL: Options = {
  label: "",
  sync: "always",
  deleteExtra: false,
  verify: true,
  encrypt: false,
  preserveTimes: false,
  skipSourceErrors: false,
  failOnQuota: false,
  links: "ignore",
  algorithm: null,
  deadline: "",
  rules: [],
};

export const USUAL_SYNC: Options = { ...USUAL, sync: "1" };

export interface Spot {
  endpointId: string;
  /** As people call it. */
  name: string;
  /** A folder. */
  path: string;
}

/** What is to be moved. `entries` null: all that is in the folder, into the other folder. */
export interface Job {
  from: Spot;
  to: Spot;
  entries: Entry[] | null;
}

/** What is known of both ends before it begins, as far as the panes show it. */
export interface Meeting {
  /** Names that are at the destination already. */
  same: string[];
  /** Names at the destination that are not at the source; null if that is not known. */
  extra: string[] | null;
}

export function meetingOf(job: Job, here: readonly Entry[] | null, there: readonly Entry[] | null): Meeting {
  const names = new Set(there?.map((one) => one.name));
  const moved = (job.entries ?? here ?? []).map((one) => one.name);
  const kept = new Set(moved);
  return {
    same: moved.filter((name) => names.has(name)),
    extra: job.entries === null && here && there ? [...names].filter((name) => !kept.has(name)).sort() : null,
  };
}

export interface Item {
  source_path: string;
  destination_path: string;
  recursive?: boolean;
}

export function itemsOf({ from, to, entries }: Job): Item[] {
  if (entries === null) {
    return [{ source_path: from.path, destination_path: to.path, recursive: true }];
  }
  return entries.map((one) => {
    const folder = one.kind === "folder";
    const item = {
      source_path: inside(from.path, one.name, folder),
      destination_path: inside(to.path, one.name, folder),
    };
    // what is neither file nor folder the service finds out for itself
    return one.kind === "other" ? item : { ...item, recursive: folder };
  });
}

/** Whether anything below a folder can be extra at the destination. */
export function hasTrees({ entries }: Job): boolean {
  return entries === null || entries.some((one) => one.kind === "folder");
}

/** Copied onto itself, or into itself. */
export function overlaps({ from, to, entries }: Job): boolean {
  if (from.endpointId !== to.endpointId) return false;
  if (from.path === to.path) return true;
  const trees =
    entries === null
      ? [from.path]
      : entries.filter((one) => one.kind === "folder").map((one) => inside(from.path, one.name, true));
  return trees.some((tree) => to.path.startsWith(tree));
}

export function documentOf(job: Job, options: Options, submissionId: string): TransferDocument {
  const rules = options.rules.filter((one) => one.name.trim() !== "");
  return {
    DATA_TYPE: "transfer",
    submission_id: submissionId,
    source_endpoint: job.from.endpointId,
    destination_endpoint: job.to.endpointId,
    label: options.label.trim() || null,
    sync_level: options.sync === "always" ? null : Number(options.sync),
    delete_destination_extra: options.deleteExtra && hasTrees(job),
    verify_checksum: options.verify,
    encrypt_data: options.encrypt,
    preserve_timestamp: options.preserveTimes,
    skip_source_errors: options.skipSourceErrors,
    fail_on_quota_errors: options.failOnQuota,
    recursive_symlinks: options.links,
    ...(options.deadline ? { deadline: new Date(options.deadline).toISOString() } : {}),
    ...(rules.length > 0
      ? {
          filter_rules: rules.map(({ method, name, type }) => ({
            DATA_TYPE: "filter_rule" as const,
            method,
            name: name.trim(),
            ...(type === null ? {} : { type }),
          })),
        }
      : {}),
    DATA: itemsOf(job).map((item) => ({
      DATA_TYPE: "transfer_item" as const,
      ...item,
      ...(options.algorithm ? { checksum_algorithm: options.algorithm } : {}),
    })),
  };
}

/** A sentence of what will happen; `danger` cannot be undone, `warn` is worth a thought. */
export interface Sentence {
  key:
    | `copies.${SyncLevel}`
    | `deletes.${"folder" | "trees"}`
    | "deletesKept"
    | "filtered"
    | "filteredNothing"
    | `links.${"keep" | "copy"}`
    | `verify.${"yes" | "no"}`
    | "skips"
    | "encrypts"
    | "times";
  kind: "say" | "warn" | "danger";
}

/** What these options together will do, in order of weight. */
export function sentences(job: Job, options: Options): Sentence[] {
  const rules = options.rules.filter((one) => one.name.trim() !== "");
  const trees = hasTrees(job);
  const said: Sentence[] = [{ key: `copies.${options.sync}`, kind: "say" }];
  if (options.deleteExtra && trees) {
    said.push({ key: job.entries === null ? "deletes.folder" : "deletes.trees", kind: "danger" });
    if (rules.length > 0 || options.skipSourceErrors) said.push({ key: "deletesKept", kind: "say" });
  }
  if (rules.length > 0) {
    said.push({ key: trees ? "filtered" : "filteredNothing", kind: trees ? "say" : "warn" });
  }
  if (trees && options.links !== "ignore") said.push({ key: `links.${options.links}`, kind: "say" });
  said.push(options.verify ? { key: "verify.yes", kind: "say" } : { key: "verify.no", kind: "warn" });
  if (options.preserveTimes) said.push({ key: "times", kind: "say" });
  if (options.encrypt) said.push({ key: "encrypts", kind: "say" });
  if (options.skipSourceErrors) said.push({ key: "skips", kind: "warn" });
  return said;
}
