import { Link, Outlet, useRouteContext, useRouterState } from "@tanstack/react-router";
import { useEffect, useRef } from "react";
import { Menu, MenuItem, MenuTrigger, Button as PlainButton, Popover } from "react-aria-components";
import { useTranslation } from "react-i18next";
import { logout, metaValue } from "@/api/session";
import styles from "@/app/Shell.module.css";

/** The head with the ways to go, and the page. */
export function Shell() {
  const { t } = useTranslation();
  const main = useRef<HTMLElement>(null);
  const path = useRouterState({ select: (state) => state.location.pathname });
  const arrived = useRef(path);
  useEffect(() => {
    // another page: screen readers and the tab key begin at it, as with a page from the server
    if (arrived.current !== path) main.current?.focus({ preventScroll: true });
    arrived.current = path;
  }, [path]);
  return (
    <>
      <a className={styles.skip} href="#content">
        {t("nav.skip")}
      </a>
      <header className={styles.top}>
        <div className={styles.bar}>
          <Link to="/files" className={styles.brand} aria-label={metaValue("service")}>
            <img src="/v2/web/static/mark.svg" alt="" width="28" height="28" />
            <span>{metaValue("service")}</span>
          </Link>
          <nav className={styles.nav} aria-label={t("nav.label")}>
            <Link to="/files">{t("nav.files")}</Link>
            <Link to="/activity">{t("nav.activity")}</Link>
            <Link to="/endpoints">{t("nav.endpoints")}</Link>
            <a href="/groups">{t("nav.groups")}</a>
          </nav>
          <PersonMenu />
        </div>
      </header>
      <main id="content" className={styles.main} tabIndex={-1} ref={main}>
        <Outlet />
      </main>
    </>
  );
}

function PersonMenu() {
  const { t } = useTranslation();
  const { person } = useRouteContext({ from: "/inside" });
  return (
    <MenuTrigger>
      <PlainButton className={styles.person} aria-label={`${t("nav.menu")}: ${person.name}`}>
        <span className={styles.initial} aria-hidden="true">
          {person.name.slice(0, 1).toUpperCase()}
        </span>
        <span className={styles.name}>{person.name}</span>
      </PlainButton>
      <Popover className={styles.popover ?? ""} placement="bottom end">
        <Menu className={styles.menu ?? ""}>
          <MenuItem href="/account" onAction={() => location.assign("/account")}>
            {t("nav.account")}
          </MenuItem>
          <MenuItem onAction={() => void logout()}>{t("nav.logout")}</MenuItem>
        </Menu>
      </Popover>
    </MenuTrigger>
  );
}
