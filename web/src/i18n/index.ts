/**
 * Texts. A language is a folder of the same files; nothing else in the application has words in it. What all pages
 * need is there from the beginning, the texts of a feature come with its first page.
 */

import i18next from "i18next";
import { initReactI18next } from "react-i18next";
import common from "@/i18n/en/common.json";
import type { Namespace, Texts } from "@/i18n/types";

const LANGUAGE = "en";

const files = import.meta.glob<Texts[Namespace]>(["./*/*.json", "!./*/common.json"], { import: "default" });

/** Have the texts of a feature ready. */
export async function addTexts(namespace: Exclude<Namespace, "common">): Promise<void> {
  if (i18next.hasResourceBundle(LANGUAGE, namespace)) return;
  i18next.addResourceBundle(LANGUAGE, namespace, await files[`./${LANGUAGE}/${namespace}.json`]?.());
}

await i18next.use(initReactI18next).init({
  lng: LANGUAGE,
  fallbackLng: LANGUAGE,
  defaultNS: "common",
  resources: { [LANGUAGE]: { common } },
  interpolation: { escapeValue: false }, // React escapes
  returnNull: false,
});
