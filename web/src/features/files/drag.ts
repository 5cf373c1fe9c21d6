/** Dragging what is chosen to the other pane, with the mouse or a pen. Fingers scroll; they have the buttons. */

import styles from "@/features/files/drag.module.css";
import type { Side } from "@/features/files/search";

/** A hand is not that calm. */
const BEGINS_PX = 6;
const EDGE_PX = 36;
const SCROLL_PX = 12;

export interface Drop {
  side: Side;
  /** The folder in that pane that it was dropped on; null: the pane's own. */
  folder: string | null;
}

/** From a pressed button to its release. `canDrop`: whether a pane takes it. */
export function drag(
  start: { clientX: number; clientY: number },
  label: () => string,
  canDrop: (drop: Drop) => boolean,
  onDrop: (drop: Drop) => void,
): void {
  let ghost: HTMLElement | null = null;
  let marked: HTMLElement | null = null;
  let over: Drop | null = null;
  let frame = 0;
  let last = start;

  const mark = (element: HTMLElement | null) => {
    if (marked === element) return;
    marked?.removeAttribute("data-drop");
    element?.setAttribute("data-drop", "");
    marked = element;
  };

  const look = () => {
    const target = document.elementFromPoint(last.clientX, last.clientY);
    const pane = target?.closest<HTMLElement>("[data-pane]");
    const row = target?.closest<HTMLElement>("[data-folder]");
    over = null;
    let element: HTMLElement | null = null;
    if (pane) {
      const side = pane.dataset.pane as Side;
      for (const [candidate, folder] of [
        [row, row?.dataset.folder ?? null],
        [pane, null],
      ] as const) {
        if (candidate && canDrop({ side, folder })) {
          over = { side, folder };
          element = candidate;
          break;
        }
      }
    }
    mark(element);
    const grid = target?.closest<HTMLElement>("[role=grid]");
    if (grid) {
      const box = grid.getBoundingClientRect();
      if (last.clientY < box.top + EDGE_PX) grid.scrollTop -= SCROLL_PX;
      else if (last.clientY > box.bottom - EDGE_PX) grid.scrollTop += SCROLL_PX;
    }
    frame = requestAnimationFrame(look);
  };

  const moved = (event: PointerEvent) => {
    last = event;
    const far = Math.hypot(event.clientX - start.clientX, event.clientY - start.clientY) >= BEGINS_PX;
    if (!ghost && far) {
      ghost = document.createElement("div");
      ghost.className = styles.ghost ?? "";
      ghost.textContent = label();
      document.body.append(ghost);
      document.documentElement.classList.add(styles.dragging ?? "");
      look();
    }
    if (ghost) ghost.style.transform = `translate(${event.clientX + 12}px, ${event.clientY + 8}px)`;
  };

  const end = (dropped: boolean) => {
    window.removeEventListener("pointermove", moved);
    window.removeEventListener("pointerup", up);
    window.removeEventListener("pointercancel", cancel);
    window.removeEventListener("blur", cancel);
    window.removeEventListener("keydown", key, true);
    cancelAnimationFrame(frame);
    mark(null);
    document.documentElement.classList.remove(styles.dragging ?? "");
    const was = ghost;
    ghost?.remove();
    ghost = null;
    if (!was) return;
    // the click that follows is none
    const swallow = (event: Event) => event.stopPropagation();
    window.addEventListener("click", swallow, { capture: true, once: true });
    setTimeout(() => window.removeEventListener("click", swallow, { capture: true }));
    if (dropped && over) onDrop(over);
  };
  const up = () => end(true);
  const cancel = () => end(false);
  const key = (event: KeyboardEvent) => {
    if (event.key !== "Escape" || !ghost) return;
    event.stopPropagation();
    end(false);
  };

  window.addEventListener("pointermove", moved);
  window.addEventListener("pointerup", up);
  window.addEventListener("pointercancel", cancel);
  window.addEventListener("blur", cancel);
  window.addEventListener("keydown", key, true);
}
