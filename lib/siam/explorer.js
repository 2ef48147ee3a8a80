// The explorer: accuracy against the input noise σ, or the budget ε, one line per attack, for one base model, rule and M.
// It reads `payload` (see siam.explorer.payload) and keeps the view in the widget's traits, so that it is
// the same figure in JupyterLab and in a page without a kernel. No library, no request.

const SHORTCUTS = { "data-lm-suppress-shortcuts": "true" }; // or JupyterLab takes the arrow keys
const THUMB = 16; // px: diameter of a slider's thumb, as in explorer.css
const MARGIN = { top: 30, right: 58, bottom: 26, left: 38 };

// ---- small helpers -------------------------------------------------------------------------------------

const make = (namespace) => (tag, attributes = {}, ...children) => {
  const node = document.createElementNS(namespace, tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value !== null && value !== false) node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child || child === 0));
  return node;
};
const html = make("http://www.w3.org/1999/xhtml");
const svg = make("http://www.w3.org/2000/svg");

const nearest = (values, target) => {
  const away = values.map((value) => Math.abs(value - target));
  return Math.max(0, away.indexOf(Math.min(...away)));
};
const unique = (values) => [...new Set(values)].sort((a, b) => a - b);
const percent = (share, n) => (100 * share).toFixed(n < 10000 ? 1 : 2); // to about one image
const shown = (point) => percent(point.accuracy, point.n);
const interval = ({ low, high, n }) => `${percent(low, n)}–${percent(high, n)} %`;
const two = (sigma) => (Number(sigma.toFixed(2)) === sigma ? sigma.toFixed(2) : String(sigma));
const whole = (n) => n.toLocaleString("en-GB");
const sentence = (text) => text[0].toUpperCase() + text.slice(1);
const votes = (M) => `${M} noisy pass${M === 1 ? "" : "es"}`;

// Along what curves run. step: of the slider; tick: of the axis, doubled where it is narrow.
const AXES = {
  sigma: { symbol: "σ", unit: "", name: "σ, input noise (normalised units)", said: "σ, input noise in normalised units",
    step: 0.01, tick: 0.05, text: (sigma) => (sigma ? sigma.toFixed(2) : "0"), exact: two },
  epsilon: { symbol: "ε", unit: "/255", name: "ε, the attack's budget (1/255 of the pixel range)",
    said: "ε, the attack's budget in 1/255 of the pixel range", step: 1, tick: 5, text: String, exact: String },
};
const at = (axis, x) => `${axis.symbol} = ${axis.exact(x)}${axis.unit}`;

// ---- what is shown -------------------------------------------------------------------------------------

// One curve: the points of one attack in one source (one checkpoint, split, n and tier) for a rule and the
// index of an M. A cell is [correct, low, high], or null where that M or rule was not measured.
function curve(source, attack, rule, m) {
  const { x: xs = [], id = [], cells = {} } = source?.attacks[attack.key] ?? {};
  return xs.flatMap((x, i) => {
    const cell = cells[rule]?.[i][m];
    if (!cell) return [];
    const [correct, low, high] = cell;
    return [{ x, id: id[i], n: source.n, correct, low, high, accuracy: correct / source.n }];
  });
}

// Whether two sources differ in nothing but the seed.
const akin = (one, other) => one.entry === other.entry;

// The view that the traits ask for, brought to what is measured: the nearest M, the nearest σ or ε.
function resolve(model) {
  const data = model.get("payload");
  const base = model.get("base_model");
  const rule = data.rules.find(({ key }) => key === model.get("rule"));
  const sources = data.sources.filter((source) => source.model === base);
  const source = sources.find(({ name }) => name === model.get("source")) ?? sources[0];
  const draws = source?.draws ?? [];
  const m = nearest(draws.map(Math.log2), Math.log2(model.get("draws")));
  const attacks = data.attacks.filter(({ key }) => model.get("attacks").includes(key));
  const lines = attacks.map((attack) => ({ attack, points: curve(source, attack, rule.key, m) }));
  const axis = AXES[data.axis];
  const xs = unique(lines.flatMap(({ points }) => points.map(({ x }) => x)));
  const place = nearest(xs, model.get(data.axis));
  const printed = data.printed.filter((p) => p.model === base && p.rule === rule.key);
  return { data, base, rule, sources, source, draws, m, M: draws[m], attacks, lines, axis, xs, place,
    x: xs[place], printed, linked: model.linked };
}

