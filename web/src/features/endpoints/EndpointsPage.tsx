import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { FolderOpen, Laptop, type LucideIcon, Plus, Search, Server, X } from "lucide-react";
import { type ReactNode, useEffect, useState } from "react";
import { Input, Label, Button as PlainButton, SearchField } from "react-aria-components";
import { useTranslation } from "react-i18next";
import { connectionOf, hasFiles, isComputer } from "@/api/endpoints";
import { shortAddress } from "@/features/endpoints/address";
import { ConnectionBadge } from "@/features/endpoints/ConnectionBadge";
import styles from "@/features/endpoints/EndpointsPage.module.css";
import {
  type Endpoint,
  type ListedCredential,
  useCredentials,
  useEndpoints,
} from "@/features/endpoints/queries";
import { StateBadge } from "@/features/endpoints/StateBadge";
import { Button, buttonClasses } from "@/ui/Button";
import { EmptyState } from "@/ui/EmptyState";
import { Loading } from "@/ui/Loading";
import { Problem } from "@/ui/Problem";
import { Skeleton } from "@/ui/Skeleton";
import hidden from "@/ui/unseen.module.css";

/** Who types is not asked at each letter. */
const PAUSE_MS = 250;

export function EndpointsPage() {
  const { t } = useTranslation("endpoints");
  const { q } = useSearch({ from: "/inside/endpoints" });
  return (
    <div className={styles.page}>
      <div className={styles.head}>
        <h1>{t("title")}</h1>
        <div className={styles.actions}>
          <Link to="/endpoints/connect" className={buttonClasses("primary")}>
            <Plus size={18} aria-hidden="true" />
            {t("connectNew")}
          </Link>
          <Link to="/endpoints/new" className={buttonClasses()}>
            {t("new")}
          </Link>
        </div>
      </div>
      <p className={styles.lead}>{t("lead")}</p>
      <SearchBox />
      {q ? <Found words={q} /> : <Known />}
    </div>
  );
}

function SearchBox() {
  const { t } = useTranslation("endpoints");
  const { q = "" } = useSearch({ from: "/inside/endpoints" });
  const navigate = useNavigate({ from: "/endpoints" });
  const [typed, setTyped] = useState(q);
  useEffect(() => setTyped(q), [q]);
  useEffect(() => {
    if (typed.trim() === q) return;
    const later = setTimeout(
      () => void navigate({ search: typed.trim() ? { q: typed.trim() } : {}, replace: true }),
      PAUSE_MS,
    );
    return () => clearTimeout(later);
  }, [typed, q, navigate]);
  return (
    <SearchField value={typed} onChange={setTyped} className={styles.search ?? ""}>
      <Label className={hidden.unseen ?? ""}>{t("search.label")}</Label>
      <Search size={18} aria-hidden="true" className={styles.glass} />
      <Input placeholder={t("search.placeholder")} className={styles.input ?? ""} />
      <PlainButton className={styles.clear ?? ""} aria-label={t("search.clear")}>
        <X size={16} aria-hidden="true" />
      </PlainButton>
    </SearchField>
  );
}

/** What is one's own, was used, or can be used at once. */
function Known() {
  const { t } = useTranslation("endpoints");
  const [pages, setPages] = useState(1);
  const mine = useEndpoints("my-endpoints", "", pages);
  const recent = useEndpoints("recently-used", "");
  const credentials = useCredentials();
  const waiting = mine.isPending || recent.isPending || credentials.isPending;
  const broken = [mine, recent, credentials].find((one) => one.error && !one.data);
  const again = () => {
    for (const one of [mine, recent, credentials]) if (one.error) void one.refetch();
  };
  if (broken?.error) return <Problem title={t("list.failed")} error={broken.error} onRetry={again} />;
  if (waiting) return <Placeholder onRetry={again} />;
  const own = mine.data?.DATA ?? [];
  const used = (recent.data?.DATA ?? []).filter((one) => !own.some((other) => other.id === one.id));
  const known = new Set([...own, ...used].map((one) => one.id));
  const others = (credentials.data ?? []).filter((one) => !known.has(one.endpoint_id));
  const empty = own.length + used.length + others.length === 0;
  if (empty)
    return (
      <EmptyState
        icon={<Server size={40} aria-hidden="true" />}
        title={t("empty.title")}
        action={
          <div className={styles.actions}>
            <Link to="/endpoints/connect" className={buttonClasses("primary")}>
              {t("connectNew")}
            </Link>
            <Link to="/endpoints/new" className={buttonClasses()}>
              {t("new")}
            </Link>
          </div>
        }
      >
        {t("empty.text")}
      </EmptyState>
    );
  return (
    <>
      <Section title={t("list.mine")}>
        {own.length > 0 ? (
          <Rows endpoints={own} credentials={credentials.data} mine />
        ) : (
          <p className={styles.nothing}>{t("list.noneMine")}</p>
        )}
        {mine.data?.has_next_page && <More onPress={() => setPages(pages + 1)} isPending={mine.isFetching} />}
      </Section>
      {used.length > 0 && (
        <Section title={t("list.recent")}>
          <Rows endpoints={used} credentials={credentials.data} />
        </Section>
      )}
      {others.length > 0 && (
        <Section title={t("list.usable")}>
          <ul className={styles.rows}>
            {others.map((one) => (
              <Row
                key={one.endpoint_id}
                id={one.endpoint_id}
                name={one.endpoint_display_name}
                state={<StateBadge credential={one} />}
              />
            ))}
          </ul>
        </Section>
      )}
    </>
  );
}

