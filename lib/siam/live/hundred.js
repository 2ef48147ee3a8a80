// "Attack 100 images": the reader's accuracy under attack, beside the one that was recorded.
function hundred(about, state, lab, parts) {
  const settings = ["sigma", "draws", "epsilon", "steps", "samples", "weightNoise", "noisyAttack"];
  const { book } = about;
  const words = (s) =>
    `σ = ${s.sigma}, M = ${s.draws}, ε = ${s.epsilon}/255, ${counted(s.steps, "step")}, ` +
    (s.noisyAttack ? (s.samples === 1 ? "PGD" : `EPGD with ${s.samples} samples`) : "PGD with all noise off") +
    (s.weightNoise ? "" : ", no noise in the weights");
  const counts = book?.counts ?? []; // of the same images, then of more
  const [table, showShare] = shares(["Here", ...counts.map(({ n }, i) => (i ? `${whole(n)} images` : "The book"))]);
  const button = html(
    "button",
    { type: "button", onclick: () => (running ? stop() : start()), ...KEYS },
    "Attack 100 images",
  );
  const counter = html("span", { class: "siam-quiet" });
  const here = html("p", { class: "siam-quiet" });
  const said = html("p", { class: "siam-quiet", role: "status" });
  const compared = html("p", { class: "siam-quiet" });
  const node = html(
    "section",
    { class: "live-hundred", "aria-label": "Attack 100 images" },
    html("div", {}, button, counter),
    table,
    here,
    said,
    compared,
  );
  let running = null; // the AbortController of the run
  let found = null; // {s, n, correct by rule}
  counts.forEach(({ correct, n }, i) => showShare(1 + i, correct, n));

  function compare() {
    const s = state();
    const moved = found && settings.some((key) => s[key] !== found.s[key]);
    if (running && moved) stop("A control was moved: stopped.");
    if (found) {
      showShare(0, found.correct[s.rule], found.n);
      here.textContent =
        `Here: ${words(found.s)}, ${ruleSaid(s.rule)}.` + (moved ? " The controls have been moved since." : "");
    }
    const differs =
      book && (s.rule !== "prediction" || settings.some((key) => (found?.s ?? s)[key] !== book.setting[key]));
    compared.textContent = !book
      ? ""
      : `The book: ${words(book.setting)}, prediction smoothing, in PyTorch, one attack per image; first the same images, ` +
        `then more: ${counts.map(({ n, tier, record }) => `${whole(n)} (${tier} tier, record ${record})`).join(", ")}.` +
        (differs ? " The setting here differs, so the two are not the same experiment." : "");
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
    said.textContent = "Attacking.";
    compare();
    counter.textContent = "loading";
    try {
      const [bytes] = await Promise.all([
        parts.images(),
        lab()?.ready ?? Promise.reject(new Error("the network is still being loaded")),
      ]);
      const left = unpacked(bytes).values();
      const lane = async () => {
        for (const image of left) {
          const seen = await lab().attack(null, image, s, null, signal);
          const tally = tallies(await lab().vote(null, seen, s, null, signal)).at(-1);
          for (const { key } of RULES) found.correct[key] += winner(tally[key]) === image.label;
          found.n += 1;
          counter.textContent = `${found.n} of 100`;
          showShare(0, found.correct[state().rule], found.n);
        }
      };
      // The steps of PGD follow one another: one image at a time would keep one worker busy.
      await Promise.all(Array.from({ length: lab().workers }, lane));
      const right = found.correct[state().rule];
      stop(
        `Done: ${right} of ${found.n} images right by ${ruleSaid(state().rule)}, ${percent(right / found.n, found.n)}, ` +
          `exact 95 % interval ${between(right, found.n)}.`,
      );
    } catch (error) {
      if (error.name === "AbortError") return;
      stop(`The attack could not be run: ${error.message}.`);
    }
  }

  return { node, compare, stop };
}
