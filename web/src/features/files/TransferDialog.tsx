import { ArrowDown, ArrowLeftRight, ChevronRight, Plus, Trash2, TriangleAlert } from "lucide-react";
import { useId, useState } from "react";
import { Form, Link } from "react-aria-components";
import { useTranslation } from "react-i18next";
import { sumOf } from "@/features/files/listing";
import {
  ALGORITHMS,
  documentOf,
  hasTrees,
  type Job,
  type Meeting,
  type Options,
  overlaps,
  type Rule,
  type Spot,
  type SyncLevel,
  sentences,
  USUAL,
  USUAL_SYNC,
} from "@/features/files/options";
import { useTransfer } from "@/features/files/queries";
import styles from "@/features/files/TransferDialog.module.css";
import { Button, IconButton } from "@/ui/Button";
import { classes } from "@/ui/classes";
import { Dialog } from "@/ui/Dialog";
import { Checkbox, Select, TextField } from "@/ui/Field";
import { bytes, count } from "@/ui/format";
import { Problem } from "@/ui/Problem";
import { say } from "@/ui/Toast";

const LEVELS: SyncLevel[] = ["always", "0", "1", "2", "3"];
/** The API's own bound. */
const LABEL_CHARACTERS = 128;
const NAMED = 3;
const NAMED_EXTRA = 6;

/** What is to be moved, and how; says in words what that will do, before it is asked for. */
export function TransferDialog({
  job,
  isSync,
  meeting,
  onSwap,
  onClose,
  onDone,
}: {
  job: Job;
  isSync: boolean;
  meeting: Meeting;
  /** The other way round; only where that makes sense. */
  onSwap?: (() => void) | undefined;
  onClose: () => void;
  onDone: () => void;
}) {
  const { t } = useTranslation("files");
  const [options, setOptions] = useState<Options>(isSync ? USUAL_SYNC : USUAL);
  const [submissionId] = useState(() => crypto.randomUUID());
  const { mutate, isPending, error } = useTransfer();
  const change = (part: Partial<Options>) => setOptions((before) => ({ ...before, ...part }));
  const isOver = overlaps(job);
  const number = job.entries?.length ?? 0;

  const send = () =>
    mutate(documentOf(job, options, submissionId), {
      onSuccess: (accepted) => {
        say({
          title: t(isSync ? "transfer.begunSync" : "transfer.begun"),
          text: <Link href={`/activity/${accepted.task_id}`}>{t("toast.follow")}</Link>,
        });
        onDone();
      },
    });

  return (
    <Dialog
      title={isSync ? t("transfer.titleSync") : t("transfer.title", { count: number, amount: count(number) })}
      size="wide"
      isOpen
      onClose={onClose}
      actions={
        <>
          <Button onPress={onClose}>{t("cancel")}</Button>
          <Button
            variant={options.deleteExtra && hasTrees(job) ? "danger" : "primary"}
            isPending={isPending}
            isDisabled={isOver}
            onPress={send}
            autoFocus
          >
            {t(
              isSync
                ? options.deleteExtra
                  ? "transfer.startMirror"
                  : "transfer.startSync"
                : "transfer.start",
            )}
          </Button>
        </>
      }
    >
      <Form
        className={styles.form ?? ""}
        onSubmit={(event) => {
          event.preventDefault();
          if (!isOver && !isPending) send();
        }}
      >
        {error && <Problem title={t("transfer.failed")} error={error} />}
        <Ends job={job} onSwap={onSwap} />
        <div className={styles.two}>
          <Select
            label={t("option.sync")}
            choices={LEVELS.map((one) => ({
              id: one,
              label: t(`sync.${one}.label`),
              hint: t(`sync.${one}.hint`),
            }))}
            selectedKey={options.sync}
            onSelectionChange={(key) => change({ sync: key as SyncLevel })}
          />
          <TextField
            label={t("option.label")}
            value={options.label}
            onChange={(label) => change({ label })}
            maxLength={LABEL_CHARACTERS}
            placeholder={t("option.labelHint")}
          />
        </div>
        {hasTrees(job) && (
          <Checkbox
            label={t("option.deleteExtra")}
            hint={t("option.deleteExtraHint", { from: job.from.name, to: job.to.name })}
            isSelected={options.deleteExtra}
            onChange={(deleteExtra) => change({ deleteExtra })}
          />
        )}
        <Preview job={job} options={options} meeting={meeting} isOver={isOver} />
        <details className={styles.all}>
          <summary>
            <ChevronRight size={16} aria-hidden="true" />
            {t("option.all")}
          </summary>
          <AllOptions job={job} options={options} change={change} />
        </details>
        <input type="submit" hidden />
      </Form>
    </Dialog>
  );
}

