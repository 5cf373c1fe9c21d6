import { Component, type ReactNode } from "react";
import { Broken } from "@/app/Outside";

/** What is shown instead of a white page when the frame itself breaks; a page that does is caught by its route. */
export class Boundary extends Component<{ children: ReactNode }, { broken: boolean }> {
  override state = { broken: false };

  static getDerivedStateFromError() {
    return { broken: true };
  }

  override render() {
    return this.state.broken ? <Broken /> : this.props.children;
  }
}
