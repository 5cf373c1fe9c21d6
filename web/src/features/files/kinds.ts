/** Pictures of what an entry is, by its kind and the ending of its name. Each is one path: rows come and go fast. */

import type { Entry } from "@/features/files/listing";

// the shapes are those of Lucide (ISC licence), drawn as one path
const SHEET =
  "M6 22a2 2 0 0 1-2-2V4a2 2 0 0 1 2-2h8a2.4 2.4 0 0 1 1.704.706l3.588 3.588A2.4 2.4 0 0 1 20 8v12a2 2 0 0 1-2 2z" +
  "M14 2v5a1 1 0 0 0 1 1h5";
const FOLDER =
  "M20 20a2 2 0 0 0 2-2V8a2 2 0 0 0-2-2h-7.9a2 2 0 0 1-1.69-.9L9.6 3.9A2 2 0 0 0 7.93 3H4a2 2 0 0 0-2 2v13a2 2 0 0 0 2 2Z";
const LINK = "M9 17H7A5 5 0 0 1 7 7h2M15 7h2a5 5 0 1 1 0 10h-2M8 12h8";
const TEXT = `${SHEET}M10 9H8M16 13H8M16 17H8`;
const IMAGE = `${SHEET}M12 12a2 2 0 1 1-4 0a2 2 0 1 1 4 0M20 17l-1.296-1.296a2.41 2.41 0 0 0-3.408 0L9 22`;
const PACKED = `${SHEET}M10 7V6M10 12v-1M12 17a2 2 0 1 1-4 0a2 2 0 1 1 4 0`;
const STRANGE = `${SHEET}M12 17h.01M9.1 9a3 3 0 0 1 5.82 1c0 2-3 3-3 3`;

const BY_ENDING = new Map<string, string>();
for (const [shape, endings] of [
  [IMAGE, "png jpg jpeg gif svg tif tiff webp"],
  [PACKED, "gz tgz zip xz zst bz2 tar 7z"],
  [TEXT, "txt md csv tsv log json xml yaml yml pdf"],
] as const) {
  for (const one of endings.split(" ")) BY_ENDING.set(one, shape);
}

/** The `d` of the picture's path, in a box of 24. */
export function pictureOf({ kind, isLink, name }: Entry): string {
  if (kind === "folder") return FOLDER;
  if (kind === "other") return STRANGE;
  if (isLink) return LINK;
  return BY_ENDING.get(name.slice(name.lastIndexOf(".") + 1).toLowerCase()) ?? SHEET;
}
