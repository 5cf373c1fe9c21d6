import { Link, Outlet, useMatches, useRouteContext, useRouterState } from "@tanstack/react-router";
import { Activity, Folder, Server, Users } from "lucide-react";
import { type ReactNode, useEffect, useLayoutEffect, useRef } from "react";
import { Menu, MenuItem, MenuTrigger, Button as PlainButton, Popover } from "react-aria-components";
import { useTranslation } from "react-i18next";
import { logout, metaValue } from "@/api/session";
import { Connection } from "@/app/Connection";
import { type TitleKey, titled } from "@/app/title";

/** The head with the ways to go, and the page. Its looks are those of the identity service's pages: head.css. */
export function Shell() {
  const { t } = useTranslation();
  const main = useRef<HTMLElement>(null);
  const path = useRouterState({ select: (state) => state.location.pathname });
  const title: TitleKey =
    useMatches({ select: (matches) => matches.at(-1)?.staticData.title }) ?? "nav.files";
  const arrived = useRef(path);
  // before the page's own effects: it may know a better one
  // biome-ignore lint/correctness/useExhaustiveDependencies: another page may have the same title
  useLayoutEffect(() => titled(t(title)), [t, title, path]);
  useEffect(() => {
    // another page: screen readers and the tab key begin at it, as with a page from the server
    if (arrived.current !== path) main.current?.focus({ preventScroll: true });
    arrived.current = path;
  }, [path]);
  return (
    <>
      <Head>
        <nav className="ways" aria-label={t("nav.label")}>
          <Link to="/files">
            <Folder aria-hidden="true" />
            {t("nav.files")}
          </Link>
          <Link to="/activity">
            <Activity aria-hidden="true" />
            {t("nav.activity")}
          </Link>
          <Link to="/endpoints">
            <Server aria-hidden="true" />
            {t("nav.endpoints")}
          </Link>
          <a href="/groups">
            <Users aria-hidden="true" />
            {t("nav.groups")}
          </a>
        </nav>
        <PersonMenu />
      </Head>
      <Connection />
      <main id="content" className="main" tabIndex={-1} ref={main}>
        <Outlet />
      </main>
    </>
  );
}

/** The head alone, for who is not logged in. */
export function Head({ children }: { children?: ReactNode }) {
  const { t } = useTranslation();
  return (
    <>
      <a className="skip" href="#content">
        {t("nav.skip")}
      </a>
      <header className="top">
        <div className="bar">
          <a href="/" className="brand">
            <img src="/v2/web/static/mark.svg" alt="" width="28" height="28" />
            <span>{metaValue("service")}</span>
          </a>
          {children}
        </div>
      </header>
    </>
  );
}

function PersonMenu() {
  const { t } = useTranslation();
  const { person } = useRouteContext({ from: "/inside" });
  return (
    <div className="who">
      <MenuTrigger>
        <PlainButton className="person" aria-label={`${t("nav.menu")}: ${person.name}`}>
          <span className="initial" aria-hidden="true">
            {person.name.slice(0, 1).toUpperCase()}
          </span>
          <span className="name">{person.name}</span>
        </PlainButton>
        <Popover className="person-menu" placement="bottom end" offset={6}>
          <Menu className="person-ways" aria-label={person.username}>
            <MenuItem onAction={() => location.assign("/account")}>{t("nav.account")}</MenuItem>
            <MenuItem onAction={() => void logout()}>{t("nav.logout")}</MenuItem>
          </Menu>
        </Popover>
      </MenuTrigger>
    </div>
  );
}
