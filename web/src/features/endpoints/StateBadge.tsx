import { CircleCheck, CircleDashed, CircleX, Clock, ShieldCheck } from "lucide-react";
import { useTranslation } from "react-i18next";
import type { Credential } from "@/features/endpoints/queries";
import { Badge } from "@/ui/Badge";
import { ago } from "@/ui/format";

const SIZE = 14;

/** Whether the person's credential for an endpoint can be used, and how long. */
export function StateBadge({
  credential,
}: {
  credential: Pick<Credential, "state" | "expiration_time"> | undefined;
}) {
  const { t } = useTranslation("endpoints");
  const state = credential?.state ?? "none";
  const when = credential?.expiration_time ? ago(credential.expiration_time) : "";
  switch (state) {
    case "managed":
      return (
        <Badge kind="good" icon={<ShieldCheck size={SIZE} aria-hidden="true" />}>
          {t("state.managed")}
        </Badge>
      );
    case "valid":
      return (
        <Badge kind="good" icon={<CircleCheck size={SIZE} aria-hidden="true" />}>
          {t("state.valid", { when })}
        </Badge>
      );
    case "expiring":
      return (
        <Badge kind="warn" icon={<Clock size={SIZE} aria-hidden="true" />}>
          {t("state.expiring", { when })}
        </Badge>
      );
    case "expired":
      return (
        <Badge kind="danger" icon={<CircleX size={SIZE} aria-hidden="true" />}>
          {t("state.expired", { when })}
        </Badge>
      );
    case "moved":
      return (
        <Badge kind="danger" icon={<CircleX size={SIZE} aria-hidden="true" />}>
          {t("state.moved")}
        </Badge>
      );
    default:
      return <Badge icon={<CircleDashed size={SIZE} aria-hidden="true" />}>{t("state.none")}</Badge>;
  }
}
