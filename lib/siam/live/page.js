// The live page: an image, an attack on it, the votes of noisy passes. It is the same in the book, where it is a classic
// script that works from a file too, and in JupyterLab, where it is a module: see siam.live, which puts the sources together.

const KEYS = { "data-lm-suppress-shortcuts": "true" }; // or JupyterLab takes the arrow keys
const SAMPLES = 24; // noisy pictures shown
const PATIENCE = 300; // ms that work may take before its progress is shown

// ---- controls ------------------------------------------------------------------------------------------------------

const powers = (last) => Array.from({ length: Math.log2(last) + 1 }, (_, i) => 2 ** i);
const upTo = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => from + i);

// A slider over `values`, in words by `say`. Returns [node, show].
function slider(title, values, say, move, settle) {
  const output = html("output");
  const input = html("input", { type: "range", min: 0, max: values.length - 1, step: 1, "aria-label": title, ...KEYS,
    oninput: () => move(values[input.valueAsNumber]), onchange: settle });
  const node = html("div", { class: "live-slider" }, html("span", { "aria-hidden": "true" }, `${title}: `, output), input);
  return [node, (value) => {
    input.value = values.reduce((best, v, i) => (Math.abs(v - value) < Math.abs(values[best] - value) ? i : best), 0);
    output.textContent = say(value);
    input.setAttribute("aria-valuetext", say(value));
  }];
}

// All controls. ask: {move(change) while dragged, settle() when let go, undo, reset, share}. Returns [nodes, show(state)].
function controlPanel(about, name, ask) {
  const change = (what) => { ask.move(what); ask.settle(); };
  const range = (key, title, values, say) => slider(title, values, say, (value) => ask.move({ [key]: value }), ask.settle);
  const pixels = (sigma) => Math.round(255 * about.pixel_std * sigma);
  const sliders = {
    sigma: range("sigma", "σ, noise on the input", upTo(0, 50).map((i) => i / 100), (v) => `${v.toFixed(2)} ≈ ${pixels(v)}/255`),
    draws: range("draws", "M", powers(512), passes),
    epsilon: range("epsilon", "ε, budget", upTo(0, 35), (v) => `${v}/255`),
    steps: range("steps", "Steps", upTo(1, 30), (v) => `${v} of ε/4`),
    samples: range("samples", "Samples a step", powers(32), (v) => (v === 1 ? "1 (PGD)" : `${v} (EPGD)`)),
  };
  const radio = (of, value, onchange) => html("input", { type: "radio", name: `${name}-${of}`, value, onchange, ...KEYS });
  const button = (text, onclick) => html("button", { type: "button", onclick, ...KEYS }, text);
  const choices = about.images.map(({ number, label }) => ({ number, label, input: radio("image", number, () => change({ image: number })),
    picture: canvas({ "aria-hidden": "true", role: null }) }));
  const sides = [false, true].map((attacked) => radio("side", String(attacked), () => change({ attacked })));
  const weights = html("input", { type: "checkbox", disabled: !about.noisy, onchange: () => change({ weightNoise: weights.checked }), ...KEYS });
  const weightsSaid = html("span", { class: "siam-quiet" });
  const undo = button("Undo", ask.undo);
  const anew = button("Draw anew", () => change({ seed: ask.state().seed + 1 }));
  const link = ask.share && button("Link to this state", ask.share); // the theme takes every link to a fragment for a heading's
  const linkSaid = html("span", { class: "siam-quiet", role: "status" });

  const strip = html("div", { class: "live-strip" }, ...about.groups.map(({ key, title, count }) => html("fieldset", {},
    html("legend", {}, title, count !== null && html("small", {}, ` ${count} of ${about.n}`)),
    html("div", {}, ...about.images.flatMap(({ group }, i) => (group !== key ? [] : [html("label", {},
      choices[i].input, choices[i].picture, html("span", {}, CLASSES[choices[i].label]))]))))));
  const node = html("div", { class: "live-controls" },
    html("fieldset", {}, html("legend", {}, "Noise and votes"), sliders.sigma[0], sliders.draws[0],
      html("label", { class: "live-check" }, weights, html("span", {}, "noise in the weights "), weightsSaid)),
    html("fieldset", {}, html("legend", {}, "Attack"), sliders.epsilon[0], sliders.steps[0], sliders.samples[0]));
  const tools = html("div", { class: "live-tools" },
    html("fieldset", { class: "live-sides" }, html("legend", {}, "The vote is on the image"),
      ...["untouched", "attacked"].map((text, i) => html("label", {}, sides[i], html("span", {}, text)))),
    html("span", { class: "live-buttons" }, anew, undo, button("Reset", ask.reset), link, linkSaid));

  return [[strip, node, tools], {
    state(state, { exact, undoable }) {
      for (const [key, [, show]] of Object.entries(sliders)) show(state[key]);
      weights.checked = state.weightNoise;
      weightsSaid.textContent = !about.noisy ? "(this network has none)" : exact ? "" : "(still loading)";
      sides.forEach((side, i) => { side.checked = state.attacked === Boolean(i); });
      choices.forEach(({ input, number }) => { input.checked = number === state.image; });
      undo.disabled = !undoable;
    },
    strip: (images) => choices.forEach(({ number, picture }) => paint(picture, images.get(number).pixels)),
    linkSaid: (text) => { linkSaid.textContent = text; },
  }];
}

