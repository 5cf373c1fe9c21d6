/** Which words tell what a task was asked for, what happened, and what came of it. Pure: keys and values. */

import type { TaskEvent } from "@/api/progress";
import { isFinished, type LiveTask } from "@/api/taskMerge";
import type { FinishedFile } from "@/api/tasks";
import { type Details, said } from "@/features/activity/state";

export type OptionKey =
  | "verify"
  | "noVerify"
  | "copyAll"
  | "sync0"
  | "sync1"
  | "sync2"
  | "sync3"
  | "mirror"
  | "times"
  | "encrypt"
  | "skipErrors"
  | "quota"
  | "linksIgnored"
  | "linksKept"
  | "linksCopied";

const SYNC: readonly OptionKey[] = ["sync0", "sync1", "sync2", "sync3"];
const LINKS = { ignore: "linksIgnored", keep: "linksKept", copy: "linksCopied" } as const;

/** The options of a transfer, most telling first; a delete has none that the API shows. */
export function optionsOf(task: LiveTask): OptionKey[] {
  if (task.type === "DELETE") return [];
  const switches: [boolean, OptionKey][] = [
    [task.delete_destination_extra, "mirror"],
    [task.preserve_timestamp, "times"],
    [task.encrypt_data, "encrypt"],
    [task.skip_source_errors, "skipErrors"],
    [task.fail_on_quota_errors, "quota"],
  ];
  return [
    (task.sync_level === null ? undefined : SYNC[task.sync_level]) ?? "copyAll",
    task.verify_checksum ? "verify" : "noVerify",
    ...switches.filter(([on]) => on).map(([, key]) => key),
    LINKS[task.recursive_symlinks],
  ];
}

/** How well it is proved that what arrived is what was sent. */
export type Evidence =
  | { kind: "all"; files: number; bytes: number }
  | { kind: "some"; files: number; bytes: number; of: number }
  | { kind: "none"; files: number }
  | { kind: "nothing" };

/** Of a transfer that has ended; null of others. A digest of an empty file has no bytes: files count. */
export function evidenceOf(task: LiveTask): Evidence | null {
  if (!isFinished(task) || task.type === "DELETE") return null;
  const files = task.files_transferred ?? 0;
  if (files === 0) return task.status === "SUCCEEDED" ? { kind: "nothing" } : null;
  // each file counts as transferred only once it was compared, if that was asked for
  if (task.verify_checksum) return { kind: "all", files, bytes: task.bytes_transferred };
  if (task.bytes_checksummed > 0)
    return { kind: "some", files, bytes: task.bytes_checksummed, of: task.bytes_transferred };
  return { kind: "none", files };
}

/** By which digests, most files first; null: in ranges, while they moved, so that none is of the whole file. */
export function algorithmsOf(files: readonly FinishedFile[]): { algorithm: string | null; files: number }[] {
  const counts = new Map<string | null, number>();
  for (const { checksum_algorithm: algorithm } of files)
    counts.set(algorithm, (counts.get(algorithm) ?? 0) + 1);
  return [...counts]
    .map(([algorithm, count]) => ({ algorithm, files: count }))
    .sort((one, other) => other.files - one.files);
}

/** Members of an event's details that are told in its own lines, and those that are left for the table. */
const TOLD = [
  "error",
  "reason",
  "text",
  "advice",
  "next",
  "who_can_fix",
  "path",
  "server_said",
  "endpoint",
] as const;

export type ToldPart = (typeof TOLD)[number];

export interface Telling {
  /** What is said of it in full sentences. */
  told: Partial<Record<ToldPart, string>>;
  /** All members, for whoever wants to know exactly. */
  table: { name: string; value: string }[];
}

export function tellingOf(details: Details): Telling {
  const told: Telling["told"] = {};
  for (const name of TOLD) {
    const value = said(details, name);
    if (value) told[name] = value;
  }
  const table = Object.entries(details).map(([name, value]) => ({ name, value: readable(value) }));
  return { told, table };
}

function readable(value: unknown): string {
  if (typeof value === "string") return value;
  if (typeof value === "number") return new Intl.NumberFormat().format(value);
  if (Array.isArray(value) && value.every((one) => typeof one !== "object")) return value.join(", ");
  return typeof value === "object" && value !== null ? JSON.stringify(value, null, 2) : String(value);
}

/** Numbers in details that an event's sentence has in it. */
export function numbersOf(details: Details): Record<string, number> {
  return Object.fromEntries(
    Object.entries(details).filter((pair): pair is [string, number] => typeof pair[1] === "number"),
  );
}

/** Which picture an event has. */
export function eventTone(event: TaskEvent): "error" | "good" | "waiting" | "note" {
  if (event.is_error) return "error";
  if (event.code === "SUCCEEDED") return "good";
  return ["PAUSED", "WAITING_FOR_TASK", "OWNER_SUSPENDED", "CANCELED"].includes(event.code)
    ? "waiting"
    : "note";
}
