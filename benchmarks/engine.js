// How long a pass of the live page's engine takes, in Node.js, whose V8 is Chromium's: the least and the median of 200.
//
//     make html && node benchmarks/engine.js [FOLDER]      # the scripts of siam.export; book/assets/live

"use strict";
const { readFileSync } = require("fs");
const { inflateSync } = require("zlib");

const folder = process.argv[2] ?? "book/assets/live";
const parts = {};
globalThis.siamLive = { part: (name, text) => (parts[name] = inflateSync(Buffer.from(text, "base64"))) };
for (const name of ["engine", "coarse", "fine", "images"]) eval(readFileSync(`${folder}/${name}.js`, "utf8"));

const wasm = new WebAssembly.Instance(new WebAssembly.Module(parts.engine)).exports;
const memory = () => new Uint8Array(wasm.memory.buffer);
wasm.init();
for (const [fine, part] of [parts.coarse, parts.fine].entries()) {
  memory().set(part, wasm.part(fine, part.length));
  if (wasm.load(fine)) throw new Error("a part was refused");
}
const pixels = Float32Array.from(parts.images.subarray(100, 100 + 3072), (byte) => byte / 255);
new Float32Array(wasm.memory.buffer, wasm.image(), 3072).set(pixels);

function time(what, once) {
  for (let i = 0; i < 50; i++) once(i); // V8 compiles again what is used often
  const took = [];
  for (let i = 0; i < 200; i++) {
    const began = performance.now();
    once(1000 + i);
    took.push(performance.now() - began);
  }
  took.sort((a, b) => a - b);
  console.log(`${what.padEnd(40)}${took[0].toFixed(2)} ms, median ${took[100].toFixed(2)} ms`);
}

time("pass", (i) => wasm.pass(0, i, 0.24, 0));
time("pass, fresh weight noise", (i) => wasm.pass(0, i, 0.24, 1));
time("pass and gradient", (i) => wasm.loss(0, i, 0.24, 0, 3));
time("pass and gradient, fresh weight noise", (i) => wasm.loss(0, i, 0.24, 1, 3));
