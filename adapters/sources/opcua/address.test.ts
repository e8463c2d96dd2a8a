import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { parseAddress, resolve } from "./address.ts";

const NAMESPACES = ["http://opcfoundation.org/UA/", "urn:server", "http://acme.example/oven", "http://a;b/%"];

const text = (address: string): string | undefined => resolve(parseAddress(address), NAMESPACES)?.toString();

test("an address by URI gets the index of this session", () => {
  assert.equal(text("nsu=http://acme.example/oven;s=Zone1.PV"), "ns=2;s=Zone1.PV");
  assert.equal(text("nsu=http://acme.example/oven;i=7"), "ns=2;i=7");
  assert.equal(text("ns=1;i=7"), "ns=1;i=7");
  assert.equal(text("i=2258"), "ns=0;i=2258");
  assert.equal(text("nsu=http://opcfoundation.org/UA/;i=2258"), "ns=0;i=2258");
  assert.equal(resolve(parseAddress("nsu=http://opcfoundation.org/UA/;i=1"), [])?.namespace, 0);
});

test("a namespace that the server does not have resolves to nothing", () => {
  assert.equal(resolve(parseAddress("nsu=http://nowhere.example;s=x"), NAMESPACES), null);
  assert.equal(resolve(parseAddress("ns=9;s=x"), NAMESPACES), null);
});

test("identifiers of an S7 keep quotes, brackets, semicolons and equals signs", () => {
  const node = resolve(parseAddress('nsu=http://acme.example/oven;s="DB 1"."Motor"[3]."a;b=c"'), NAMESPACES);
  assert.equal(node?.value, '"DB 1"."Motor"[3]."a;b=c"');
});

test("; and % in a URI are escaped", () => {
  assert.equal(text("nsu=http://a%3Bb/%25;s=x"), "ns=3;s=x");
});

test("GUID and opaque identifiers", () => {
  const guid = resolve(parseAddress("ns=2;g=72962b91-fa75-4ae6-8d28-b404dc7daf63"), NAMESPACES);
  assert.match(String(guid?.value), /^72962b91-fa75-4ae6-8d28-b404dc7daf63$/i);
  const opaque = resolve(parseAddress("ns=2;b=M/RbKBsRVkePCePcx24oRA=="), NAMESPACES);
  assert.deepEqual(opaque?.value, Buffer.from("M/RbKBsRVkePCePcx24oRA==", "base64"));
});

test("what is no NodeId is refused with what was expected", () => {
  for (const wrong of ["Zone1", "s=", "i=-1", "i=4294967296", "g=1", "b=*", "ns=70000;i=1", "nsu=;s=x", "ns=x;s=x"]) {
    assert.throws(
      () => parseAddress(wrong),
      { code: "config", message: /address .*expected|address .*takes|16 bits/ },
      wrong,
    );
  }
});

test("every string identifier survives", () => {
  fc.assert(
    fc.property(fc.string({ minLength: 1, unit: "grapheme" }), (identifier) => {
      assert.equal(
        resolve(parseAddress(`nsu=http://acme.example/oven;s=${identifier}`), NAMESPACES)?.value,
        identifier,
      );
    }),
  );
});
