import { useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { SlidersHorizontal } from "lucide-react";
import { useEffect, useRef, useState } from "react";
import { useTranslation } from "react-i18next";
import { usedEndpointsQuery } from "@/api/tasks";
import styles from "@/features/activity/Filters.module.css";
import { type ActivitySearch, activitySearch } from "@/features/activity/search";
import { Button } from "@/ui/Button";
import { classes } from "@/ui/classes";
import { Select, TextField } from "@/ui/Field";

/** So long after the last key a text counts as entered. */
const TYPED_MS = 300;
const ANY = "any";

/** All that is chosen here is in the address. */
export function Filters({ search }: { search: ActivitySearch }) {
  const { t } = useTranslation("activity");
  const navigate = useNavigate({ from: "/activity" });
  const [open, setOpen] = useState(false);
  const set = (change: Partial<Record<keyof ActivitySearch, string | undefined>>) =>
    // to what the address holds by then: a text counts only after a while
    void navigate({ search: (now) => activitySearch({ ...now, ...change }), replace: true });
  const { tab, ...chosen } = search;
  const filters = Object.keys(chosen).length;
  const endpoints = useEndpointChoices(search.endpoint);
  return (
    <>
      <div className={styles.fold}>
        <Button size="small" aria-expanded={open} aria-controls="filters" onPress={() => setOpen(!open)}>
          <SlidersHorizontal size={16} aria-hidden="true" />
          {filters > 0 ? t("filter.active", { count: filters }) : t("filter.show")}
        </Button>
      </div>
      <search
        id="filters"
        className={classes(styles.filters, open && styles.open)}
        aria-label={t("filter.label")}
      >
        <LabelFilter value={search.q ?? ""} onChange={(q) => set({ q })} />
        <Select
          label={t("filter.type")}
          choices={[
            { id: ANY, label: t("filter.anyType") },
            { id: "TRANSFER", label: t("filter.TRANSFER") },
            { id: "DELETE", label: t("filter.DELETE") },
          ]}
          selectedKey={search.type ?? ANY}
          onSelectionChange={(key) => set({ type: key === ANY ? undefined : String(key) })}
        />
        <Select
          label={t("filter.endpoint")}
          choices={[{ id: ANY, label: t("filter.anyEndpoint") }, ...endpoints]}
          selectedKey={search.endpoint ?? ANY}
          onSelectionChange={(key) => set({ endpoint: key === ANY ? undefined : String(key) })}
        />
        <Day label={t("filter.from")} value={search.from} onChange={(from) => set({ from })} />
        <Day label={t("filter.to")} value={search.to} onChange={(to) => set({ to })} />
        <Button
          variant="quiet"
          isDisabled={filters === 0}
          onPress={() => void navigate({ search: tab ? { tab } : {}, replace: true })}
        >
          {t("filter.clear")}
        </Button>
      </search>
    </>
  );
}

function LabelFilter({ value, onChange }: { value: string; onChange: (text: string | undefined) => void }) {
  const { t } = useTranslation("activity");
  const [text, setText] = useState(value);
  const typed = useRef<ReturnType<typeof setTimeout>>(undefined);
  useEffect(() => setText(value), [value]);
  useEffect(() => () => clearTimeout(typed.current), []);
  return (
    <TextField
      label={t("filter.q")}
      type="search"
      placeholder={t("filter.qPlaceholder")}
      value={text}
      onChange={(next) => {
        setText(next);
        clearTimeout(typed.current);
        typed.current = setTimeout(() => onChange(next || undefined), TYPED_MS);
      }}
    />
  );
}

function Day({
  label,
  value,
  onChange,
}: {
  label: string;
  value: string | undefined;
  onChange: (day: string | undefined) => void;
}) {
  return (
    // the browser's own: it knows the reader's calendar, and is usable by keyboard and voice
    <TextField label={label} type="date" value={value ?? ""} onChange={(day) => onChange(day || undefined)} />
  );
}

function useEndpointChoices(chosen: string | undefined): { id: string; label: string }[] {
  const { data } = useQuery(usedEndpointsQuery());
  const found = (data?.DATA ?? []).map((one) => ({ id: one.id, label: one.display_name ?? one.id }));
  if (chosen && !found.some((one) => one.id === chosen)) found.push({ id: chosen, label: chosen });
  return found;
}
