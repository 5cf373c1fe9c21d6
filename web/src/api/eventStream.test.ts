import { describe, expect, it } from "vitest";
import { EventStreamParser, type ServerEvent } from "@/api/eventStream";

const STREAM =
  ': still here\n\nid: 7\nevent: task\ndata: {"a":1}\n\ndata: one\r\ndata:two\r\n\r\nevent: nothing\n\nid: 9\rdata\r\rdata: half';

const EVENTS: ServerEvent[] = [
  { event: "task", data: '{"a":1}', id: "7" },
  { event: "message", data: "one\ntwo", id: "7" },
  { event: "message", data: "", id: "9" },
];

function cut(text: string, size: number): string[] {
  return Array.from({ length: Math.ceil(text.length / size) }, (_, n) =>
    text.slice(n * size, (n + 1) * size),
  );
}

describe("an event stream", () => {
  it.each([1, 2, 3, 5, 8, 13, 1000])("is the same in pieces of %d characters", (size) => {
    const parser = new EventStreamParser();
    expect(cut(STREAM, size).flatMap((piece) => parser.push(piece))).toEqual(EVENTS);
    expect(parser.lastId).toBe("9");
  });

  it("may not fill the memory with one line", () => {
    const parser = new EventStreamParser();
    const mebibyte = "x".repeat(1024 * 1024);
    expect(() => {
      for (let n = 0; n < 5; n++) parser.push(mebibyte);
    }).toThrow("without end");
  });
});
