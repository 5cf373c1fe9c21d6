import type activity from "@/i18n/en/activity.json";
import type common from "@/i18n/en/common.json";
import type endpoints from "@/i18n/en/endpoints.json";
import type files from "@/i18n/en/files.json";

/** All texts, by namespace; a feature has one. */
export interface Texts {
  common: typeof common;
  activity: typeof activity;
  endpoints: typeof endpoints;
  files: typeof files;
}

export type Namespace = keyof Texts;

declare module "i18next" {
  interface CustomTypeOptions {
    defaultNS: "common";
    resources: Texts;
  }
}
