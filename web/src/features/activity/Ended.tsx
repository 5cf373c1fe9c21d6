import { useEffect, useRef, useState } from "react";
import { isFinished, type LiveTask } from "@/api/taskMerge";
import { stateOf } from "@/features/activity/state";
import { useTexts } from "@/features/activity/texts";
import hidden from "@/ui/unseen.module.css";

/** Says, to who does not see it, which tasks of the list end while it is looked at. */
export function Ended({ tasks }: { tasks: readonly LiveTask[] }) {
  const { t, title } = useTexts();
  const running = useRef(new Set<string>());
  const [said, setSaid] = useState("");
  useEffect(() => {
    const ended = tasks.filter((one) => isFinished(one) && running.current.has(one.task_id));
    running.current = new Set(tasks.filter((one) => !isFinished(one)).map((one) => one.task_id));
    if (ended.length > 0)
      setSaid(ended.map((one) => `${title(one)}: ${t(`state.${stateOf(one).kind}`)}`).join("; "));
  }, [tasks, title, t]);
  return (
    <p role="status" className={hidden.unseen}>
      {said}
    </p>
  );
}
