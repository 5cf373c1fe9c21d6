import "@/app/global.css";
import "@/i18n";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { LoginNeeded, Unreachable } from "@/api/session";
import { App } from "@/app/App";

const root = document.getElementById("root");
if (root) {
  createRoot(root, {
    // what the frame expects and shows as a page is no fault of the program
    onCaughtError: (error) => {
      if (!(error instanceof LoginNeeded || error instanceof Unreachable)) reportError(error);
    },
  }).render(
    <StrictMode>
      <App />
    </StrictMode>,
  );
}
