import { Upload } from "lucide-react";
import type { ReactNode } from "react";
import {
  type DirectoryDropItem,
  DropZone,
  type FileDropItem,
  FileTrigger,
  isDirectoryDropItem,
  isFileDropItem,
  Text,
} from "react-aria-components";
import styles from "@/features/endpoints/DropArea.module.css";
import type { TrustFile } from "@/features/endpoints/trust";
import { Button } from "@/ui/Button";

/** The largest grid distributions have some 2,000 files of all kinds, and none of a MiB but revocation lists. */
const FILES = 3_000;
const SIZE = 4 * 1024 * 1024;

/** Where files are dropped or chosen; `onFiles` gets their names and texts. */
export function DropArea({
  label,
  children,
  buttons,
  more,
  onFiles,
}: {
  label: string;
  children?: ReactNode;
  buttons: { label: string; folder?: boolean }[];
  /** Another button. */
  more?: ReactNode;
  onFiles: (files: TrustFile[]) => void;
}) {
  return (
    <DropZone
      className={styles.area ?? ""}
      onDrop={async ({ items }) => {
        const found: TrustFile[] = [];
        for (const item of items) {
          if (isFileDropItem(item)) await take(found, item);
          else if (isDirectoryDropItem(item)) await takeAll(found, item);
        }
        onFiles(found);
      }}
    >
      <Upload size={22} aria-hidden="true" />
      <Text slot="label" className={styles.label ?? ""}>
        {label}
      </Text>
      {children && <p className={styles.text}>{children}</p>}
      <div className={styles.buttons}>
        {buttons.map((one) => (
          <FileTrigger
            key={one.label}
            acceptDirectory={one.folder ?? false}
            allowsMultiple
            onSelect={async (list) => {
              const files = [...(list ?? [])].slice(0, FILES).filter((file) => file.size <= SIZE);
              onFiles(
                await Promise.all(files.map(async (file) => ({ name: file.name, text: await file.text() }))),
              );
            }}
          >
            <Button size="small">{one.label}</Button>
          </FileTrigger>
        ))}
        {more}
      </div>
    </DropZone>
  );
}

async function take(found: TrustFile[], item: FileDropItem): Promise<void> {
  if (found.length >= FILES) return;
  const file = await item.getFile();
  if (file.size <= SIZE) found.push({ name: item.name, text: await file.text() });
}

/** The files of a folder, not those of folders in it. */
async function takeAll(found: TrustFile[], folder: DirectoryDropItem): Promise<void> {
  for await (const entry of folder.getEntries()) if (isFileDropItem(entry)) await take(found, entry);
}
