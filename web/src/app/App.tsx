/** The whole application: who is logged in decides whether there are pages or the way to log in. */

import { QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider } from "@tanstack/react-router";
import { RouterProvider as AriaRouter, I18nProvider } from "react-aria-components";
import { Boundary } from "@/app/Boundary";
import { queries } from "@/app/queries";
import { router } from "@/app/router";
import { Toasts } from "@/ui/Toast";

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