// The scales depend on the base model and the source alone: no axis moves while M, σ or the rule does.
function domain({ data, base, source, axis }) {
  const printed = data.printed.filter((p) => p.model === base);
  const cells = Object.values(source?.attacks ?? {}).flatMap((attack) =>
    Object.values(attack.cells).flat(2).filter(Boolean));
  const shares = [...cells.flatMap(([, low, high]) => [low, high]), ...printed.map((p) => p.mean / 100)];
  const xs = [...Object.values(source?.attacks ?? {}).flatMap(({ x }) => x), ...printed.map((p) => p.sigma)];
  const y = shares.length ? [Math.min(...shares), Math.max(...shares)] : [0, 1];
  const [low, high] = [Math.floor(10 * y[0]), Math.ceil(10 * y[1])];
  const flat = low === high; // all on one line
  const right = Math.max(0, ...xs);
  return {
    y: [(flat ? Math.max(0, low - 1) : low) / 10, (flat ? Math.min(10, high + 1) : high) / 10],
    x: [0, axis.tick * (right > 0 ? Math.ceil(right / axis.tick - 1e-9) : 10)],
  };
}

// ---- the chart -----------------------------------------------------------------------------------------

// Labels at the given heights, moved apart until each has a line of its own, in order and above the bottom.
function apart(heights, bottom, gap = 15) {
  const order = heights.map((_, i) => i).sort((a, b) => heights[a] - heights[b]);
  const placed = [...heights];
  order.forEach((i, k) => { if (k) placed[i] = Math.max(placed[i], placed[order[k - 1]] + gap); });
  [...order].reverse().forEach((i, k, down) => {
    placed[i] = Math.min(placed[i], k ? placed[down[k - 1]] - gap : bottom);
  });
  return placed;
}