function Ends({ job, onSwap }: { job: Job; onSwap: (() => void) | undefined }) {
  const { t } = useTranslation("files");
  const { from, to, entries } = job;
  const sum = sumOf(entries ?? []);
  return (
    <div className={styles.ends}>
      <End label={t("from")} spot={from} />
      {onSwap ? (
        <IconButton label={t("transfer.swap")} onPress={onSwap} className={styles.swap}>
          <ArrowLeftRight size={18} aria-hidden="true" />
        </IconButton>
      ) : (
        <ArrowDown size={18} aria-hidden="true" className={styles.arrow} />
      )}
      <End label={t("to")} spot={to} />
      <p className={styles.what}>
        {entries === null ? (
          t("transfer.everything")
        ) : (
          <>
            {entries.slice(0, NAMED).map((one, index) => (
              <span key={one.name}>
                {index > 0 && ", "}
                <bdi>
                  {one.name}
                  {one.kind === "folder" && "/"}
                </bdi>
              </span>
            ))}
            {entries.length > NAMED &&
              t("transfer.andMore", { count: entries.length - NAMED, amount: count(entries.length - NAMED) })}
            <span className={styles.soft}>
              {sum.files > 0 &&
                ` · ${t("files", { count: sum.files, amount: count(sum.files) })}, ${bytes(sum.bytes)}`}
              {sum.folders > 0 &&
                ` · ${t("transfer.folders", { count: sum.folders, amount: count(sum.folders) })}`}
            </span>
          </>
        )}
      </p>
    </div>
  );
}

function End({ label, spot }: { label: string; spot: Spot }) {
  return (
    <div className={styles.end}>
      <span className={styles.soft}>{label}</span>
      <strong>{spot.name}</strong>
      <code>{spot.path}</code>
    </div>
  );
}

/** What the options together will do. Changes are read out. */
function Preview({
  job,
  options,
  meeting,
  isOver,
}: {
  job: Job;
  options: Options;
  meeting: Meeting;
  isOver: boolean;
}) {
  const { t } = useTranslation("files");
  const id = useId();
  const values = { from: job.from.name, to: job.to.name, fromPath: job.from.path, toPath: job.to.path };
  const mirrors = options.deleteExtra && job.entries === null;
  const listed = (names: string[], most: number) =>
    names.slice(0, most).join(", ") +
    (names.length > most
      ? t("transfer.andMore", { count: names.length - most, amount: count(names.length - most) })
      : "");
  return (
    <section className={styles.preview} aria-labelledby={id}>
      <h3 id={id}>{t("say.title")}</h3>
      <ul aria-live="polite">
        {isOver && (
          <li className={styles.danger}>
            <TriangleAlert size={16} aria-hidden="true" />
            <span>{t("say.overlap")}</span>
          </li>
        )}
        {sentences(job, options).map(({ key, kind }) => (
          <li key={key} className={kind === "say" ? undefined : styles[kind]}>
            {kind !== "say" && <TriangleAlert size={16} aria-hidden="true" />}
            <span>
              {t(`say.${key}`, values)}
              {key.startsWith("deletes") && mirrors && meeting.extra && (
                <>
                  {" "}
                  <strong>
                    {meeting.extra.length === 0
                      ? t("say.extraNone")
                      : t("say.extra", {
                          count: meeting.extra.length,
                          amount: count(meeting.extra.length),
                          names: listed(meeting.extra, NAMED_EXTRA),
                        })}
                  </strong>
                </>
              )}
              {key === "copies.always" && meeting.same.length > 0 && (
                <>
                  {" "}
                  <strong>
                    {t("say.same", {
                      count: meeting.same.length,
                      amount: count(meeting.same.length),
                      names: listed(meeting.same, NAMED_EXTRA),
                    })}
                  </strong>
                </>
              )}
            </span>
          </li>
        ))}
      </ul>
    </section>
  );
}

