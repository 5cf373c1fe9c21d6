import { useEffect } from "react";

let ofFrame = "";

/** The title that the frame gives a page, when one comes to it. */
export function setFrameTitle(title: string): void {
  ofFrame = title;
  document.title = title;
}

/** What the page is of, in front of the title that the frame has given it before: tabs cut the end off. */
export function usePageTitle(of: string | undefined): void {
  useEffect(() => {
    if (of) document.title = `${of} – ${ofFrame}`;
  }, [of]);
}