function chart(view, width) {
  const height = Math.round(Math.min(400, Math.max(280, 0.56 * width)));
  const inner = { width: width - MARGIN.left - MARGIN.right, height: height - MARGIN.top - MARGIN.bottom };
  const { x: [x0, x1], y: [y0, y1] } = domain(view);
  const { axis } = view;
  const x = (value) => ((value - x0) / (x1 - x0)) * inner.width;
  const y = (share) => (1 - (share - y0) / (y1 - y0)) * inner.height;
  const path = (points) =>
    `M${points.map(([value, share]) => `${x(value).toFixed(1)} ${y(share).toFixed(1)}`).join("L")}`;
  const line = (points) => path(points.map((p) => [p.x, p.accuracy]));
  const ticks = (from, to, step) =>
    Array.from({ length: Math.floor((to - from) / step + 1e-9) + 1 }, (_, i) => from + i * step);

  const axes = svg("g", { class: "siam-axes" });
  ticks(y0, y1, y1 - y0 > 0.55 && height < 340 ? 0.2 : 0.1).forEach((share) => axes.append(
    svg("line", { x2: inner.width, y1: y(share), y2: y(share) }),
    svg("text", { x: -8, y: y(share), dy: "0.35em", "text-anchor": "end" }, (100 * share).toFixed(0))));
  let step = axis.tick;
  while (x(x0 + step) < 34 && step < x1 - x0) step *= 2; // room for "0.05"
  ticks(x0, x1, step).forEach((value) => axes.append(svg("text",
    { x: x(value), y: inner.height + 18, "text-anchor": "middle" }, axis.text(value))));
  axes.append(svg("text", { class: "siam-title", x: -MARGIN.left + 2, y: -16 }, "Correct, % of images"));

  const ghosts = svg("g", { class: "siam-ghosts" });
  const bands = svg("g", { class: "siam-bands" });
  const lines = svg("g", { class: "siam-lines" });
  const marks = svg("g", { class: "siam-printed" });
  const labels = svg("g", { class: "siam-labels" });
  const cursor = svg("g", { class: "siam-cursor" });

  const drawn = view.lines.filter(({ points }) => points.length);
  const cx = x(view.x);
  const left = cx > inner.width - 44; // no room for a value on the right
  // Where the cursor is at the end of a line, the value stands behind its name: both have their place there. What stands beside
  // the cursor is one column, names are another. A name that is in both makes room for the values, then for the other names; then
  // the values make room for it. Where a name comes near the values, all names are in both.
  const ended = (points) => !left && points.at(-1).x === view.x;
  const column = (all) => {
    const heights = apart(all.map(({ height }) => height), inner.height);
    return new Map(all.map(({ key }, i) => [key, heights[i]]));
  };
  const here = drawn.flatMap(({ attack, points }) =>
    points.filter((p) => p.x === view.x).map((p) => ({ attack, ...p, key: attack.key, said: !ended(points) })));
  const room = column(here.map(({ key, accuracy, said }) => ({ key, height: y(accuracy) - (said ? 13 : 0) })));
  const ends = column(drawn.map(({ attack: { key }, points }) =>
    ({ key, height: ended(points) ? room.get(key) : y(points.at(-1).accuracy) })));
  const reach = left ? [-160, -17] : [-96, 46]; // how far from the cursor a line ends whose name comes near
  const others = drawn.filter(({ points }) => !ended(points));
  const away = others.map(({ points }) => x(points.at(-1).x) - cx);
  const crowded = away.some((distance) => distance > reach[0] && distance < reach[1]);
  const beside = column([
    ...here.map(({ key, accuracy, said }) => ({ key, height: said ? y(accuracy) - 13 : ends.get(key) })),
    ...(crowded ? others : []).map(({ attack: { key } }) => ({ key: `${key}, name`, height: ends.get(key) })),
  ]);
  drawn.forEach(({ attack, points }) => {
    const kind = `siam-${attack.kind}`;
    view.draws.forEach((_, m) => {
      const other = m === view.m ? [] : curve(view.source, attack, view.rule.key, m);
      if (other.length > 1) ghosts.append(svg("path", { class: kind, d: line(other) }));
    });
    const upper = points.map((p) => [p.x, p.high]);
    const lower = points.map((p) => [p.x, p.low]).reverse();
    const lone = points.length === 1 ? "siam-whisker" : ""; // one point has no band
    const dash = attack.key.includes("-sum") ? "2 3" : attack.extra ? "5 4" : null;
    bands.append(svg("path", { class: `${kind} ${lone}`, d: path([...upper, ...lower]) }));
    lines.append(svg("path", { class: kind, "stroke-dasharray": dash, d: line(points) }));
    if (inner.width / points.length > 9) points.forEach((p) => lines.append(
      svg("circle", { class: kind, cx: x(p.x), cy: y(p.accuracy), r: 2.2 })));
    const end = x(points.at(-1).x) + 9;
    const placed = beside.get(ended(points) ? attack.key : `${attack.key}, name`) ?? ends.get(attack.key);
    labels.append(svg("text", { class: kind, x: end, y: placed, dy: "0.35em" },
      attack.name + (ended(points) ? ` ${shown(points.at(-1))}` : "")));
  });

  for (const p of view.printed) {
    const attack = view.attacks.find(({ key }) => key === p.attack);
    if (!attack) continue;
    const [cx, cy] = [x(p.sigma), y(p.mean / 100)];
    const reach = y(0) - y(p.std / 100);
    const said = `${attack.name} ${p.mean} ± ${p.std} % at σ = ${two(p.sigma)}, M = ${p.draws}`;
    marks.append(svg("g", { class: `siam-${attack.kind}` },
      svg("path", { d: `M${cx} ${cy - reach}V${cy + reach}` }),
      svg("path", { class: p.draws === view.M ? "siam-same" : null, d: `M${cx} ${cy - 6}l6 6l-6 6l-6 -6Z` }),
      svg("title", {}, `Printed by the paper, Table 3: ${said}`)));
  }

  if (drawn.length) {
    cursor.append(svg("line", { x1: cx, x2: cx, y1: -4, y2: inner.height }));
    here.forEach((p) => cursor.append(svg("circle", { class: `siam-${p.attack.kind}`, cx, cy: y(p.accuracy), r: 4.5 })));
    here.filter(({ said }) => said).forEach((p) => cursor.append(
      svg("text", { class: `siam-${p.attack.kind}`, x: cx + (left ? -8 : 8), y: beside.get(p.attack.key), dy: "0.35em",
        "text-anchor": left ? "end" : "start" }, shown(p))));
  } else {
    labels.append(
      svg("text", { class: "siam-empty", x: inner.width / 2, y: 22, "text-anchor": "middle" }, lacking(view)));
  }

  return svg("svg", { width, height, role: "img", "aria-label": describe(view) },
    svg("g", { transform: `translate(${MARGIN.left} ${MARGIN.top})` },
      axes, ghosts, bands, lines, labels, marks, cursor));
}

