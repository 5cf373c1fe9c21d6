import { Loading } from "@/ui/Loading";

/** While a page's own code is loaded. */
export function PagePending() {
  return <Loading onRetry={() => location.reload()} />;
}
