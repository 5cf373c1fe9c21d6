import { useEffect } from "react";

/** What the page is of, in front of the title that the frame gives it: tabs cut the end off. */
export function usePageTitle(of: string | undefined): void {
  useEffect(() => {
    if (!of) return;
    const before = document.title;
    document.title = `${of} – ${before}`;
    return () => {
      document.title = before;
    };
  }, [of]);
}