const lacking = (view) => view.attacks.length ? `${view.base}: not yet measured` : "Choose an attack, or clean";

function describe(view) {
  const summary = view.lines.map(({ attack, points }) => {
    if (!points.length) return `${attack.name} not yet measured`;
    const rising = [...points].sort((p, q) => p.correct - q.correct);
    return `${attack.name} between ${shown(rising[0])} and ${shown(rising.at(-1))} %`;
  });
  const which = view.M ? `, ${view.rule.name}, M = ${view.M}` : "";
  return `Accuracy against ${view.axis.symbol} for ${view.base}${which}: ${summary.join("; ") || "no attack chosen"}.`;
}

// ---- the words -----------------------------------------------------------------------------------------

function readout(view) {
  const here = view.x === undefined ? "" : `${at(view.axis, view.x)}, M = ${view.M}`;
  const pixels = Math.round(255 * view.data.pixel_std * view.x);
  const cards = view.lines.map(({ attack, points }) => {
    const p = points.find(({ x }) => x === view.x);
    const printed = view.printed.filter((q) => q.attack === attack.key && (!p || q.sigma === view.x));
    return html("div", { class: `siam-card siam-${attack.kind}` },
      html("div", { class: "siam-name" }, attack.name),
      p ? html("div", { class: "siam-value" }, shown(p), html("small", {}, " %"))
        : html("div", { class: "siam-value siam-missing" }, "not yet measured"),
      p && html("div", {}, interval(p)),
      p && html("div", { class: "siam-quiet" }, `${whole(p.correct)} of ${whole(p.n)} images`),
      p && html("div", { class: "siam-quiet" }, `${view.source.tier} tier`, p.id && " · ", p.id && record(view, p.id)),
      ...printed.map((q) => html("div", { class: "siam-quiet" }, `◇ paper: ${q.mean} ± ${q.std} %`,
        p ? "" : ` at σ\u00a0=\u00a0${two(q.sigma)}`, `, M\u00a0=\u00a0${q.draws}`)));
  });
  return [
    html("p", { class: "siam-at" }, here ? html("strong", {}, here) : `${lacking(view)}.`,
      here && view.axis.symbol === "σ" && view.x > 0 ? ` · about ${pixels}/255 of the pixel range` : ""),
    html("div", { class: "siam-cards" }, ...cards)];
}

function notes(view) {
  const { source, printed, attacks, draws, base } = view;
  const lines = [];
  if (source) {
    const small = !["paper", "fast"].includes(source.tier);
    const warned = small ? " Numbers of this tier are not a reproduction of the paper." : "";
    lines.push(["Measured", `${source.name}.${warned}`]);
    lines.push(["Shaded", "95 % interval over the images; with few votes also over the batches that share a draw of the noise, where it is known and wider."]);
    if (draws.length > 1) lines.push(
      ["Faint", "the other values of M. They share their first passes, so they move together."]);
  } else lines.push(["Measured", `nothing yet: there is no record of ${base}.`]);
  if (printed.length) {
    const same = printed.some((p) => p.draws === view.M) ? "; filled at the chosen M" : "";
    const passes = unique(printed.map((p) => p.draws)).join(" or ");
    lines.push(["◇ Printed", "by the paper, Table 3: 10,000 test images, mean ± standard deviation over " +
      `runs, M = ${passes}, σ chosen on the test set${same}.`]);
  }
  const settings = attacks.filter(({ detail }) => detail).map(({ name, detail }) => `${name}, ${detail}`);
  if (settings.length) lines.push(["Attacks", `${settings.join("; ")}.`]);
  return lines.map(([key, text]) => html("p", {}, html("strong", {}, key), ` ${text}`));
}

// The book ships its records; where a reader's own lie only the reader knows.
const record = (view, id) => {
  const code = html("code", { title: "the record" }, id);
  return view.linked && id ? html("a", { href: `../data/results/evaluation/${id}.json` }, code) : code;
};

