/** Server-sent events, read by the rules of the HTML standard (9.2, "Server-sent events"). Pure. */

export interface ServerEvent {
  event: string;
  data: string;
  /** The last id that the stream has told by then. */
  id: string;
}

/** Far more than any event of the API; a stream that never ends a line shall not fill the memory. */
const LONGEST = 4 * 1024 * 1024;

/** Takes the text of a stream in any pieces, and gives what is complete. */
export class EventStreamParser {
  private rest = "";
  private event = "";
  private data: string[] = [];
  lastId = "";

  push(text: string): ServerEvent[] {
    const found: ServerEvent[] = [];
    this.rest += text;
    if (this.rest.length > LONGEST) throw new Error("the event stream has a line without end");
    // a CR at the end of a piece may be half of a CRLF: it waits for the next one
    const lines = this.rest.split(/\r\n|\n|\r(?!$)/);
    this.rest = lines.pop() ?? "";
    for (const line of lines) this.line(line, found);
    return found;
  }

  private line(line: string, found: ServerEvent[]): void {
    if (line === "") {
      if (this.data.length > 0)
        found.push({ event: this.event || "message", data: this.data.join("\n"), id: this.lastId });
      this.event = "";
      this.data = [];
      return;
    }
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "event") this.event = value;
    else if (field === "data") this.data.push(value);
    else if (field === "id" && !value.includes("\0")) this.lastId = value;
  }
}
