/** Paths as the API writes them: folders end with a slash, `/~/` is the home directory. */

export const HOME = "/~/";
export const ROOT = "/";

export interface Crumb {
  name: string;
  path: string;
}

/** What a person typed, as the path of a folder. `base`: what a relative path begins at. */
export function folderOf(typed: string, base: string = HOME): string {
  const text = typed.trim();
  if (text === "~" || text.startsWith("~/")) return tidy(`/${text}`);
  return tidy(text.startsWith("/") ? text : base + text);
}

function tidy(path: string): string {
  const home = path === "/~" || path.startsWith(HOME);
  const kept: string[] = [];
  for (const part of path.split("/")) {
    if (part === "" || part === ".") continue;
    if (part !== "..") kept.push(part);
    // above the home directory nobody knows the way: it ends there
    else if (!(home && kept.length === 1)) kept.pop();
  }
  return kept.length === 0 ? ROOT : `/${kept.join("/")}/`;
}

/** The path of something in a folder; of a folder with a slash at the end. */
export function inside(folder: string, name: string, isFolder = false): string {
  return folder + name + (isFolder ? "/" : "");
}

/** The folder above, or null at the root. `absolute`: the same folder's path without `/~/`, if it is known. */
export function above(folder: string, absolute?: string): string | null {
  const path = folder === HOME ? absolute : folder;
  if (path === undefined || path === ROOT) return null;
  return path.slice(0, path.lastIndexOf("/", path.length - 2) + 1);
}

/** The last name of a folder's path. */
export function nameOf(folder: string): string {
  return folder.split("/").at(-2) ?? "";
}

/** The folders on the way, the root or the home directory first. */
export function crumbs(folder: string): Crumb[] {
  const first = folder.startsWith(HOME) ? HOME : ROOT;
  const found = [{ name: first === HOME ? "~" : "/", path: first }];
  let path = first;
  for (const name of folder.slice(first.length).split("/").filter(Boolean)) {
    path += `${name}/`;
    found.push({ name, path });
  }
  return found;
}

/** What is typed of a path, apart: the folder that it is in, and the beginning of a name. */
export function halves(typed: string): { folder: string; beginning: string } {
  const at = typed.lastIndexOf("/") + 1;
  return { folder: typed.slice(0, at), beginning: typed.slice(at) };
}

/** The longest text that all names which begin so share: what the Tab key of a shell fills in. */
export function completion(beginning: string, names: string[]): string | null {
  let shared: string | null = null;
  for (const name of names) {
    if (!name.startsWith(beginning)) continue;
    if (shared === null) shared = name;
    while (!name.startsWith(shared)) shared = shared.slice(0, -1);
  }
  return shared;
}

/** Whether a text can be the name of a file: `slash`, `dots`, `long` say why not. */
export function wrongName(name: string): "empty" | "slash" | "dots" | "long" | "line" | null {
  if (name === "") return "empty";
  if (name.includes("/")) return "slash";
  if (name === "." || name === "..") return "dots";
  if (/[\0\r\n]/.test(name)) return "line";
  return new TextEncoder().encode(name).length > MAX_NAME_BYTES ? "long" : null;
}

/** Of the file systems in use. */
const MAX_NAME_BYTES = 255;
