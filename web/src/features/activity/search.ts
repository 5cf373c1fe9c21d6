/** What the addresses of the pages hold, and what the API is asked for then. Pure. */

export const TABS = ["all", "active", "attention", "done", "failed"] as const;
export type Tab = (typeof TABS)[number];

/** `/activity`; what is not said is not filtered by. */
export interface ActivitySearch {
  tab?: Exclude<Tab, "all">;
  type?: "TRANSFER" | "DELETE";
  /** Text in the label. */
  q?: string;
  /** Days, `2026-01-31`, in the reader's zone; both belong to it. */
  from?: string;
  to?: string;
  /** At either end. */
  endpoint?: string;
}

export const TASK_TABS = ["overview", "events", "files", "fidelity"] as const;
export type TaskTab = (typeof TASK_TABS)[number];

/** `/activity/<id>`. */
export interface TaskSearch {
  tab?: Exclude<TaskTab, "overview">;
  /** Of the events only errors. */
  errors?: true;
  /** Of the files those that were left out. */
  files?: "skipped";
}

const DAY = /^\d{4}-\d{2}-\d{2}$/;
const ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
/** Of the API's filter of 4,096 characters. */
const LONGEST_TEXT = 200;

export function activitySearch(search: Record<string, unknown>): ActivitySearch {
  const found: ActivitySearch = {};
  const { tab, type, q, from, to, endpoint } = search;
  if (oneOf(tab, TABS) && tab !== "all") found.tab = tab;
  if (type === "TRANSFER" || type === "DELETE") found.type = type;
  if ((typeof q === "string" || typeof q === "number") && `${q}`) found.q = `${q}`.slice(0, LONGEST_TEXT);
  if (isDay(from)) found.from = from;
  if (isDay(to)) found.to = to;
  if (typeof endpoint === "string" && ID.test(endpoint)) found.endpoint = endpoint;
  return found;
}

export function taskSearch(search: Record<string, unknown>): TaskSearch {
  const found: TaskSearch = {};
  const { tab, errors, files } = search;
  if (oneOf(tab, TASK_TABS) && tab !== "overview") found.tab = tab;
  if (errors === true) found.errors = true;
  if (files === "skipped") found.files = files;
  return found;
}

/** The filter of `task_list`. What needs attention the API cannot tell: of what runs one looks oneself. */
export function taskFilter({ tab, type, q, from, to, endpoint }: ActivitySearch): string {
  const statuses = {
    active: "ACTIVE,INACTIVE",
    attention: "ACTIVE,INACTIVE",
    done: "SUCCEEDED",
    failed: "FAILED",
  };
  const clauses = [
    tab && `status:${statuses[tab]}`,
    type && `type:${type}`,
    // these have a meaning in the filter; a star stands for them, too
    q && `label:~*${q.replaceAll(/[/,*]+/g, "*")}*`,
    (from || to) && `request_time:${from ? instant(from, 0) : ""},${to ? instant(to, 1) : ""}`,
    endpoint && `endpoint:${endpoint}`,
  ];
  return clauses.filter(Boolean).join("/");
}

/** Midnight of the day here, or with `days` of a later one less a second. */
function instant(day: string, days: number): string {
  const [year = 0, month = 1, date = 1] = day.split("-").map(Number);
  const midnight = new Date(year, month - 1, date + days).getTime();
  return new Date(midnight - (days > 0 ? 1000 : 0)).toISOString().replace(/\.\d+Z/, "Z");
}

function isDay(text: unknown): text is string {
  return typeof text === "string" && DAY.test(text) && !Number.isNaN(Date.parse(text));
}

function oneOf<T extends string>(value: unknown, known: readonly T[]): value is T {
  return known.includes(value as T);
}
