// The live page: an image, an attack on it, the votes of noisy passes. It is the same in the book, where it is a classic
// script that works from a file too, and in JupyterLab, where it is a module: siam.live puts the sources together.

const SAMPLES = 24; // noisy pictures shown
const WITHOUT = {
  loading: "is still loading; the vote will be repeated with it",
  missing: "could not be loaded, so the vote is without it; reload the page to try again",
};

// Workers for a machine of so many cores: one core is the page's, but of two both compute, as one would be half as fast.
// Six at most: each takes 13 MB. What is computed does not depend on their number.
const teamSize = (cores) => Math.min(6, cores, Math.max(2, cores - 1));

// Fill `el`. about: what siam.live.about says. worker: the text of worker.js. parts: functions by name (engine, coarse,
// fine, shown, images) that return promises of bytes. linked: whether the address carries the state. instead: what to
// show, if anything, where the network cannot run. Returns what ends it.
function startLive(el, { about, worker, parts, linked, instead }) {
  const numbers = about.images.map(({ number }) => number);
  const known = [...new Set([...numbers, ...upTo(0, HUNDRED - 1)])];
  const opening = {
    image: numbers[0],
    attacked: true,
    rule: "prediction",
    seed: 0,
    weightNoise: about.noisy,
    noisyAttack: true,
    ...about.setting,
  };
  const name = `live-${Math.random().toString(36).slice(2)}`; // of its radio buttons, where there are several pages
  const history = [];
  let state = linked ? restored(location.hash, opening, known) : { ...opening };
  let committed = state; // what Undo goes back to when a drag has ended
  let lab = null;
  let images = new Map();
  let noise = "loading"; // that of the weights: loading, here or missing
  let current = new AbortController(); // of the vote in view

  // An address with a state goes with the state, so that Back and reload lead to what was in view. It is written when
  // controls rest: browsers refuse to have it changed many times in a while.
  const toAddress = () => window.history.replaceState(null, "", fragment(state));
  let noting;
  const noteSoon = () => {
    clearTimeout(noting);
    noting = setTimeout(() => linked && carries(location.hash, opening) && toAddress(), 300);
  };
  const moved = () => fragment(state) !== fragment(committed); // also by a drag that ended where it began: it attacks
  const undoable = () => moved() || history.length > 0;
  const move = (change) => {
    state = { ...state, ...change };
    vote();
  };
  const settle = () => {
    if (!moved()) return;
    history.push(committed);
    committed = state;
    show();
  };
  const [panel, shows] = controlPanel(about, name, {
    move,
    settle,
    state: () => state,
    undo() {
      if (!undoable()) return;
      if (!moved()) committed = history.pop();
      state = committed;
      vote();
    },
    reset() {
      move(opening);
      settle();
    },
    toAddress,
    share:
      linked &&
      (() => {
        shows.linkSaid("");
        toAddress();
        const copied = navigator.clipboard?.writeText(location.href) ?? Promise.reject();
        copied
          .then(
            () => "Copied.",
            () => "It is in the address bar.",
          )
          .then(shows.linkSaid);
      }),
  });
  const [progress, begin] = progressBar();
  const verdict = html(
    "p",
    { class: "live-verdict", role: "status", "data-testid": "live-verdict" },
    "The network is being loaded.",
  );
  const [picturesNode, showPictures] = pictures();
  const [histogramNode, showHistogram] = histogram();
  const [verdictsNode, showVerdicts] = verdicts(`${name}-rule`, (rule) => {
    move({ rule });
    settle();
  });
  const [samplesNode, showSamples] = samples(SAMPLES);
  const [convergenceNode, showConvergence] = convergence();
  const tour = hundred(
    about,
    () => state,
    () => lab,
    parts,
  );

  const root = html(
    "div",
    { class: "siam-explorer siam-live", "data-testid": "siam-live", role: "group", "aria-label": "The network, live" },
    ...panel.filter(Boolean),
    progress,
    verdict,
    html("div", { class: "live-stage" }, picturesNode, histogramNode),
    verdictsNode,
    samplesNode,
    convergenceNode,
    tour.node,
  );
  el.replaceChildren(root);

  function show() {
    shows.state(state, { noise, undoable: undoable() });
    shows.linkSaid("");
    noteSoon();
    showVerdicts({ rule: state.rule });
    tour.compare();
  }

  // Attack, if asked for, and vote; whatever was under way is dropped.
  async function vote() {
    show();
    current.abort();
    if (!lab) return;
    const { signal } = (current = new AbortController());
    const s = state;
    const { say, end } = begin();
    signal.addEventListener("abort", end);
    delete root.dataset.settled;
    if (!images.has(s.image)) {
      root.classList.add("live-stale"); // what is shown is another image's
      say("loading the image", 0);
    }
    const image = images.get(s.image) ?? (await fetched(s.image, signal));
    if (!image) return;
    const attacking = s.attacked && s.epsilon > 0;
    const still = s.sigma === 0 && !(s.weightNoise && noise === "here");
    root.classList.toggle("live-attacking", attacking);
    const see = (seen) => {
      root.classList.remove("live-stale");
      showPictures({ name: CLASSES[image.label], pixels: image.pixels, seen, attacking });
    };
    let [noisy, logits, waiting] = [[], new Float32Array(), false];
    const draw = () => {
      waiting = false;
      if (signal.aborted) return;
      showSamples({ noisy, logits, label: image.label, M: s.draws });
      const kept = tallies(logits);
      if (!kept.length) return;
      showHistogram({ tally: kept.at(-1), label: image.label, M: s.draws, still });
      showVerdicts({ tally: kept.at(-1), label: image.label, rule: s.rule });
      showConvergence({ kept, label: image.label, rule: s.rule, still });
    };
    const drawSoon = () => {
      if (!waiting) {
        waiting = true;
        requestAnimationFrame(draw);
      }
    };
    try {
      const id = attacking
        ? [s.image, s.epsilon, s.steps, s.noisyAttack && s.samples, s.sigma, s.weightNoise, s.seed]
        : [s.image];
      const attack = async (how, onStep) =>
        attacking ? lab.attack(s.image, image, how, onStep, signal) : image.pixels;
      const attacked = attack(s, ({ step, image: stepped }) => {
        say(`attack: step ${step} of ${s.steps}`, step / s.steps);
        see(stepped);
      });
      // The same network without noise faces an attack of its own, unless the other is that already. Both go on at the
      // same time: steps follow one another, so that one attack leaves workers idle, and each would wait behind the votes.
      const plain = { ...s, sigma: 0, weightNoise: false, samples: 1, draws: 1 };
      const own = s.noisyAttack && !(still && s.samples === 1) ? attack(plain) : attacked;
      const withoutNoise = own.then((pixels) => lab.vote([id, "plain"], pixels, plain, null, signal));
      withoutNoise.catch(() => {}); // it may fail before anybody waits for it
      const seen = await attacked;
      if (signal.aborted) return;
      root.classList.remove("live-attacking");
      see(seen);
      lab.noisy(id, seen, s, Math.min(SAMPLES, s.draws), signal).then(
        (pictures) => {
          noisy = pictures;
          drawSoon();
        },
        () => {},
      );
      const [all, alone] = await Promise.all([
        lab.vote(
          id,
          seen,
          s,
          (some) => {
            logits = some;
            say(`votes: ${some.length / 10} of ${s.draws}`, some.length / 10 / s.draws);
            drawSoon();
          },
          signal,
        ),
        withoutNoise,
      ]);
      if (signal.aborted) return;
      logits = all;
      draw();
      conclude(s, image, attacking, still, tallies(all).at(-1), winner(alone));
      end();
    } catch (error) {
      if (error.name !== "AbortError") failed(error);
    }
  }

  // An image that is not among those shown: it is in the part that "Attack 100 images" needs too. Nothing where it was aborted.
  async function fetched(number, signal) {
    try {
      unpacked(await parts.images()).forEach((one, i) => images.has(i) || images.set(i, one));
    } catch (error) {
      if (!signal.aborted) failed(error);
    }
    return signal.aborted ? undefined : images.get(number);
  }

  // The verdict in words, once all votes are in: it is all that a screen reader is told unasked.
  function conclude(s, { label }, attacking, still, tally, alone) {
    const best = winner(tally[s.rule]);
    const own = tally.prediction[label];
    verdict.replaceChildren(
      html(
        "strong",
        {},
        `${mark(best === label)} ${passes(s.draws, still)} and ${ruleSaid(s.rule)} say ${CLASSES[best]}: ${word(best === label)}.`,
      ),
      still ? " All noise is off: every pass is the same." : "",
      ` The true class, ${CLASSES[label]}, has ${own} of ${counted(tally.M, "vote")}` +
        ` on the ${attacking ? "attacked" : "original"} image.` +
        ` The network without any noise${attacking ? ", under an attack made against it," : ""} says ${CLASSES[alone]}: ` +
        `${word(alone === label)}.` +
        (s.weightNoise && noise !== "here" ? ` The noise of the weights ${WITHOUT[noise]}.` : ""),
    );
    verdict.dataset.right = best === label;
    root.dataset.settled = fragment(s);
    root.dataset.noise = noise;
    opened();
  }

  function failed(error) {
    current.abort(); // and with it its progress bar
    root.classList.remove("live-attacking");
    root.classList.add("live-stale"); // the pictures and numbers are those of an earlier choice
    delete verdict.dataset.right;
    verdict.textContent = `${lab ? "This could not be computed" : "The network could not be run here"}: ${error.message}`;
    root.dataset.settled = "";
    if (lab) opened(); // this vote did not come: what waits for it goes on
    if (instead && !lab) el.replaceChildren(verdict, instead);
    console.error(error);
  }

  let ended = false;
  let opened; // the noise is asked for after the first vote, so as not to delay it
  const first = new Promise((resolve) => {
    opened = resolve;
  });
  async function load() {
    const strip = (bytes) => {
      unpacked(bytes).forEach((image, i) => images.set(numbers[i], image));
      shows.strip(images);
      if (!images.has(state.image)) return; // it comes with its vote
      const { label, pixels } = images.get(state.image);
      showPictures({ name: CLASSES[label], pixels, seen: pixels, attacking: false });
    };
    const [wasm, coarse] = await Promise.all([parts.engine(), parts.coarse(), parts.shown().then(strip)]);
    const workers = teamSize(navigator.hardwareConcurrency ?? 2);
    const engine = await startEngine({ wasm, worker, workers, coarse, fine: first.then(parts.fine) });
    if (ended) return engine.close();
    lab = laboratory(engine);
    vote();
    noise = await lab.ready.then(
      () => "here",
      (error) => (ended || console.error(error), "missing"),
    );
    if (!ended) vote();
  }
  const follow = () => {
    if (!carries(location.hash, opening)) return; // that of a heading
    move(restored(location.hash, opening, known));
    settle();
  };
  if (linked) addEventListener("hashchange", follow);
  show();
  load().catch(failed);
  return () => {
    ended = true;
    current.abort();
    tour.stop();
    removeEventListener("hashchange", follow);
    lab?.close();
  };
}
