import { useQueryClient } from "@tanstack/react-query";
import { ArrowUp, ChevronRight, Pencil, RefreshCw } from "lucide-react";
import { type KeyboardEvent, useEffect, useRef, useState } from "react";
import { Button as PlainButton } from "react-aria-components";
import { useTranslation } from "react-i18next";
import styles from "@/features/files/PathBar.module.css";
import { completion, crumbs, folderOf, HOME, halves } from "@/features/files/paths";
import { namesIn } from "@/features/files/queries";
import type { Pane } from "@/features/files/usePane";
import { IconButton } from "@/ui/Button";
import { Menu } from "@/ui/Menu";

/** More would push the last ones out: those in the middle are in a menu. */
const CRUMBS_SHOWN = 4;

/** Where the pane is: a way back to each folder above, and a field to type another one. */
export function PathBar({
  pane,
  isEditing,
  onEdit,
  onDone,
}: {
  pane: Pane;
  isEditing: boolean;
  onEdit: () => void;
  /** The field is closed; the keyboard goes back to the list. */
  onDone: () => void;
}) {
  const { t } = useTranslation("files");
  return (
    <div className={styles.bar}>
      <IconButton label={t("path.up")} isDisabled={pane.parent === null} onPress={pane.up}>
        <ArrowUp size={18} aria-hidden="true" />
      </IconButton>
      {isEditing ? (
        <PathField pane={pane} onDone={onDone} />
      ) : (
        <>
          <Crumbs pane={pane} />
          {/* biome-ignore lint/a11y/noStaticElementInteractions: the button beside it does the same */}
          {/* biome-ignore lint/a11y/useKeyWithClickEvents: and F2, Ctrl+L */}
          <div className={styles.rest} onClick={onEdit} />
          <IconButton label={t("path.edit")} onPress={onEdit} isDisabled={pane.endpointId === null}>
            <Pencil size={16} aria-hidden="true" />
          </IconButton>
          <IconButton
            label={t("path.refresh")}
            onPress={() => void pane.listing.refetch()}
            isDisabled={pane.endpointId === null}
          >
            <RefreshCw
              size={16}
              aria-hidden="true"
              className={pane.listing.isFetching ? styles.turning : undefined}
            />
          </IconButton>
        </>
      )}
    </div>
  );
}

function Crumbs({ pane }: { pane: Pane }) {
  const { t } = useTranslation("files");
  if (pane.path === null) return <span className={styles.nowhere} />;
  const all = crumbs(pane.path);
  const cut = all.length > CRUMBS_SHOWN ? all.slice(1, -2) : [];
  const [first, ...others] = all;
  const kept = cut.length > 0 ? others.slice(cut.length) : others;
  if (!first) return null;
  const said = (name: string) => (name === "~" ? t("path.home") : name === "/" ? t("path.root") : name);
  return (
    <nav aria-label={t(pane.side === "origin" ? "path.labelFrom" : "path.labelTo")} className={styles.crumbs}>
      <ol>
        {[first, ...kept].map((one, index, { length }) => (
          <li key={one.path}>
            {index > 0 && <ChevronRight size={14} aria-hidden="true" className={styles.between} />}
            {index === 1 && cut.length > 0 && (
              <>
                <Menu
                  label={t("path.between")}
                  trigger={
                    <PlainButton className={styles.crumb ?? ""} aria-label={t("path.between")}>
                      …
                    </PlainButton>
                  }
                  choices={cut.map((middle) => ({
                    id: middle.path,
                    label: middle.name,
                    onAction: () => pane.go(middle.path),
                  }))}
                />
                <ChevronRight size={14} aria-hidden="true" className={styles.between} />
              </>
            )}
            <PlainButton
              className={styles.crumb ?? ""}
              aria-current={index === length - 1 ? "page" : undefined}
              aria-label={said(one.name)}
              onPress={() => pane.go(one.path)}
            >
              <bdi>{one.name === "~" ? t("path.homeShort") : one.name}</bdi>
            </PlainButton>
          </li>
        ))}
      </ol>
    </nav>
  );
}

/** A path to type. Tab fills in what is certain, as in a shell; where nothing is to fill in it goes on as ever. */
function PathField({ pane, onDone }: { pane: Pane; onDone: () => void }) {
  const { t } = useTranslation("files");
  const queries = useQueryClient();
  const [typed, setTyped] = useState(pane.path ?? HOME);
  const [found, setFound] = useState("");
  const input = useRef<HTMLInputElement>(null);
  useEffect(() => input.current?.select(), []);

  const complete = async () => {
    if (pane.endpointId === null) return;
    const { folder, beginning } = halves(typed);
    const path = folderOf(folder, pane.path ?? HOME);
    const entries = await namesIn(queries, pane.endpointId, path).catch(() => []);
    const folders = entries.filter((one) => one.kind === "folder" && one.name.startsWith(beginning));
    const names = folders.map((one) => one.name);
    const shared = completion(beginning, names);
    const whole = shared !== null && names.length === 1;
    if (shared !== null) setTyped(folder + shared + (whole ? "/" : ""));
    setFound(whole ? "" : t("path.matches", { count: names.length }));
  };

  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key === "Escape") {
      event.stopPropagation();
      onDone();
    } else if (event.key === "Tab" && !event.shiftKey && halves(typed).beginning !== "") {
      event.preventDefault();
      void complete();
    }
  };

  return (
    <form
      className={styles.form}
      onSubmit={(event) => {
        event.preventDefault();
        const to = folderOf(typed, pane.path ?? HOME);
        if (to !== pane.path) pane.go(to);
        onDone();
      }}
    >
      <input
        ref={input}
        className={styles.input}
        aria-label={t("path.field")}
        value={typed}
        spellCheck={false}
        autoComplete="off"
        autoCapitalize="off"
        // biome-ignore lint/a11y/noAutofocus: it is there because somebody asked for it
        autoFocus
        onChange={(event) => {
          setTyped(event.target.value);
          setFound("");
        }}
        onKeyDown={onKeyDown}
        onBlur={onDone}
      />
      <span className={styles.found} role="status">
        {found}
      </span>
    </form>
  );
}
