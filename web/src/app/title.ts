import type { AsyncRouteComponent } from "@tanstack/react-router";
import { metaValue } from "@/api/session";
import { setFrameTitle } from "@/ui/pageTitle";

/** What a page of the frame is called, in the texts. */
export type TitleKey =
  | "nav.files"
  | "nav.activity"
  | "nav.endpoints"
  | "nav.newEndpoint"
  | "nav.newComputer"
  | "nav.login"
  | "error.notFound"
  | "error.crashed";

/** Name the tab. */
export function titled(title: string): void {
  setFrameTitle(`${title} – ${metaValue("service")}`);
}

declare module "@tanstack/react-router" {
  interface StaticDataRouteOption {
    title?: TitleKey;
    /** What shows it; its code is fetched ahead. */
    page?: AsyncRouteComponent<unknown>;
  }
}
