import type { TFunction } from "i18next";
import { Bookmark as BookmarkIcon, ChevronDown, Plus, Search, Server } from "lucide-react";
import { type ReactNode, useDeferredValue, useEffect, useState } from "react";
import {
  Autocomplete,
  Collection,
  DialogTrigger,
  Header,
  Input,
  Link,
  ListBox,
  ListBoxItem,
  ListBoxSection,
  Button as PlainButton,
  Popover,
  SearchField,
  Text,
} from "react-aria-components";
import { useTranslation } from "react-i18next";
import { isComputer } from "@/api/endpoints";
import styles from "@/features/files/Collections.module.css";
import { type Endpoint, useCollections } from "@/features/files/queries";
import type { Pane } from "@/features/files/usePane";
import { Skeleton } from "@/ui/Skeleton";
import hidden from "@/ui/unseen.module.css";

/** Typing has paused. */
const TYPED_MS = 200;

export interface Picked {
  endpointId: string;
  path: string | null;
}

interface Offer {
  id: string;
  name: string;
  under: string;
  picked: Picked;
  icon: ReactNode;
}

interface Section {
  id: string;
  title: string;
  offers: Offer[];
}

/** The head of a pane: which collection it shows; press it for another one. */
export function CollectionButton({ pane, onPick }: { pane: Pane; onPick: (picked: Picked) => void }) {
  const { t } = useTranslation("files");
  const [isOpen, setOpen] = useState(false);
  const { data: endpoint, isPending } = pane.endpoint;
  return (
    <DialogTrigger isOpen={isOpen} onOpenChange={setOpen}>
      <PlainButton className={styles.button ?? ""}>
        <Server size={20} aria-hidden="true" className={styles.server} />
        <span className={styles.which}>
          {pane.endpointId === null ? (
            <span className={styles.none}>{t("collection.choose")}</span>
          ) : (
            <bdi className={styles.name}>
              {endpoint?.display_name ?? (isPending ? <Skeleton width="9rem" /> : t("collection.unknown"))}
            </bdi>
          )}
          <span className={styles.under}>
            {pane.endpointId !== null && (endpoint ? host(endpoint, t) : " ")}
          </span>
        </span>
        <ChevronDown size={18} aria-hidden="true" className={styles.caret} />
      </PlainButton>
      <Popover
        className={styles.popover ?? ""}
        placement="bottom start"
        offset={4}
        aria-label={t("collection.choose")}
      >
        <div className={styles.dialog}>
          <CollectionList
            autoFocus
            whose={t(pane.side === "origin" ? "from" : "to")}
            onPick={(picked) => {
              setOpen(false);
              onPick(picked);
            }}
          />
        </div>
      </Popover>
    </DialogTrigger>
  );
}

