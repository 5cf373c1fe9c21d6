/** Texts. A language is a folder of the same files; nothing else in the application has words in it. */

import i18next from "i18next";
import { initReactI18next } from "react-i18next";
import activity from "@/i18n/en/activity.json";
import common from "@/i18n/en/common.json";
import endpoints from "@/i18n/en/endpoints.json";
import files from "@/i18n/en/files.json";

export const english = { common, files, activity, endpoints } as const;

await i18next.use(initReactI18next).init({
  lng: "en",
  fallbackLng: "en",
  defaultNS: "common",
  resources: { en: english },
  interpolation: { escapeValue: false }, // React escapes
  returnNull: false,
});
