/** The whole application: who is logged in decides whether there are pages or the way to log in. */

import { QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider } from "@tanstack/react-router";
import { RouterProvider as AriaRouter, I18nProvider } from "react-aria-components";
import { whenLoginEnds } from "@/api/session";
import { Boundary } from "@/app/Boundary";
import { queries } from "@/app/queries";
import { router } from "@/app/router";
import { Toasts } from "@/ui/Toast";

// nothing of one person is left for the next
whenLoginEnds(() => {
  queries.clear();
  void router.invalidate();
});
// a page that the browser had put by knows nothing of what has happened since: a logout, for one
addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});

export function App() {
  return (
    <Boundary>
      <I18nProvider locale={navigator.language}>
        <QueryClientProvider client={queries}>
          <AriaRouter navigate={(to) => router.navigate({ to: to as "/" })}>
            <RouterProvider router={router} />
            <Toasts />
          </AriaRouter>
        </QueryClientProvider>
      </I18nProvider>
    </Boundary>
  );
}