/** All collections somebody may mean, by what is typed. */
export function CollectionList({
  onPick,
  whose,
  autoFocus = false,
}: {
  onPick: (picked: Picked) => void;
  /** The pane it is for: the other one has the same sections. */
  whose: string;
  autoFocus?: boolean;
}) {
  const { t } = useTranslation("files");
  const [typed, setTyped] = useState("");
  const [asked, setAsked] = useState("");
  useEffect(() => {
    const timer = setTimeout(() => setAsked(typed.trim()), TYPED_MS);
    return () => clearTimeout(timer);
  }, [typed]);
  const found = useCollections(asked);
  const sections = useDeferredValue(useSections(typed, asked, found));
  const offers = new Map(sections.flatMap((one) => one.offers.map((offer) => [offer.id, offer])));
  const isLoading = found.recent.isPending || found.mine.isPending || (asked !== "" && found.found.isPending);
  return (
    <Autocomplete inputValue={typed} onInputChange={setTyped}>
      <SearchField className={styles.field ?? ""} aria-label={t("collection.search")} autoFocus={autoFocus}>
        <Search size={16} aria-hidden="true" />
        {/* the list belongs to it, and is always open: arrows in the one move in the other */}
        <Input
          role="combobox"
          aria-expanded="true"
          className={styles.input ?? ""}
          placeholder={t("collection.placeholder")}
        />
      </SearchField>
      <ListBox
        className={styles.list ?? ""}
        aria-label={t("collection.label")}
        items={sections}
        selectionMode="none"
        onAction={(key) => {
          const offer = offers.get(String(key));
          if (offer) onPick(offer.picked);
        }}
        renderEmptyState={() => (
          <div className={styles.empty}>
            {isLoading
              ? t("collection.looking")
              : typed.trim() === ""
                ? t("collection.noneYet")
                : t("collection.noMatch", { text: typed.trim() })}
          </div>
        )}
      >
        {(section) => (
          <ListBoxSection id={section.id} className={styles.section ?? ""}>
            <Header className={styles.header ?? ""}>
              {section.title}
              <span className={hidden.unseen}> ({whose})</span>
            </Header>
            <Collection items={section.offers}>
              {(offer) => (
                <ListBoxItem id={offer.id} textValue={offer.name} className={styles.option ?? ""}>
                  <span className={styles.icon}>{offer.icon}</span>
                  <Text slot="label" className={styles.label ?? ""}>
                    <bdi>{offer.name}</bdi>
                  </Text>
                  <Text slot="description" className={styles.under ?? ""}>
                    {offer.under}
                  </Text>
                </ListBoxItem>
              )}
            </Collection>
          </ListBoxSection>
        )}
      </ListBox>
      <Link href="/endpoints/connect" className={styles.register ?? ""}>
        <Plus size={16} aria-hidden="true" />
        {t("collection.connect")}
      </Link>
    </Autocomplete>
  );
}

type Found = ReturnType<typeof useCollections>;

function useSections(
  typed: string,
  asked: string,
  { recent, mine, bookmarks, found, samples }: Found,
): Section[] {
  const { t } = useTranslation("files");
  const words = typed.toLowerCase().split(/\s+/).filter(Boolean);
  const fits = (...texts: string[]) => {
    const text = texts.join(" ").toLowerCase();
    return words.every((word) => text.includes(word));
  };
  const seen = new Set<string>();
  const offersOf = (section: string, endpoints: Endpoint[] | undefined): Offer[] =>
    (endpoints ?? [])
      .filter((one) => !seen.has(one.id) && fits(one.display_name, one.description ?? "", host(one, t)))
      .map((one) => {
        seen.add(one.id);
        return {
          id: `${section}:${one.id}`,
          name: one.display_name,
          under: host(one, t),
          picked: { endpointId: one.id, path: null },
          icon: <Server size={16} aria-hidden="true" />,
        };
      });
  const sections: Section[] = [
    { id: "recent", title: t("collection.recent"), offers: offersOf("recent", recent.data) },
    {
      id: "bookmarks",
      title: t("collection.bookmarks"),
      offers: (bookmarks.data ?? [])
        .filter((one) => fits(one.name, one.path ?? ""))
        .map((one) => ({
          id: `bookmark:${one.id}`,
          name: one.name,
          under: one.path ?? "",
          picked: { endpointId: one.endpoint_id, path: one.path },
          icon: <BookmarkIcon size={16} aria-hidden="true" />,
        })),
    },
    { id: "mine", title: t("collection.mine"), offers: offersOf("mine", mine.data) },
    { id: "samples", title: t("collection.samples"), offers: offersOf("samples", samples.data) },
    {
      id: "found",
      title: t("collection.found"),
      // what the search found by other words than the name is shown as well
      offers:
        asked === ""
          ? []
          : (found.data ?? [])
              .filter((one) => !seen.has(one.id))
              .map((one) => ({
                id: `found:${one.id}`,
                name: one.display_name,
                under: `${one.owner_string} · ${host(one, t)}`,
                picked: { endpointId: one.id, path: null },
                icon: <Server size={16} aria-hidden="true" />,
              })),
    },
  ];
  return sections.filter((one) => one.offers.length > 0);
}

function host(endpoint: Endpoint, t: TFunction<"files">): string {
  if (isComputer(endpoint)) return t("collection.computer");
  const server = endpoint.DATA[0];
  return server ? `${server.hostname}:${server.port}` : "";
}
