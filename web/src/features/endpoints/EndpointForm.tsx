import { ChevronRight } from "lucide-react";
import { type ReactNode, useRef, useState } from "react";
import {
  Disclosure,
  DisclosurePanel,
  Form,
  Heading,
  Label,
  Button as PlainButton,
  Radio,
  RadioGroup,
  Text,
} from "react-aria-components";
import { useTranslation } from "react-i18next";
import styles from "@/features/endpoints/EndpointForm.module.css";
import { useTestOf } from "@/features/endpoints/endpointTest";
import { bodyOf, type Entered, type Wrong, wrongIn } from "@/features/endpoints/form";
import type { EndpointBody } from "@/features/endpoints/queries";
import { TestResult, TestRunning } from "@/features/endpoints/TestResult";
import { TrustField } from "@/features/endpoints/TrustField";
import { Button } from "@/ui/Button";
import { TextField } from "@/ui/Field";
import { Problem } from "@/ui/Problem";

/** A GridFTP server as its owner describes it, with a test before it is saved. */
export function EndpointForm({
  begin,
  submit,
  onSubmit,
  isBusy,
  error,
  cancel,
  kept,
}: {
  begin: Entered;
  /** What the button says. */
  submit: string;
  onSubmit: (body: EndpointBody) => void;
  isBusy: boolean;
  error: Error | null;
  cancel: ReactNode;
  /** It is there already, with its trusted authorities: it is tested as it is kept, on its own page. */
  kept: boolean;
}) {
  const { t } = useTranslation("endpoints");
  const [entered, setEntered] = useState(begin);
  const [wrong, setWrong] = useState<Wrong>({});
  const [more, setMore] = useState(Boolean(begin.subject || begin.dataHosts));
  const form = useRef<HTMLFormElement>(null);
  const set = (change: Partial<Entered>) => {
    setEntered({ ...entered, ...change });
    const rest = { ...wrong };
    for (const name of Object.keys(change)) delete rest[name as keyof Wrong];
    setWrong(rest);
  };

  /** Whether all is well; else the first field that is not has the focus. */
  const check = (named: boolean): boolean => {
    const found = wrongIn(entered, named);
    setWrong(found);
    const [first] = Object.keys(found);
    if (!first) return true;
    if (found.subject) setMore(true);
    setTimeout(() =>
      form.current?.querySelector<HTMLElement>("[data-invalid] input, input[data-invalid]")?.focus(),
    );
    return false;
  };

  return (
    <div className={kept ? styles.alone : styles.halves}>
      <Form
        ref={form}
        className={styles.form ?? ""}
        validationBehavior="aria"
        onSubmit={(event) => {
          event.preventDefault();
          if (check(true)) onSubmit(bodyOf(entered));
        }}
      >
        <TextField
          label={t("form.name")}
          hint={t("form.nameHint")}
          error={wrong.name && t(`form.wrong.${wrong.name}`)}
          value={entered.name}
          onChange={(name) => set({ name })}
          maxLength={128}
          isRequired
          autoComplete="off"
        />
        {!begin.computer && (
          <>
            <TextField
              label={t("form.address")}
              hint={t("form.addressHint")}
              error={wrong.address && t(`form.wrong.${wrong.address}`)}
              value={entered.address}
              onChange={(address) => set({ address })}
              mono
              isRequired
              autoComplete="off"
              spellCheck="false"
            />
            <TrustField value={entered.trust} onChange={(trust) => set({ trust })} kept={kept} />
          </>
        )}
        <TextField
          label={t("form.description")}
          value={entered.description}
          onChange={(description) => set({ description })}
          lines={2}
          maxLength={4096}
        />
        <RadioGroup
          className={styles.radios ?? ""}
          value={entered.public ? "public" : "private"}
          onChange={(value) => set({ public: value === "public" })}
        >
          <Label className={styles.label ?? ""}>{t("form.visible")}</Label>
          <Radio value="private" className={styles.radio ?? ""}>
            {t("form.private")}
          </Radio>
          <Radio value="public" className={styles.radio ?? ""}>
            {t("form.public")}
          </Radio>
          <Text slot="description" className={styles.hint ?? ""}>
            {t(begin.computer ? "connect.visibleHint" : "form.visibleHint")}
          </Text>
        </RadioGroup>
        {!begin.computer && (
          <Disclosure isExpanded={more} onExpandedChange={setMore} className={styles.more ?? ""}>
            <Heading level={2} className={styles.moreHead ?? ""}>
              <PlainButton slot="trigger" className={styles.trigger ?? ""}>
                <ChevronRight size={18} aria-hidden="true" />
                {t("form.advanced")}
              </PlainButton>
            </Heading>
            <DisclosurePanel className={styles.panel ?? ""}>
              <div className={styles.inner}>
                <TextField
                  label={t("form.subject")}
                  hint={t("form.subjectHint")}
                  error={wrong.subject && t(`form.wrong.${wrong.subject === "subject" ? "subject" : "name"}`)}
                  value={entered.subject}
                  onChange={(subject) => set({ subject })}
                  mono
                  autoComplete="off"
                  spellCheck="false"
                />
                <TextField
                  label={t("form.dataHosts")}
                  hint={t("form.dataHostsHint")}
                  value={entered.dataHosts}
                  onChange={(dataHosts) => set({ dataHosts })}
                  mono
                  lines={3}
                  spellCheck="false"
                />
              </div>
            </DisclosurePanel>
          </Disclosure>
        )}
        {error !== null && <Problem title={t("form.failed")} error={error} />}
        <div className={styles.actions}>
          <Button type="submit" variant="primary" isPending={isBusy}>
            {submit}
          </Button>
          {cancel}
        </div>
      </Form>
      {!kept && (
        <Test
          entered={entered}
          isReady={() => check(false)}
          onSubject={(subject) => {
            setMore(true);
            set({ subject });
          }}
        />
      )}
    </div>
  );
}

function Test({
  entered,
  isReady,
  onSubject,
}: {
  entered: Entered;
  isReady: () => boolean;
  onSubject: (subject: string) => void;
}) {
  const { t } = useTranslation("endpoints");
  const test = useTestOf();
  const [tested, setTested] = useState<Entered | null>(null);
  return (
    <section className={styles.test} aria-labelledby="test-title">
      <h2 id="test-title">{t("test.title")}</h2>
      <p className={styles.hint}>{t("test.lead")}</p>
      <div>
        <Button
          onPress={() => {
            if (!isReady()) return;
            setTested(entered);
            test.mutate(bodyOf(entered));
          }}
          isPending={test.isPending}
        >
          {t(test.data ? "test.again" : "test.run")}
        </Button>
      </div>
      {test.isPending ? (
        <TestRunning />
      ) : test.error ? (
        <Problem title={t("test.notRun")} error={test.error} />
      ) : (
        test.data && <TestResult result={test.data} stale={tested !== entered} onSubject={onSubject} />
      )}
    </section>
  );
}
