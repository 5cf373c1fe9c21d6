/** The addresses. Pages are loaded when they are first needed; what they show is in their address. */

import {
  createRootRoute,
  createRoute,
  createRouter,
  lazyRouteComponent,
  Outlet,
  redirect,
} from "@tanstack/react-router";
import { finishLogin, person, Unreachable } from "@/api/session";
import { Arriving, LoginFailed, NotFound, Problem } from "@/app/Outside";
import { PagePending } from "@/app/PagePending";
import { Shell } from "@/app/Shell";
import { activitySearch, taskSearch } from "@/features/activity/search";
import { endpointsSearch } from "@/features/endpoints/search";
import { filesSearch } from "@/features/files/search";
import { addTexts } from "@/i18n";

/** A page's code, and the texts of its feature beside it. */
function withTexts<T>(namespace: Parameters<typeof addTexts>[0], load: () => Promise<T>): () => Promise<T> {
  return async () => {
    const [page] = await Promise.all([load(), addTexts(namespace)]);
    return page;
  };
}

const root = createRootRoute({ component: Outlet, notFoundComponent: NotFound, errorComponent: Problem });

const callback = createRoute({
  getParentRoute: () => root,
  path: "/login/callback",
  validateSearch: (search: Record<string, unknown>) => search,
  beforeLoad: async () => {
    const answer = new URLSearchParams(location.search);
    // the code is of no use any more, but it has no business in an address either; the router's own
    // replaceState would begin this load again
    History.prototype.replaceState.call(history, null, "", location.pathname);
    const returnTo = await finishLogin(answer);
    throw redirect({ href: returnTo, replace: true });
  },
  component: Outlet,
  pendingComponent: Arriving,
  errorComponent: ({ error }) => (error instanceof Unreachable ? <Problem error={error} /> : <LoginFailed />),
});

/** All pages that need somebody to be logged in. */
const inside = createRoute({
  getParentRoute: () => root,
  id: "inside",
  beforeLoad: async ({ matches }) => {
    // the page's own code is fetched while its person is looked up
    void matches.at(-1)?.staticData.page?.preload?.();
    return { person: await person() };
  },
  component: Shell,
  pendingComponent: Arriving,
  errorComponent: Problem,
});

const home = createRoute({
  getParentRoute: () => inside,
  path: "/",
  beforeLoad: () => {
    throw redirect({ to: "/files", replace: true });
  },
});

const filesPage = lazyRouteComponent(
  withTexts("files", () => import("@/features/files/FilesPage")),
  "FilesPage",
);
const files = createRoute({
  getParentRoute: () => inside,
  path: "/files",
  staticData: { title: "nav.files", page: filesPage },
  validateSearch: filesSearch,
  component: filesPage,
});

const activity = createRoute({
  getParentRoute: () => inside,
  path: "/activity",
  staticData: { title: "nav.activity" },
  validateSearch: activitySearch,
  component: lazyRouteComponent(
    withTexts("activity", () => import("@/features/activity/ActivityPage")),
    "ActivityPage",
  ),
});

const task = createRoute({
  getParentRoute: () => inside,
  path: "/activity/$taskId",
  staticData: { title: "nav.activity" },
  validateSearch: taskSearch,
  component: lazyRouteComponent(
    withTexts("activity", () => import("@/features/activity/TaskPage")),
    "TaskPage",
  ),
});

const endpoints = createRoute({
  getParentRoute: () => inside,
  path: "/endpoints",
  staticData: { title: "nav.endpoints" },
  validateSearch: endpointsSearch,
  component: lazyRouteComponent(
    withTexts("endpoints", () => import("@/features/endpoints/EndpointsPage")),
    "EndpointsPage",
  ),
});

const newEndpoint = createRoute({
  getParentRoute: () => inside,
  path: "/endpoints/new",
  staticData: { title: "nav.newEndpoint" },
  component: lazyRouteComponent(
    withTexts("endpoints", () => import("@/features/endpoints/NewEndpointPage")),
    "NewEndpointPage",
  ),
});

const newComputer = createRoute({
  getParentRoute: () => inside,
  path: "/endpoints/connect",
  staticData: { title: "nav.newComputer" },
  component: lazyRouteComponent(
    withTexts("endpoints", () => import("@/features/endpoints/ConnectPage")),
    "ConnectPage",
  ),
});

const endpoint = createRoute({
  getParentRoute: () => inside,
  path: "/endpoints/$endpointId",
  staticData: { title: "nav.endpoints" },
  component: lazyRouteComponent(
    withTexts("endpoints", () => import("@/features/endpoints/EndpointPage")),
    "EndpointPage",
  ),
});

export const router = createRouter({
  routeTree: root.addChildren([
    callback,
    inside.addChildren([home, files, activity, task, endpoints, newEndpoint, newComputer, endpoint]),
  ]),
  defaultPreload: "intent",
  defaultPendingComponent: PagePending,
  defaultPendingMs: 0,
  defaultPendingMinMs: 0,
  scrollRestoration: true,
});

declare module "@tanstack/react-router" {
  interface Register {
    router: typeof router;
  }
}