function Found({ words }: { words: string }) {
  const { t } = useTranslation("endpoints");
  const [pages, setPages] = useState(1);
  const found = useEndpoints("all", words, pages);
  const credentials = useCredentials();
  if (found.error)
    return <Problem title={t("list.failed")} error={found.error} onRetry={() => void found.refetch()} />;
  if (found.isPending) return <Placeholder onRetry={() => void found.refetch()} />;
  if (found.data.DATA.length === 0)
    return (
      <EmptyState icon={<Search size={40} aria-hidden="true" />} title={t("search.none", { words })}>
        {t("search.noneText")}
      </EmptyState>
    );
  return (
    <Section title={t("search.found", { count: found.data.DATA.length })}>
      <Rows endpoints={found.data.DATA} credentials={credentials.data} />
      {found.data.has_next_page && <More onPress={() => setPages(pages + 1)} isPending={found.isFetching} />}
    </Section>
  );
}

function More({ onPress, isPending }: { onPress: () => void; isPending: boolean }) {
  const { t } = useTranslation("endpoints");
  return (
    <p className={styles.more}>
      <Button onPress={onPress} isPending={isPending}>
        {t("list.more")}
      </Button>
    </p>
  );
}

function Section({ title, children }: { title: string; children: ReactNode }) {
  return (
    <section className={styles.section}>
      <h2>{title}</h2>
      {children}
    </section>
  );
}

function Rows({
  endpoints,
  credentials,
  mine = false,
}: {
  endpoints: Endpoint[];
  credentials: ListedCredential[] | undefined;
  mine?: boolean;
}) {
  const { t } = useTranslation("endpoints");
  const states = new Map(credentials?.map((one) => [one.endpoint_id, one]));
  return (
    <ul className={styles.rows}>
      {endpoints.map((one) => {
        const server = isComputer(one) ? undefined : one.DATA[0];
        return (
          <Row
            key={one.id}
            id={one.id}
            name={one.display_name}
            address={server && shortAddress(server.hostname, server.port)}
            note={
              mine ? (one.public ? t("list.public") : null) : t("list.owner", { owner: one.owner_string })
            }
            state={
              isComputer(one) ? (
                <ConnectionBadge state={connectionOf(one)} />
              ) : (
                <StateBadge credential={states.get(one.id)} />
              )
            }
            drawing={isComputer(one) ? Laptop : Server}
            opens={hasFiles(one)}
          />
        );
      })}
    </ul>
  );
}

function Row({
  id,
  name,
  address,
  note,
  state,
  drawing: Drawing = Server,
  opens = true,
}: {
  id: string;
  name: string;
  address?: string | undefined;
  note?: string | null;
  state: ReactNode;
  drawing?: LucideIcon;
  /** Whether it can be opened in the file manager. */
  opens?: boolean;
}) {
  const { t } = useTranslation("endpoints");
  return (
    <li className={styles.row}>
      <Drawing size={20} aria-hidden="true" className={styles.drawing} />
      <div className={styles.what}>
        <Link to="/endpoints/$endpointId" params={{ endpointId: id }} className={styles.name}>
          <bdi>{name}</bdi>
        </Link>
        {(address || note) && (
          <p className={styles.under}>
            {address && <code>{address}</code>}
            {note && <span>{note}</span>}
          </p>
        )}
      </div>
      <div className={styles.state}>{state}</div>
      {opens && (
        <a
          href={`/files?origin_id=${id}`}
          className={buttonClasses("quiet", "small")}
          aria-label={t("list.openNamed", { name })}
        >
          <FolderOpen size={18} aria-hidden="true" />
          <span className={styles.open}>{t("list.open")}</span>
        </a>
      )}
    </li>
  );
}

function Placeholder({ onRetry }: { onRetry: () => void }) {
  return (
    <Loading onRetry={onRetry}>
      <ul className={styles.rows} aria-hidden="true">
        {[14, 20, 11].map((width) => (
          <li key={width} className={styles.row}>
            <Skeleton width="20px" height="20px" />
            <div className={styles.what}>
              <Skeleton width={`${width}rem`} />
              <p className={styles.under}>
                <Skeleton width="12rem" />
              </p>
            </div>
            <Skeleton width="8rem" height="1.4rem" />
          </li>
        ))}
      </ul>
    </Loading>
  );
}