function table(view) {
  const rows = view.xs.flatMap((x) => view.lines.flatMap(({ attack, points }) =>
    points.filter((p) => p.x === x).map((p) => html("tr", {},
      ...[view.axis.exact(x) + view.axis.unit, attack.name, shown(p), interval(p), `${p.correct} / ${p.n}`]
        .map((text) => html("td", {}, String(text))),
      html("td", {}, record(view, p.id))))));
  const head = [view.axis.symbol, "attack", "accuracy, %", "95 % interval", "correct / n", "record"];
  if (!rows.length) return html("p", {}, `${lacking(view)}.`);
  return html("table", {},
    html("caption", {}, `${view.base}, ${view.rule.name}, M = ${view.M}; ${view.source.name}`),
    html("thead", {}, html("tr", {}, ...head.map((text) => html("th", { scope: "col" }, text)))),
    html("tbody", {}, ...rows));
}

// ---- the link ------------------------------------------------------------------------------------------

// The view in a link's fragment, and back: what is missing or unknown there stays as it is.
const VIEW = ["base_model", "rule", "attacks", "draws", "source"];
function fragment(model) {
  const traits = [...VIEW, model.get("payload").axis].map((name) => [name, String(model.get(name))]);
  // Not "the best there is", which a later record may be, but what is in view.
  return `#${new URLSearchParams({ ...Object.fromEntries(traits), source: resolve(model).source?.name ?? "" })}`;
}

const carried = (hash) => new URLSearchParams(hash.slice(1));
const carries = (model, hash) => [...VIEW, model.get("payload").axis].some((name) => carried(hash).has(name));

function restore(model, hash) {
  const asked = carried(hash);
  const { models, rules, attacks, sources, axis } = model.get("payload");
  const keys = attacks.map(({ key }) => key);
  const known = {
    base_model: (text) => models.includes(text) && text,
    rule: (text) => rules.some(({ key }) => key === text) && text,
    attacks: (text) => text === "" ? [] : text.split(",").every((key) => keys.includes(key)) && text.split(","),
    draws: (text) => Number.isInteger(Number(text)) && Number(text) > 0 && Number(text),
    source: (text) => (text === "" || sources.some(({ name }) => name === text)) && text,
    [axis]: (text) => text.trim() !== "" && Number(text) >= 0 && Number.isFinite(Number(text)) && Number(text),
  };
  for (const [name, read] of Object.entries(known)) {
    const value = asked.has(name) && read(asked.get(name));
    if (value !== false) model.set(name, value);
  }
}

// ---- the widget ----------------------------------------------------------------------------------------

