import { describe, expect, it } from "vitest";
import { addressOf, shortAddress } from "@/features/endpoints/address";

describe("addresses of servers", () => {
  it.each([
    ["gridftp.example.org", "gsiftp://gridftp.example.org:2811"],
    [" gridftp.example.org:2812 ", "gsiftp://gridftp.example.org:2812"],
    ["gsiftp://gridftp.example.org", "gsiftp://gridftp.example.org:2811"],
    ["GSIFTP://gridftp.example.org:2811/", "gsiftp://gridftp.example.org:2811"],
    ["10.0.0.1", "gsiftp://10.0.0.1:2811"],
    ["[2001:db8::1]:2812", "gsiftp://[2001:db8::1]:2812"],
    ["2001:db8::1", "gsiftp://[2001:db8::1]:2811"],
  ])("%s is %s", (text, uri) => expect(addressOf(text)).toEqual({ uri }));

  it.each([
    ["", "empty"],
    ["https://gridftp.example.org", "scheme"],
    ["gsiftp://gridftp.example.org/data", "path"],
    ["gridftp.example.org:", "port"],
    ["gridftp.example.org:70000", "port"],
    ["gridftp.example.org:gsi", "port"],
    ["two words", "host"],
    [":2811", "host"],
    ["user@gridftp.example.org", "host"],
  ])("%s is none: %s", (text, problem) => expect(addressOf(text)).toEqual({ problem }));

  it("are shown without the usual port", () => {
    expect(shortAddress("a.example", 2811)).toBe("a.example");
    expect(shortAddress("::1", 2812)).toBe("[::1]:2812");
  });
});
