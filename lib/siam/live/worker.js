// One engine in a worker: an instance of engine.wasm that carries out one short job after another.
// The messages are those of engine.js: {id, job, …} is answered by {id, result} or {id, error}.
"use strict";

const REFUSED = ["", "it is no such part of a ResNet-20", "it belongs to another checkpoint"];
let wasm;

const floats = (at, length) => new Float32Array(wasm.memory.buffer, at, length);
const setImage = (image) => floats(wasm.image(), image.length).set(image);

const jobs = {
  start({ module }) {
    wasm = new WebAssembly.Instance(module).exports;
    wasm.init();
  },

  load({ part, fine }) {
    const at = wasm.part(fine, part.length);
    if (!at) throw new Error(`the ${fine ? "fine" : "coarse"} part is too long: ${part.length} bytes`);
    new Uint8Array(wasm.memory.buffer, at, part.length).set(part);
    const code = wasm.load(fine);
    if (code) throw new Error(`the ${fine ? "fine" : "coarse"} part is refused: ${REFUSED[code]}`);
  },

  // The logits of `count` passes, Float32Array [count * 10].
  vote({ image, sigma, weightNoise, seed, first, count }) {
    setImage(image);
    const logits = new Float32Array(count * 10);
    for (let i = 0; i < count; i++) {
      wasm.pass(seed, first + i, sigma, weightNoise);
      logits.set(floats(wasm.logits(), 10), i * 10);
    }
    return logits;
  },

  gradient({ image, label, sigma, weightNoise, seed, pass }) {
    setImage(image);
    const loss = wasm.loss(seed, pass, sigma, weightNoise, label);
    return { loss, logits: floats(wasm.logits(), 10).slice(), gradient: floats(wasm.gradient(), image.length).slice() };
  },

  noisy({ image, sigma, seed, pass }) {
    setImage(image);
    wasm.noisy(seed, pass, sigma);
    return floats(wasm.image(), image.length).slice();
  },

  // Uniform numbers in [-1, 1), Float32Array [3072].
  uniform({ seed }) {
    wasm.start(seed);
    return floats(wasm.image(), 3072).slice();
  },
};

self.onmessage = ({ data }) => {
  try {
    self.postMessage({ id: data.id, result: jobs[data.job](data) });
  } catch (error) {
    self.postMessage({ id: data.id, error: error.message });
  }
};
