import { CircleCheck, CirclePause, CircleX } from "lucide-react";
import { useTranslation } from "react-i18next";
import type { ConnectionState } from "@/api/endpoints";
import { Badge } from "@/ui/Badge";

const SIZE = 14;
const LOOKS = {
  connected: { kind: "good", Icon: CircleCheck },
  paused: { kind: "warn", Icon: CirclePause },
  away: { kind: undefined, Icon: CircleX },
} as const;

/** Whether a computer is there just now. */
export function ConnectionBadge({ state }: { state: ConnectionState }) {
  const { t } = useTranslation("endpoints");
  const { kind, Icon } = LOOKS[state];
  return (
    <Badge {...(kind ? { kind } : {})} icon={<Icon size={SIZE} aria-hidden="true" />}>
      {t(`connection.${state}`)}
    </Badge>
  );
}