// A progress bar whose place is kept. begin() returns {say(text, share), end()}; what takes less than PATIENCE shows nothing.
function progressBar() {
  const [bar, text] = [html("progress", { max: 1, value: 0, "aria-label": "Progress" }), html("span")];
  const node = html("div", { class: "live-progress" }, bar, text);
  const begin = () => {
    const show = (said, share) => { [text.textContent, bar.value] = [said, share]; };
    const timer = setTimeout(() => node.classList.add("live-busy"), PATIENCE);
    return { say: show, end() { clearTimeout(timer); node.classList.remove("live-busy"); show("", 0); } };
  };
  return [node, begin];
}

// ---- the page ------------------------------------------------------------------------------------------------------

// Fill `el`. about: what siam.live.about says. worker: the text of worker.js. parts: functions by name (engine, coarse,
// fine, shown, images) that return promises of bytes. linked: whether the address carries the state. instead: what to show,
// if anything, where the network cannot run. Returns what ends it.
function startLive(el, { about, worker, parts, linked, instead }) {
  const numbers = about.images.map(({ number }) => number);
  const opening = { image: numbers[0], attacked: false, rule: "prediction", seed: 0, weightNoise: about.noisy, ...about.setting };
  const name = `live-${Math.random().toString(36).slice(2)}`; // of this page's radio buttons, where there are several pages
  const history = [];
  let state = linked ? restored(location.hash, opening, numbers) : { ...opening };
  let committed = state; // what Undo goes back to when a drag has ended
  let lab = null;
  let images = new Map();
  let exact = false;
  let current = new AbortController(); // of the vote in view

  const move = (change) => { state = { ...state, ...change }; vote(); };
  const settle = () => {
    if (fragment(state) === fragment(committed)) return;
    history.push(committed);
    committed = state;
    show();
  };
  const [panel, shows] = controlPanel(about, name, {
    move, settle, state: () => state,
    undo() { if (history.length) { state = committed = history.pop(); vote(); } },
    reset() { move(opening); settle(); },
    share: linked && (() => {
      window.history.replaceState(null, "", fragment(state));
      const copied = navigator.clipboard?.writeText(location.href) ?? Promise.reject();
      copied.then(() => "Copied.", () => "It is in the address bar.").then(shows.linkSaid);
    }),
  });
  const [progress, begin] = progressBar();
  const verdict = html("p", { class: "live-verdict", role: "status", "data-testid": "live-verdict" }, "The network is being loaded.");
  const [picturesNode, showPictures] = pictures();
  const [histogramNode, showHistogram] = histogram();
  const [verdictsNode, showVerdicts] = verdicts(`${name}-rule`, (rule) => { move({ rule }); settle(); });
  const [samplesNode, showSamples] = samples(SAMPLES);
  const [convergenceNode, showConvergence] = convergence();
  const tour = hundred(about, () => state, () => lab, parts);

  const root = html("div", { class: "siam-explorer siam-live", "data-testid": "siam-live", role: "group", "aria-label": "The network, live" },
    ...panel, progress, verdict, html("div", { class: "live-stage" }, picturesNode, histogramNode), verdictsNode,
    samplesNode, convergenceNode, tour.node);
  el.replaceChildren(root);

  function show() {
    shows.state(state, { exact, undoable: history.length > 0 });
    tour.compare();
  }

  // Attack, if asked for, and vote; whatever was under way is dropped.
  async function vote() {
    show();
    current.abort();
    if (!lab) return;
    const { signal } = (current = new AbortController());
    const [s, image] = [state, images.get(state.image)];
    const attacking = s.attacked && s.epsilon > 0;
    const { say, end } = begin();
    signal.addEventListener("abort", end);
    delete root.dataset.settled;
    root.classList.toggle("live-attacking", attacking);
    const see = (seen) => showPictures({ name: CLASSES[image.label], pixels: image.pixels, seen, attacking });
    let [noisy, logits, waiting] = [[], new Float32Array(), false];
    const draw = () => {
      waiting = false;
      if (signal.aborted) return;
      showSamples({ noisy, logits, label: image.label, M: s.draws });
      const kept = tallies(logits);
      if (!kept.length) return;
      showHistogram({ tally: kept.at(-1), label: image.label, M: s.draws });
      showVerdicts({ tally: kept.at(-1), label: image.label, rule: s.rule });
      showConvergence({ kept, label: image.label, rule: s.rule });
    };
    const drawSoon = () => { if (!waiting) { waiting = true; requestAnimationFrame(draw); } };
    try {
      const seen = !attacking ? image.pixels : await lab.attack(s.image, image, s, ({ step, image: stepped }) => {
        say(`attack: step ${step} of ${s.steps}`, step / s.steps);
        see(stepped);
      }, signal);
      if (signal.aborted) return;
      root.classList.remove("live-attacking");
      see(seen);
      lab.noisy(seen, s, Math.min(SAMPLES, s.draws)).then((pictures) => { noisy = pictures; drawSoon(); }, () => {});
      const id = attacking ? [s.image, s.epsilon, s.steps, s.samples, s.sigma, s.weightNoise, s.seed] : [s.image];
      // The same network without noise faces an attack of its own.
      const plain = { ...s, sigma: 0, weightNoise: false, samples: 1, draws: 1 };
      const withoutNoise = async () => lab.vote([id, "plain"], attacking ? await lab.attack(s.image, image, plain, null, signal)
        : image.pixels, plain, null, signal);
      const [all, alone] = await Promise.all([
        lab.vote(id, seen, s, (some) => {
          logits = some;
          say(`votes: ${some.length / 10} of ${s.draws}`, some.length / 10 / s.draws);
          drawSoon();
        }, signal),
        withoutNoise()]);
      if (signal.aborted) return;
      logits = all;
      draw();
      conclude(s, image, attacking, tallies(all).at(-1), winner(alone));
      end();
      // While the reader looks: the attack they will probably ask for, which also warms up the code of gradients.
      if (!attacking && (exact || !about.noisy)) await lab.attack(s.image, image, s, null, signal);
    } catch (error) {
      if (error.name !== "AbortError") failed(error);
    }
  }

  // The verdict in words, once all votes are in: it is all that a screen reader is told unasked.
  function conclude(s, { label }, attacking, tally, alone) {
    const best = winner(tally[s.rule]);
    const own = tally.prediction[label];
    const rule = RULES.find(({ key }) => key === s.rule).name.toLowerCase();
    verdict.replaceChildren(
      html("strong", {}, `${mark(best === label)} ${passes(s.draws)} and ${rule} say ${CLASSES[best]}: ${word(best === label)}.`),
      ` The true class, ${CLASSES[label]}, has ${own} of ${counted(tally.M, "vote")} on the ${attacking ? "attacked" : "untouched"} image.`
      + ` Without any noise${attacking ? ", under an attack made for it," : ""} the network says ${CLASSES[alone]}: ${word(alone === label)}.`
      + (s.weightNoise && !exact ? " The noise of the weights is still loading; the vote will be repeated with it." : ""));
    verdict.dataset.right = best === label;
    root.dataset.settled = fragment(s);
    root.dataset.exact = exact;
    opened();
  }

  function failed(error) {
    verdict.textContent = `The network could not be run here: ${error.message}`;
    if (instead && !lab) el.append(instead);
    console.error(error);
  }

  let opened; // the noise is asked for after the first vote, so as not to delay it
  const first = new Promise((resolve) => { opened = resolve; });
  async function load() {
    const [wasm, coarse, strip] = await Promise.all([parts.engine(), parts.coarse(), parts.shown()]);
    unpacked(strip).forEach((image, i) => images.set(numbers[i], image));
    shows.strip(images);
    const workers = Math.min(3, Math.max(1, navigator.hardwareConcurrency ?? 2));
    lab = laboratory(await startEngine({ wasm, worker, workers, coarse, fine: first.then(parts.fine) }));
    vote();
    await lab.ready.catch((error) => { throw new Error(`the noise of the weights could not be loaded (${error.message})`); });
    exact = true;
    vote();
  }
  const follow = () => { move(restored(location.hash, opening, numbers)); settle(); };
  if (linked) addEventListener("hashchange", follow);
  show();
  load().catch(failed);
  return () => {
    current.abort();
    tour.stop();
    removeEventListener("hashchange", follow);
    lab?.close();
  };
}

