import {
  Ban,
  CheckCircle2,
  CircleDashed,
  CirclePause,
  CircleX,
  Clock,
  Hourglass,
  KeyRound,
  type LucideIcon,
  Play,
  RefreshCw,
  ServerOff,
  UserX,
} from "lucide-react";
import { memo } from "react";
import { useTranslation } from "react-i18next";
import type { StateKind, Tone } from "@/features/activity/state";
import { Badge } from "@/ui/Badge";

const ICONS: Record<StateKind, LucideIcon> = {
  queued: Clock,
  running: Play,
  waitingTask: Hourglass,
  waitingServer: ServerOff,
  credential: KeyRound,
  suspended: UserX,
  paused: CirclePause,
  held: CirclePause,
  cancelling: CircleDashed,
  retrying: RefreshCw,
  succeeded: CheckCircle2,
  skipped: CheckCircle2,
  failed: CircleX,
  cancelled: Ban,
  expired: CircleX,
};

export const StateBadge = memo(function StateBadge({ kind, tone }: { kind: StateKind; tone: Tone }) {
  const { t } = useTranslation("activity");
  const Icon = ICONS[kind];
  return (
    <Badge kind={tone} icon={<Icon size={14} aria-hidden="true" />}>
      {t(`state.${kind}`)}
    </Badge>
  );
});
