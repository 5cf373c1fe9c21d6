import { useSyncExternalStore } from "react";
import { ago, time } from "@/ui/format";

const TICK_MS = 10_000;

const listeners = new Set<() => void>();
let now = Date.now();
let timer: ReturnType<typeof setInterval> | undefined;

/** One clock for all times on a page. */
function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  timer ??= setInterval(() => {
    now = Date.now();
    for (const one of listeners) one();
  }, TICK_MS);
  return () => {
    listeners.delete(listener);
    if (listeners.size > 0) return;
    clearInterval(timer);
    timer = undefined;
  };
}

/** A time of the API: `5 minutes ago`, kept true, with the exact time on hover; or with `exact` just that. */
export function Time({ value, exact = false }: { value: string; exact?: boolean }) {
  const at = time(value);
  return (
    <time dateTime={value} title={exact ? undefined : at}>
      {exact ? at : <Ago value={value} />}
    </time>
  );
}

function Ago({ value }: { value: string }) {
  const text = useSyncExternalStore(subscribe, () => ago(value, Math.max(now, 0)));
  return <>{text}</>;
}