// "Attack 100 images": the reader's accuracy under attack, beside the one that was recorded.
function hundred(about, state, lab, parts) {
  const settings = ["sigma", "draws", "epsilon", "steps", "samples", "weightNoise"];
  const { book } = about;
  const words = (s) => `σ = ${s.sigma}, M = ${s.draws}, ε = ${s.epsilon}/255, ${counted(s.steps, "step")}, `
    + `${s.samples === 1 ? "PGD" : `EPGD with ${s.samples} samples`}${s.weightNoise ? "" : ", no noise in the weights"}`;
  const [table, showShare] = shares(book ? ["Here", "The book"] : ["Here"]);
  const button = html("button", { type: "button", onclick: () => (running ? stop() : start()), ...KEYS }, "Attack 100 images");
  const counter = html("span", { class: "siam-quiet" });
  const said = html("p", { class: "siam-quiet", role: "status" });
  const compared = html("p", { class: "siam-quiet" });
  const node = html("section", { class: "live-hundred", "aria-label": "Attack 100 images" },
    html("div", {}, button, counter), table, said, compared);
  let running = null; // the AbortController of the run
  let found = null; // {s, n, correct by rule}
  if (book) showShare(1, book.correct, book.n);

  function compare() {
    const s = state();
    if (running && settings.some((key) => s[key] !== found.s[key])) stop("A control was moved: stopped.");
    if (found?.n) showShare(0, found.correct[s.rule], found.n);
    const differs = book && (s.rule !== "prediction" || settings.some((key) => (found?.s ?? s)[key] !== book.setting[key]));
    compared.textContent = !book ? "" : `The book: ${words(book.setting)}, prediction smoothing; the same images, in PyTorch, one attack each, `
      + `${about.tier} tier, record live/images.json.${differs ? " The setting here differs, so the two are not the same experiment." : ""}`;
  }

  function stop(why = "Stopped.") {
    if (!running) return;
    running.abort();
    running = null;
    button.textContent = "Attack 100 images";
    counter.textContent = "";
    said.textContent = why;
  }

  async function start() {
    const { signal } = (running = new AbortController());
    const s = state();
    found = { s, n: 0, correct: { prediction: 0, soft: 0, weighted: 0 } };
    button.textContent = "Stop";
    said.textContent = `Attacking with ${words(s)}.`;
    counter.textContent = "loading";
    try {
      const [bytes] = await Promise.all([parts.images(), lab()?.ready ?? Promise.reject(new Error("the network is still being loaded"))]);
      for (const image of unpacked(bytes)) {
        const seen = await lab().attack(null, image, s, null, signal);
        const tally = tallies(await lab().vote(null, seen, s, null, signal)).at(-1);
        for (const { key } of RULES) found.correct[key] += winner(tally[key]) === image.label;
        found.n += 1;
        counter.textContent = `${found.n} of 100`;
        showShare(0, found.correct[state().rule], found.n);
      }
      const right = found.correct[state().rule];
      stop(`Done: ${right} of ${found.n} images right, ${percent(right / found.n)}, exact 95 % interval ${between(interval(right, found.n))}.`);
    } catch (error) {
      if (error.name === "AbortError") return;
      stop(`It could not be done: ${error.message}.`);
    }
  }

  return { node, compare, stop };
}
