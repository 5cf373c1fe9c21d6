import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { brotliCompress, constants, gzip } from "node:zlib";
import react from "@vitejs/plugin-react";
import { defineConfig, type Plugin } from "vitest/config";

const SMALLEST_COMPRESSED = 1024;

/** Beside each asset its brotli and gzip: compressed once, here, and never by the service. */
function precompressed(): Plugin {
  const best = { params: { [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY } };
  return {
    name: "precompressed",
    apply: "build",
    enforce: "post",
    async writeBundle({ dir }, bundle) {
      if (!dir) return;
      await Promise.all(
        Object.keys(bundle)
          .filter((name) => /\.(js|css|svg|json)$/.test(name))
          .map(async (name) => {
            const file = join(dir, name);
            const content = await readFile(file);
            if (content.length < SMALLEST_COMPRESSED) return;
            await writeFile(`${file}.br`, await promisify(brotliCompress)(content, best));
            await writeFile(`${file}.gz`, await promisify(gzip)(content, { level: 9 }));
          }),
      );
    },
  };
}

/** Languages that the interface is in: the component library has its own texts in thirty. */
const LANGUAGES = ["en-US"];
const THEIR_TEXTS = /\/node_modules\/react-(?:aria|stately|aria-components)\/.*\/([a-z]{2}-[A-Z]{2})\.mjs$/;

/** Leaves out the library's texts in languages that nothing else is in; it takes the default one then. */
function ourLanguages(): Plugin {
  return {
    name: "our-languages",
    load(id) {
      const language = THEIR_TEXTS.exec(id)?.[1];
      return language && !LANGUAGES.includes(language) ? "export default undefined;" : null;
    },
  };
}

export default defineConfig({
  plugins: [react(), ourLanguages(), precompressed()],
  resolve: { tsconfigPaths: true },
  build: {
    outDir: "../src/towpath/gui/built",
    emptyOutDir: true,
    assetsDir: "app",
    // one file is one request: nothing of ours is worth being part of an address
    assetsInlineLimit: 0,
    sourcemap: false,
    target: "es2023",
    modulePreload: { polyfill: false },
    rolldownOptions: {
      output: {
        codeSplitting: {
          // what changes only when a library does stays in browsers when we change; the rest is by page
          groups: [
            { name: "react", test: /node_modules\/(react|react-dom|scheduler)\//, priority: 3 },
            {
              name: "frame",
              test: /node_modules\/(@tanstack\/(?!.*virtual)|i18next|react-i18next|openapi-fetch)/,
              priority: 2,
            },
            // one request for what many pages need, not one for each drawing
            { name: "shared", test: /src\/ui\/|lucide-react/, minShareCount: 2, priority: 1 },
            { name: "widgets", test: /react-aria|react-stately|@internationalized/, minShareCount: 4 },
          ],
        },
      },
    },
    reportCompressedSize: false,
    chunkSizeWarningLimit: 700,
  },
  server: {
    // all but the pages themselves comes from a real service
    proxy: {
      "^/(v0.10|v2|account|groups|jwk.json|.well-known)": {
        target: process.env.TOWPATH ?? "https://127.0.0.1:8443",
        secure: false,
      },
    },
  },
  test: { include: ["src/**/*.test.{ts,tsx}"] },
});
