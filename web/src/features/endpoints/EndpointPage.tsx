import { Link, useNavigate, useParams } from "@tanstack/react-router";
import { Copy, FolderOpen, Pencil, Trash2 } from "lucide-react";
import { type ReactNode, useState } from "react";
import { useTranslation } from "react-i18next";
import { ApiProblem } from "@/api/client";
import { hasFiles, isComputer, isServersOwn } from "@/api/endpoints";
import { shortAddress } from "@/features/endpoints/address";
import { ConnectPanel } from "@/features/endpoints/ConnectPanel";
import { CredentialPanel } from "@/features/endpoints/CredentialPanel";
import { EndpointForm } from "@/features/endpoints/EndpointForm";
import styles from "@/features/endpoints/EndpointPage.module.css";
import { useTest } from "@/features/endpoints/endpointTest";
import { bodyOf, enteredOf } from "@/features/endpoints/form";
import { type Endpoint, useDelete, useEndpoint, useUpdate } from "@/features/endpoints/queries";
import { TestResult, TestRunning } from "@/features/endpoints/TestResult";
import { Button, buttonClasses, IconButton } from "@/ui/Button";
import { ConfirmDialog } from "@/ui/Dialog";
import { Loading } from "@/ui/Loading";
import { Problem } from "@/ui/Problem";
import { usePageTitle } from "@/ui/pageTitle";
import { Skeleton } from "@/ui/Skeleton";
import { say } from "@/ui/Toast";

export function EndpointPage() {
  const { endpointId } = useParams({ from: "/inside/endpoints/$endpointId" });
  const { t } = useTranslation("endpoints");
  const found = useEndpoint(endpointId);
  usePageTitle(found.data?.display_name);
  if (found.data) return <Shown key={endpointId} endpoint={found.data} />;
  if (found.error) {
    const gone = found.error instanceof ApiProblem && found.error.status === 404;
    return (
      <div className={styles.page}>
        <Problem
          title={t("page.failed")}
          error={found.error}
          {...(gone ? {} : { onRetry: () => void found.refetch() })}
        />
        <p>
          <Link to="/endpoints">{t("page.back")}</Link>
        </p>
      </div>
    );
  }
  return <Placeholder onRetry={() => void found.refetch()} />;
}

function Shown({ endpoint }: { endpoint: Endpoint }) {
  const { t } = useTranslation("endpoints");
  const [editing, setEditing] = useState(false);
  const [deleting, setDeleting] = useState(false);
  const update = useUpdate(endpoint.id);
  const mine = endpoint.my_effective_roles.length > 0;
  const changeable = mine && !isServersOwn(endpoint);
  if (editing)
    return (
      <div className={styles.page}>
        <h1>{t("form.editTitle", { name: endpoint.display_name })}</h1>
        <EndpointForm
          begin={enteredOf(endpoint)}
          kept
          submit={t("form.save")}
          isBusy={update.isPending}
          error={update.error}
          cancel={<Button onPress={() => setEditing(false)}>{t("cancel", { ns: "common" })}</Button>}
          onSubmit={(body) =>
            update.mutate(body, {
              onSuccess: () => {
                setEditing(false);
                say({ title: t("form.saved") });
              },
            })
          }
        />
      </div>
    );
  return (
    <div className={styles.page}>
      <div className={styles.head}>
        <h1>
          <bdi>{endpoint.display_name}</bdi>
        </h1>
        <div className={styles.actions}>
          {hasFiles(endpoint) && (
            <a href={`/files?origin_id=${endpoint.id}`} className={buttonClasses("primary")}>
              <FolderOpen size={18} aria-hidden="true" />
              {t("page.open")}
            </a>
          )}
          {changeable && (
            <>
              <Button onPress={() => setEditing(true)}>
                <Pencil size={16} aria-hidden="true" />
                {t("page.edit")}
              </Button>
              <Button variant="danger" onPress={() => setDeleting(true)}>
                <Trash2 size={16} aria-hidden="true" />
                {t("page.delete")}
              </Button>
            </>
          )}
        </div>
        {endpoint.description && <p className={styles.lead}>{endpoint.description}</p>}
      </div>
      <div className={styles.columns}>
        <div className={styles.column}>
          {isComputer(endpoint) ? (
            <ConnectPanel endpoint={endpoint} mine={changeable} />
          ) : (
            <CredentialPanel endpoint={endpoint} />
          )}
          {hasFiles(endpoint) && <Test endpoint={endpoint} mine={mine} />}
        </div>
        <About endpoint={endpoint} mine={mine} />
      </div>
      {changeable && <Deleting endpoint={endpoint} isOpen={deleting} onClose={() => setDeleting(false)} />}
    </div>
  );
}

/** Clients have names of their own, which say nothing to people. */
function ownerOf({ owner_string: owner }: Endpoint, service: string): string {
  return /@clients\./.test(owner) ? service : owner;
}

