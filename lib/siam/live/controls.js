// The controls of the live page, and its progress bar.

const KEYS = { "data-lm-suppress-shortcuts": "true" }; // or JupyterLab takes the arrow keys
const HUNDRED = 100; // test images, the first, that can be attacked
const PATIENCE = 300; // ms that work may take before its progress is shown

const powers = (last) => Array.from({ length: Math.log2(last) + 1 }, (_, i) => 2 ** i);
const upTo = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => from + i);

// A slider over `values`, in words by `say`. Returns [node, show].
function slider(title, values, say, move, settle) {
  const output = html("output");
  const input = html("input", {
    type: "range",
    min: 0,
    max: values.length - 1,
    step: 1,
    "aria-label": title,
    ...KEYS,
    oninput: () => move(values[input.valueAsNumber]),
    onchange: settle,
  });
  const node = html(
    "div",
    { class: "live-slider" },
    html("span", { "aria-hidden": "true" }, `${title}: `, output),
    input,
  );
  return [
    node,
    (value) => {
      input.value = values.reduce((best, v, i) => (Math.abs(v - value) < Math.abs(values[best] - value) ? i : best), 0);
      output.textContent = say(value);
      input.setAttribute("aria-valuetext", say(value));
    },
  ];
}

// All controls. ask: {move(change) while dragged, settle() when let go, undo, reset, share, toAddress, state}. Returns
// [nodes, what fills them].
function controlPanel(about, name, ask) {
  const change = (what) => {
    ask.move(what);
    ask.settle();
  };
  const range = (key, title, values, say, also) =>
    slider(title, values, say, (value) => ask.move({ [key]: value, ...also }), ask.settle);
  const attacked = { attacked: true }; // who moves the attack wants to see one
  const pixels = (sigma) => Math.round(255 * about.pixel_std * sigma);
  const sliders = {
    sigma: range(
      "sigma",
      "σ, noise on the input",
      upTo(0, 50).map((i) => i / 100),
      (v) => `${v.toFixed(2)} ≈ ${pixels(v)}/255`,
    ),
    draws: range("draws", "M", powers(512), passes),
    epsilon: range("epsilon", "ε, budget", upTo(0, 35), (v) => `${v}/255`, attacked),
    steps: range("steps", "Steps", upTo(1, 30), (v) => `${v} of ε/4`, attacked),
    samples: range("samples", "Samples a step", powers(32), (v) => (v === 1 ? "1 (PGD)" : `${v} (EPGD)`), attacked),
  };
  const radio = (of, value, onchange, said) =>
    html("input", { type: "radio", name: `${name}-${of}`, value, onchange, "aria-label": said, title: said, ...KEYS });
  const button = (text, onclick) => html("button", { type: "button", onclick, ...KEYS }, text);
  const choices = about.images.map(({ number, label }) => ({
    number,
    label,
    input: radio("image", number, () => change({ image: number }), `${CLASSES[label]}, test image ${number}`),
    picture: canvas({ "aria-hidden": "true", role: null }),
  }));
  const any = html("input", {
    type: "number",
    min: 0,
    max: HUNDRED - 1,
    step: 1,
    ...KEYS,
    onchange: () => {
      const allowed = any.value !== "" && any.validity.valid;
      anySaid.textContent = allowed ? "" : ` ${any.value || "That"} is not allowed: give a whole number from 0 to ${HUNDRED - 1}.`;
      if (allowed) change({ image: any.valueAsNumber });
      else fill();
    },
  });
  const anySaid = html("span", { role: "status" });
  const anyImage = html(
    "div",
    { class: "live-any" },
    html(
      "label",
      {},
      about.book && "The images above were chosen to show each kind. ",
      `To attack any of the first ${HUNDRED} test images, in the split's order, give its number, 0 to ${HUNDRED - 1}: `,
      any,
    ),
    anySaid,
  );
  let imageShown;
  // Among the images above are some beyond those that the field takes.
  const fill = () => {
    any.value = imageShown < HUNDRED ? imageShown : "";
  };
  const sides = [false, true].map((attacked) => radio("side", String(attacked), () => change({ attacked })));
  const weights = html("input", {
    type: "checkbox",
    disabled: !about.noisy,
    onchange: () => change({ weightNoise: weights.checked }),
    ...KEYS,
  });
  const weightsSaid = html("span", { class: "siam-quiet" });
  const noisyAttack = html("input", {
    type: "checkbox",
    onchange: () => change({ noisyAttack: noisyAttack.checked, ...attacked }),
    ...KEYS,
  });
  const noisyAttackSaid = html("span", { class: "siam-quiet" });
  const undo = button("Undo", ask.undo);
  const anew = button("Draw anew", () => change({ seed: ask.state().seed + 1 }));
  // No fragment in a link: the theme takes each for that of a heading.
  const link = ask.share && button("Link to this state", ask.share);
  const linkSaid = html("span", { class: "siam-quiet", role: "status" });
  const follow = (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return; // in another tab: the page as it opens
    event.preventDefault();
    ask.toAddress();
    const { sigma, draws, rule } = ask.state();
    location.assign(`explorer.html#${new URLSearchParams({ base_model: about.book.label, rule, sigma, draws })}`);
  };
  const explorer =
    about.book && ask.share && html("a", { href: "explorer.html", onclick: follow }, "This σ and M on all test images");

  const said = (text) => text && html("p", { class: "live-about" }, text);
  const strip = html(
    "div",
    { class: "live-strip" },
    ...about.groups.map(({ key, title, count }) =>
      html(
        "fieldset",
        {},
        html("legend", {}, title, count !== null && html("small", {}, ` ${count} of ${about.n}`)),
        html(
          "div",
          {},
          ...about.images.flatMap(({ group }, i) =>
            group !== key
              ? []
              : [
                  html(
                    "label",
                    {},
                    choices[i].input,
                    choices[i].picture,
                    html("span", {}, breakable(CLASSES[choices[i].label])),
                  ),
                ],
          ),
        ),
      ),
    ),
  );
  const node = html(
    "div",
    { class: "live-controls" },
    html(
      "fieldset",
      {},
      html("legend", {}, "Noise and votes"),
      sliders.sigma[0],
      sliders.draws[0],
      html("label", { class: "live-check" }, weights, html("span", {}, "noise in the weights "), weightsSaid),
    ),
    html(
      "fieldset",
      {},
      html("legend", {}, "Attack"),
      sliders.epsilon[0],
      sliders.steps[0],
      sliders.samples[0],
      html("label", { class: "live-check" }, noisyAttack, html("span", {}, "noise on during the attack "), noisyAttackSaid),
    ),
  );
  const tools = html(
    "div",
    { class: "live-tools" },
    html(
      "fieldset",
      { class: "live-sides" },
      html("legend", {}, "Vote on"),
      ...["the original", "the attacked image"].map((text, i) => html("label", {}, sides[i], html("span", {}, text))),
    ),
    html("span", { class: "live-buttons" }, anew, undo, button("Reset", ask.reset), link, explorer, linkSaid),
  );

  return [
    [said(about.accuracy), strip, said(about.others), anyImage, node, tools],
    {
      state(state, { noise, undoable }) {
        for (const [key, [, show]] of Object.entries(sliders)) show(state[key]);
        weights.checked = state.weightNoise;
        weightsSaid.textContent = !about.noisy
          ? "(this network has none)"
          : { loading: "(still loading)", missing: "(could not be loaded)", here: "" }[noise];
        noisyAttack.checked = state.noisyAttack;
        noisyAttackSaid.textContent = state.noisyAttack ? "" : "(off: one gradient a step)";
        sliders.samples[0].querySelector("input").disabled = !state.noisyAttack;
        sides.forEach((side, i) => {
          side.checked = state.attacked === Boolean(i);
        });
        choices.forEach(({ input, number }) => {
          input.checked = number === state.image;
        });
        if (state.image !== imageShown) {
          imageShown = state.image;
          fill(); // and not at other times: someone may be typing
          anySaid.textContent = "";
        }
        undo.setAttribute("aria-disabled", !undoable); // disabled, it would lose the focus with its last press
      },
      strip: (images) => choices.forEach(({ number, picture }) => paint(picture, images.get(number).pixels)),
      linkSaid: (text) => {
        linkSaid.textContent = text;
      },
    },
  ];
}

// A progress bar whose place is kept. begin() returns {say(text, share), end()}; what takes less than PATIENCE is not
// shown.
function progressBar() {
  const [bar, text] = [html("progress", { max: 1, value: 0, "aria-label": "Progress" }), html("span")];
  const node = html("div", { class: "live-progress" }, bar, text);
  const begin = () => {
    const show = (said, share) => {
      [text.textContent, bar.value] = [said, share];
    };
    const timer = setTimeout(() => node.classList.add("live-busy"), PATIENCE);
    return {
      say: show,
      end() {
        clearTimeout(timer);
        node.classList.remove("live-busy");
        show("", 0);
      },
    };
  };
  return [node, begin];
}
