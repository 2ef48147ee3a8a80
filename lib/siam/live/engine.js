// The network of the live page, on a few workers: votes, noisy images, attacks. See engine.c for what one pass is.
//
// Work is cut into jobs of a few milliseconds, so that what is aborted is out of the way at once. Pass i of a seed
// is the same whichever worker carries it out and however many there are.

const PIXELS = 3072; // [3][32][32], in [0, 1]
const PASSES = 2; // in one job of a vote: with one, messages begin to count, with more, a slow machine stops late
const AHEAD = 2; // jobs that a worker has at a time, so that it need not wait for the next one
const ATTACKER = 0x80000000; // where the passes of attacks begin: an attack does not see the noise of the votes

// wasm, coarse, fine: the bytes of engine.wasm and of the two parts that siam.export writes; fine is a promise of them.
// worker: the source text of worker.js. Rejects where the coarse part is refused or WebAssembly SIMD is missing.
async function startEngine({ wasm, worker, workers, coarse, fine }) {
  const onItsWay = Promise.resolve(fine);
  onItsWay.catch(() => {}); // it may fail before anybody waits for it
  const module = await WebAssembly.compile(wasm);
  const source = URL.createObjectURL(new Blob([worker], { type: "text/javascript" }));
  const team = Array.from({ length: workers }, () => ({ worker: new Worker(source), jobs: new Map() }));
  let queue = []; // jobs no worker has yet: {message, later, resolve, reject}
  let failure = null; // why there is no engine any more
  let hasNoise = false;
  let id = 0;

  function fail(error) {
    if (failure) return;
    failure = error;
    const pending = [...queue, ...team.flatMap(({ jobs }) => [...jobs.values()])];
    queue = [];
    for (const member of team) {
      member.worker.terminate();
      member.jobs.clear();
    }
    for (const job of pending) job.reject(error);
  }

  function send(member, job) {
    member.jobs.set(++id, job);
    member.worker.postMessage({ id, ...job.message });
  }

  // The next jobs go to those who have fewest: no worker has two while another has none.
  function deal() {
    for (let load = 0; load < AHEAD; load++) {
      for (const member of team) {
        if (queue.length && member.jobs.size <= load) send(member, queue.shift());
      }
    }
  }

  for (const member of team) {
    member.worker.onmessage = ({ data }) => {
      const job = member.jobs.get(data.id);
      if (!job) return; // the engine ended while the answer was on its way
      member.jobs.delete(data.id);
      deal();
      if (data.error === undefined) job.resolve(data.result);
      else job.reject(new Error(data.error));
    };
    member.worker.onerror = (event) => {
      event.preventDefault?.();
      const why = event.message || "no reason was given";
      fail(new Error(`a worker of the live page died (${why}); reload the page to try again`));
    };
  }

  function toEach(message) {
    if (failure) return Promise.reject(failure);
    const sent = (member) => new Promise((resolve, reject) => send(member, { message, resolve, reject }));
    return Promise.all(team.map(sent));
  }

  // The results of all messages, in their order; each is also handed to onResult(result, index) when it comes. later: after
  // whatever else is asked for, also if it is asked for later.
  function all(messages, signal, onResult, later = false) {
    return new Promise((resolve, reject) => {
      if (failure) throw failure;
      const results = new Array(messages.length);
      let left = messages.length;
      let over = false;
      const mine = messages.map((message, index) => ({
        message,
        later,
        reject: stop,
        resolve(result) {
          if (over) return; // aborted while a worker was at it
          results[index] = result;
          onResult?.(result, index);
          if (--left === 0) {
            signal?.removeEventListener("abort", aborted);
            resolve(results);
          }
        },
      }));
      function stop(reason) {
        if (over) return;
        over = true;
        signal?.removeEventListener("abort", aborted);
        queue = queue.filter((job) => !mine.includes(job));
        reject(reason);
      }
      function aborted() {
        stop(new DOMException("the work was aborted", "AbortError"));
      }
      if (signal?.aborted) return aborted();
      signal?.addEventListener("abort", aborted);
      const behind = later ? -1 : queue.findIndex((job) => job.later);
      queue.splice(behind < 0 ? queue.length : behind, 0, ...mine);
      deal();
    });
  }

  function check({ image, sigma, weightNoise, label = 0 }) {
    if (image?.length !== PIXELS) throw new RangeError(`an image has ${PIXELS} numbers, not ${image?.length}`);
    if (!(sigma >= 0)) throw new RangeError(`σ = ${sigma} is not allowed: give 0 or more`);
    if (!(Number.isInteger(label) && label >= 0 && label < 10)) throw new RangeError(`label ${label} is not 0 to 9`);
    if (weightNoise && !hasNoise) throw new Error("the weight noise is not here yet: await engine.exact");
  }

  try {
    await toEach({ job: "start", module });
    await toEach({ job: "load", part: coarse, fine: 0 });
  } catch (error) {
    fail(error);
    throw error;
  } finally {
    URL.revokeObjectURL(source);
  }
  const exact = onItsWay.then(async (part) => {
    await toEach({ job: "load", part, fine: 1 });
    hasNoise = true;
  });
  exact.catch(() => {}); // who awaits it is told; who does not is not alarmed

  return {
    workers,

    // Resolves when every worker has the weights in 16 bits and the noise; before that they have 8 bits and no noise.
    // A vote or an attack that is under way meanwhile goes on with the better weights: ask for it again.
    exact,

    // The logits of passes first … draws - 1 of `seed` in that order, Float32Array [(draws - first) * 10]; σ in
    // normalised units. onPasses(pass, logits) is given them in pieces, in any order.
    async vote({ image, sigma, weightNoise, first = 0, draws, seed, later }, onPasses, signal) {
      check({ image, sigma, weightNoise });
      if (!(draws >= 1)) throw new RangeError(`M = ${draws} is not allowed: give 1 or more`);
      const logits = new Float32Array((draws - first) * 10);
      const messages = [];
      for (let pass = first; pass < draws; pass += PASSES) {
        const count = Math.min(PASSES, draws - pass);
        messages.push({ job: "vote", image, sigma, weightNoise, seed, first: pass, count });
      }
      const onPart = (part, index) => {
        logits.set(part, index * PASSES * 10);
        onPasses?.(first + index * PASSES, part);
      };
      await all(messages, signal, onPart, later);
      return logits;
    },

    // What the network sees in a pass, in pixels and not clipped, Float32Array [3072].
    async noisy({ image, sigma, seed, pass }, signal) {
      check({ image, sigma });
      return (await all([{ job: "noisy", image, sigma, seed, pass }], signal))[0];
    },

    // {loss, logits, gradient} of the cross-entropy at `label` in one pass, the gradient for a pixel unit.
    async gradient({ image, label, sigma, weightNoise, seed, pass }) {
      check({ image, sigma, weightNoise, label });
      return (await all([{ job: "gradient", image, label, sigma, weightNoise, seed, pass }]))[0];
    },

    // PGD (samples = 1) or EPGD as in siam.attacks: `steps` steps along the sign of the gradient of the mean
    // cross-entropy over `samples` passes, from a uniform random start; ε and stepSize in pixel units.
    // onStep({step, loss, image}) after step 1, 2, …: the loss where the gradient was taken, the image stepped to.
    async attack(
      { image, label, epsilon, stepSize, steps, samples, sigma, weightNoise, seed, later }, onStep, signal,
    ) {
      check({ image, sigma, weightNoise, label });
      const low = image.map((x) => Math.max(x - epsilon, 0));
      const high = image.map((x) => Math.min(x + epsilon, 1));
      const clip = (x, i) => Math.min(Math.max(x, low[i]), high[i]);
      const [start] = await all([{ job: "uniform", seed }], signal, null, later);
      let adversarial = image.map((x, i) => clip(x + epsilon * start[i], i));
      for (let step = 0; step < steps; step++) {
        const messages = Array.from({ length: samples }, (_, k) => (
          { job: "gradient", image: adversarial, label, sigma, weightNoise, seed, pass: ATTACKER + step * samples + k }
        ));
        const found = await all(messages, signal, null, later);
        // Summed in the order of passes, or the number of workers would decide the sign of the smallest ones.
        const total = new Float64Array(PIXELS);
        for (const { gradient } of found) gradient.forEach((g, i) => (total[i] += g));
        adversarial = adversarial.map((x, i) => clip(x + stepSize * Math.sign(total[i]), i));
        const loss = found.reduce((sum, one) => sum + one.loss, 0) / samples;
        onStep?.({ step: step + 1, loss, image: adversarial });
      }
      return adversarial;
    },

    // Ends the workers; what is not done is rejected.
    close() {
      fail(new Error("the engine is closed"));
    },
  };
}