function About({ endpoint, mine }: { endpoint: Endpoint; mine: boolean }) {
  const { t } = useTranslation("endpoints");
  const server = isComputer(endpoint) ? undefined : endpoint.DATA[0];
  const facts: [string, ReactNode][] = [
    [t("page.address"), server && <code>{shortAddress(server.hostname, server.port)}</code>],
    [t("page.owner"), mine ? t("page.you") : ownerOf(endpoint, t("page.service"))],
    [t("page.visible"), endpoint.public ? t("page.everybody") : t("page.onlyYou")],
    [t("page.organization"), endpoint.organization],
    [t("page.contact"), endpoint.contact_email],
    [t("page.subject"), server?.subject && <code>{server.subject}</code>],
    [
      t("page.dataHosts"),
      server && endpoint.data_hosts.length > 0 && <code>{endpoint.data_hosts.join(", ")}</code>,
    ],
  ];
  return (
    <section className={styles.card} aria-labelledby="about">
      <h2 id="about">{t("page.about")}</h2>
      <dl className={styles.facts}>
        {facts
          .filter(([, value]) => value)
          .map(([term, value]) => (
            <div key={term}>
              <dt>{term}</dt>
              <dd>{value}</dd>
            </div>
          ))}
        <div>
          <dt>{t("page.id")}</dt>
          <dd className={styles.id}>
            <code>{endpoint.id}</code>
            <IconButton
              label={t("page.copyId")}
              className={styles.copy ?? ""}
              onPress={() =>
                void navigator.clipboard.writeText(endpoint.id).then(() => say({ title: t("page.copied") }))
              }
            >
              <Copy size={15} aria-hidden="true" />
            </IconButton>
          </dd>
        </div>
      </dl>
    </section>
  );
}

function Test({ endpoint, mine }: { endpoint: Endpoint; mine: boolean }) {
  const { t } = useTranslation("endpoints");
  const test = useTest(endpoint.id);
  const update = useUpdate(endpoint.id);
  const failed = test.error ?? update.error;
  const take = (subject: string) =>
    update.mutate(
      { ...bodyOf(enteredOf(endpoint)), DATA: [{ uri: endpoint.DATA[0]?.uri ?? "", subject }] },
      { onSuccess: () => test.mutate() },
    );
  return (
    <section className={styles.card} aria-labelledby="test">
      <h2 id="test">{t("test.title")}</h2>
      <p className={styles.soft}>{t(isComputer(endpoint) ? "test.leadComputer" : "test.leadSaved")}</p>
      <div>
        <Button onPress={() => test.mutate()} isPending={test.isPending}>
          {t(test.data ? "test.again" : "test.run")}
        </Button>
      </div>
      {test.isPending || update.isPending ? (
        <TestRunning />
      ) : failed ? (
        <Problem title={t("test.notRun")} error={failed} />
      ) : (
        test.data && <TestResult result={test.data} {...(mine ? { onSubject: take } : {})} />
      )}
    </section>
  );
}

function Deleting({
  endpoint,
  isOpen,
  onClose,
}: {
  endpoint: Endpoint;
  isOpen: boolean;
  onClose: () => void;
}) {
  const { t } = useTranslation("endpoints");
  const navigate = useNavigate();
  const remove = useDelete(endpoint.id);
  const name = endpoint.display_name;
  return (
    <ConfirmDialog
      title={t("remove.title", { name })}
      isOpen={isOpen}
      onClose={onClose}
      confirm={t("remove.confirm")}
      isBusy={remove.isPending}
      onConfirm={() =>
        remove.mutate(undefined, {
          onSuccess: () => {
            say({ title: t("remove.done", { name }) });
            void navigate({ to: "/endpoints" });
          },
        })
      }
    >
      <div>
        <p>{t("remove.text")}</p>
        <ul className={styles.goes}>
          <li>{t("remove.credentials")}</li>
          <li>{t("remove.bookmarks")}</li>
        </ul>
      </div>
      <p>{t("remove.tasks")}</p>
      {remove.error && <Problem title={t("remove.failed")} error={remove.error} />}
    </ConfirmDialog>
  );
}

function Placeholder({ onRetry }: { onRetry: () => void }) {
  return (
    <div className={styles.page}>
      <Loading onRetry={onRetry}>
        <div className={styles.head} aria-hidden="true">
          <Skeleton width="18rem" height="1.75rem" />
        </div>
        <div className={styles.columns} aria-hidden="true">
          <div className={styles.card}>
            <Skeleton width="10rem" />
            <Skeleton height="12rem" />
          </div>
          <div className={styles.card}>
            <Skeleton width="6rem" />
            <Skeleton height="8rem" />
          </div>
        </div>
      </Loading>
    </div>
  );
}