function render({ model, el }) {
  const data = model.get("payload");
  const axis = AXES[data.axis];
  if (model.linked) restore(model, location.hash);
  const set = (name, value) => { model.set(name, value); model.save_changes(); };
  const choice = (trait, options) => html("select",
    { ...SHORTCUTS, onchange: (event) => set(trait, event.target.value) },
    ...options.map(([value, text]) => html("option", { value }, text)));
  const measured = new Set(data.sources.map((source) => source.model));

  const option = (say) => (one) => html("option", { value: one.name }, String(say(one)));

  const named = (name) => [name, measured.has(name) ? name : `${name} — not yet measured`];

  const base = choice("base_model", data.models.map(named));
  const rule = choice("rule", data.rules.map(({ key, name }) => [key, sentence(name)]));
  const source = choice("source", []);
  const seed = choice("source", []);
  const sources = html("div", { class: "siam-sources" },
    html("label", {}, html("span", {}, "Measured on"), source), html("label", {}, html("span", {}, "Seed"), seed));
  const boxes = data.attacks.map(({ key }) => html("input", { type: "checkbox", value: key, ...SHORTCUTS,
    onchange: () => set("attacks", boxes.filter((box) => box.checked).map((box) => box.value)) }));
  const draws = html("input", { type: "range", min: 0, step: 1, "data-testid": "siam-draws",
    "aria-label": "M, number of noisy passes that vote", ...SHORTCUTS,
    oninput: () => set("draws", resolve(model).draws[draws.valueAsNumber]) });
  const drawsTicks = html("div", { class: "siam-ticks", "aria-hidden": "true" });
  const [drawsValue, drawsSaid] = [html("strong"), html("span")];

  const plot = html("div", { class: "siam-plot" });
  const slider = html("input", { type: "range", step: axis.step, "data-testid": `siam-${data.axis}`,
    "aria-label": axis.said, ...SHORTCUTS });
  const axisName = html("span", { "aria-hidden": "true" });
  const said = html("div", { class: "siam-readout", "data-testid": "siam-readout" });
  // What a listener is told unasked, a moment after the last change: the numbers at the place in view. The slider that goes
  // there says them itself.
  const told = html("p", { class: "siam-told", role: "status" });
  let telling;
  // An address with a view goes with the view, so that Back and reload lead to what was in view.
  const toAddress = () => window.history.replaceState(null, "", fragment(model));
  const note = html("div", { class: "siam-note" });
  const numbers = html("div",
    { class: "siam-scroll", tabindex: 0, role: "region", "aria-label": "The numbers", ...SHORTCUTS });
  const linkSaid = html("span", { role: "status" });
  // The page where the network runs, at the place in view. No fragment in the link: the book's theme takes each for a heading's.
  const live = html("a", { href: "live.html", onclick: (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return; // in another tab: the page as it opens
    event.preventDefault();
    toAddress();
    const { x, M, rule } = resolve(model);
    location.assign(`live.html#${new URLSearchParams({ sigma: x, draws: M, rule: rule.key })}`);
  } });
  const link = model.linked && html("div", { class: "siam-link" },
    html("button", { type: "button", ...SHORTCUTS, onclick: () => {
      linkSaid.textContent = "";
      toAddress();
      const copied = navigator.clipboard?.writeText(location.href) ?? Promise.reject();
      copied.then(() => "Copied.", () => "It is in the address bar.").then((text) => { linkSaid.textContent = text; });
    } }, "Link to this view"), linkSaid, live);
  const details = html("details", { ontoggle: () => draw() },
    html("summary", { ...SHORTCUTS }, "The numbers, as a table"), numbers);

  // A drag goes to the nearest measured point. A key or a screen reader moves by one step of the input, which may be less than
  // the distance to the next one, or more: then go there.
  let thumb; // where the input has it, on one of its steps
  let dragging = false;
  let pressed = false; // the mouse, on the chart: not what began elsewhere, as a selection of text
  const released = () => { dragging = pressed = false; };
  slider.addEventListener("pointerdown", () => { dragging = true; });
  window.addEventListener("pointerup", released);
  window.addEventListener("pointercancel", released);
  slider.addEventListener("input", () => {
    const { xs, place } = resolve(model);
    const asked = slider.valueAsNumber;
    const by = Math.round((asked - thumb) / axis.step);
    let to = nearest(xs, asked);
    if (!dragging && (to === place || Math.abs(by) === 1)) to = place + Math.sign(by);
    if (xs[to] === undefined || to === place) draw(); // puts the thumb back
    else set(data.axis, xs[to]); // which draws
  });
  const point = (event) => {
    const view = resolve(model);
    if (!view.xs.length) return;
    const box = plot.getBoundingClientRect();
    const share = (event.clientX - box.left - MARGIN.left) / (box.width - MARGIN.left - MARGIN.right);
    const to = view.xs[nearest(view.xs, share * domain(view).x[1])];
    if (to !== view.x) set(data.axis, to);
  };
  // A mouse that is pressed, or a tap. Not one that passes by: the sliders lie on either side of the chart. Not a finger that is
  // put down: it may be going to scroll.
  plot.addEventListener("pointerdown", (event) => { pressed = event.pointerType === "mouse" && event.button === 0; });
  plot.addEventListener("pointermove", (event) => pressed && event.buttons & 1 && point(event)); // a release may be lost
  plot.addEventListener("click", point);

  function changed() {
    linkSaid.textContent = "";
    told.textContent = ""; // or a listener who reads on would meet the numbers of the place before
    draw();
    clearTimeout(telling);
    telling = setTimeout(() => {
      if (document.activeElement !== slider) told.textContent = slider.getAttribute("aria-valuetext");
      if (model.linked && carries(model, location.hash)) toAddress(); // not at each step: browsers refuse many in a while
    }, 500);
  }

  function draw() {
    const view = resolve(model);
    const width = Math.floor(plot.clientWidth);
    if (!width) return; // not laid out yet: the observer calls again
    base.value = view.base;
    rule.value = view.rule.key;
    const firsts = view.sources.filter((one, i) => view.sources.findIndex((other) => akin(one, other)) === i);
    firsts.sort((a, b) => a.place - b.place);
    source.replaceChildren(...firsts.map(option(({ entry }) => entry)));
    source.value = firsts.find((one) => akin(one, view.source))?.name ?? "";
    source.parentNode.hidden = firsts.length < 2;
    // What differs in the seed alone is one entry, with a choice of seeds beside it.
    const seeds = view.sources.filter((one) => akin(one, view.source)).sort((a, b) => a.seed - b.seed);
    seed.replaceChildren(...seeds.map(option((one) => one.seed)));
    seed.value = view.source?.name ?? "";
    seed.parentNode.hidden = seeds.length < 2;
    sources.hidden = view.sources.length < 2; // or it would leave a gap
    boxes.forEach((box) => {
      box.checked = view.attacks.some(({ key }) => key === box.value);
      box.parentNode.classList.toggle("siam-absent", !view.source?.attacks[box.value]);
    });
    draws.disabled = view.draws.length < 2;
    draws.max = Math.max(1, view.draws.length - 1);
    draws.value = view.m;
    draws.setAttribute("aria-valuetext", view.M ? `M = ${votes(view.M)}` : "not yet measured");
    drawsValue.textContent = view.M ? `M = ${view.M}` : "M";
    drawsSaid.textContent = ` noisy pass${view.M === 1 ? " votes" : "es vote"}${view.draws.length === 1 ? ", the only M measured" : ""}`;
    drawsTicks.replaceChildren(...view.draws.map((M, m) =>
      html("span", { class: m === view.m ? "siam-on" : null }, M)));
    plot.replaceChildren(chart(view, width));
    const [x0, x1] = domain(view).x;
    Object.assign(slider, { min: x0, max: x1, value: view.x ?? 0, disabled: view.xs.length < 2 });
    thumb = slider.valueAsNumber;
    axisName.textContent = axis.name + (view.xs.length === 1 ? `: one ${axis.symbol} measured` : "");
    const here = view.lines.flatMap(({ attack, points }) => points
      .filter((p) => p.x === view.x).map((p) => `${attack.name} ${shown(p)} %`));
    slider.setAttribute("aria-valuetext",
      here.length ? `${at(axis, view.x)}: ${here.join(", ")}` : lacking(view));
    live.hidden = !(view.source?.live && axis === AXES.sigma && view.x !== undefined);
    live.textContent = `Try ${at(axis, view.x ?? 0)}, M = ${view.M} on an image`;
    said.replaceChildren(...readout(view));
    note.replaceChildren(...notes(view));
    if (details.open) numbers.replaceChildren(table(view));
  }

  const [left, right] = [MARGIN.left - THUMB / 2, MARGIN.right - THUMB / 2];
  el.append(html("div", { class: "siam-explorer", "data-testid": "siam-explorer", role: "group",
    "aria-label": `${axis.symbol}/M explorer`,
    style: `--siam-left: ${left}px; --siam-right: ${right}px; --siam-thumb: ${THUMB}px` },
    html("div", { class: "siam-controls" },
      html("label", {}, html("span", {}, "Base model"), base),
      html("label", {}, html("span", {}, "Voting rule"), rule),
      sources,
      html("fieldset", {}, html("legend", {}, "Attack"), html("div", {}, ...data.attacks.map(
        ({ kind, name }, i) => html("label", { class: `siam-${kind}` }, boxes[i], html("span", {}, name))))),
      html("div", {}, html("span", {}, drawsValue, drawsSaid), draws, drawsTicks)),
    plot,
    html("div", { class: "siam-sigma" }, slider, axisName),
    said, told, note, link, details));

  const traits = ["payload", "base_model", "rule", "attacks", "draws", "sigma", "epsilon", "source"];
  traits.forEach((trait) => model.on(`change:${trait}`, changed));
  const follow = () => restore(model, location.hash);
  if (model.linked) window.addEventListener("hashchange", follow);
  const observer = new ResizeObserver(draw);
  observer.observe(plot);
  draw();
  return () => {
    observer.disconnect();
    clearTimeout(telling);
    traits.forEach((trait) => model.off(`change:${trait}`, changed));
    window.removeEventListener("pointerup", released);
    window.removeEventListener("pointercancel", released);
    window.removeEventListener("hashchange", follow);
  };
}

export default { render };