const SWITCHES = ["verify", "encrypt", "preserveTimes", "skipSourceErrors", "failOnQuota"] as const;
const LINKS = ["ignore", "keep", "copy"] as const;

function AllOptions({
  job,
  options,
  change,
}: {
  job: Job;
  options: Options;
  change: (part: Partial<Options>) => void;
}) {
  const { t } = useTranslation("files");
  return (
    <div className={styles.options}>
      <div className={styles.two}>
        {SWITCHES.map((one) => (
          <Checkbox
            key={one}
            label={t(`option.${one}`)}
            hint={t(`option.${one}Hint`)}
            isSelected={options[one]}
            onChange={(on) => change({ [one]: on })}
          />
        ))}
      </div>
      <div className={styles.two}>
        <Select
          label={t("option.algorithm")}
          choices={[
            { id: "", label: t("option.fastest"), hint: t("option.fastestHint") },
            ...ALGORITHMS.map((one) => ({ id: one, label: one })),
          ]}
          selectedKey={options.algorithm ?? ""}
          onSelectionChange={(key) => change({ algorithm: ALGORITHMS.find((one) => one === key) ?? null })}
        />
        <Select
          label={t("option.links")}
          isDisabled={!hasTrees(job)}
          choices={LINKS.map((one) => ({
            id: one,
            label: t(`option.link.${one}.label`),
            hint: t(`option.link.${one}.hint`),
          }))}
          selectedKey={options.links}
          onSelectionChange={(key) => change({ links: LINKS.find((one) => one === key) ?? "ignore" })}
        />
        <TextField
          label={t("option.deadline")}
          hint={t("option.deadlineHint")}
          type="datetime-local"
          value={options.deadline}
          onChange={(deadline) => change({ deadline })}
        />
      </div>
      <Rules rules={options.rules} onChange={(rules) => change({ rules })} />
    </div>
  );
}

const TYPES = ["any", "file", "dir"] as const;

function Rules({ rules, onChange }: { rules: Rule[]; onChange: (rules: Rule[]) => void }) {
  const { t } = useTranslation("files");
  const set = (at: number, part: Partial<Rule>) =>
    onChange(rules.map((one, index) => (index === at ? { ...one, ...part } : one)));
  return (
    <fieldset className={styles.rules}>
      <legend>{t("rule.title")}</legend>
      <p className={styles.soft}>{t("rule.text")}</p>
      {rules.map((rule, index) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: a rule is known by its place
        <div key={index} className={styles.rule}>
          <Select
            label={t("rule.method")}
            choices={(["exclude", "include"] as const).map((one) => ({ id: one, label: t(`rule.${one}`) }))}
            selectedKey={rule.method}
            onSelectionChange={(key) => set(index, { method: key === "include" ? "include" : "exclude" })}
          />
          <TextField
            label={t("rule.name")}
            placeholder="*.tmp"
            mono
            value={rule.name}
            onChange={(name) => set(index, { name })}
          />
          <Select
            label={t("rule.type")}
            choices={TYPES.map((one) => ({ id: one, label: t(`rule.types.${one}`) }))}
            selectedKey={rule.type ?? "any"}
            onSelectionChange={(key) => set(index, { type: key === "file" || key === "dir" ? key : null })}
          />
          <IconButton
            label={t("rule.remove")}
            onPress={() => onChange(rules.filter((_, other) => other !== index))}
          >
            <Trash2 size={16} aria-hidden="true" />
          </IconButton>
        </div>
      ))}
      <Button
        size="small"
        className={classes(styles.add)}
        onPress={() => onChange([...rules, { method: "exclude", name: "", type: null }])}
      >
        <Plus size={16} aria-hidden="true" />
        {t("rule.add")}
      </Button>
    </fieldset>
  );
}
