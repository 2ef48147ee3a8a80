// What the live page draws: pictures, the histogram, the three verdicts, the convergence of the vote. Each function
// makes its part once, with its size, and returns a function that fills it: nothing moves while numbers change.

const build =
  (namespace) =>
  (tag, attributes = {}, ...children) => {
    const node = document.createElementNS(namespace, tag);
    for (const [key, value] of Object.entries(attributes)) {
      if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
      else if (value !== null && value !== undefined && value !== false)
        node.setAttribute(key, value === true ? "" : value);
    }
    node.append(...children.filter((child) => child || child === 0));
    return node;
  };
const html = build("http://www.w3.org/1999/xhtml");
const svg = build("http://www.w3.org/2000/svg");

// Per cent of n, to about one of them.
const digits = (n) => Math.max(0, Math.ceil(Math.log10(n)) - 2);
const percent = (share, n) => `${(100 * share).toFixed(digits(n))} %`;
const between = (k, n) => {
  const [low, high] = interval(k, n);
  return `${(100 * low).toFixed(digits(n))}–${percent(high, n)}`;
};
const whole = (n) => n.toLocaleString("en-GB");
const passes = (M, still) => `${M} ${still ? "" : "noisy "}pass${M === 1 ? "" : "es"}`;
const counted = (n, noun) => `${n} ${noun}${n === 1 ? "" : "s"}`;
const mark = (right) => (right ? "✓" : "✗");
const word = (right) => (right ? "right" : "wrong");

// ---- pictures ------------------------------------------------------------------------------------------------------

const canvas = (attributes = {}) => html("canvas", { width: 32, height: 32, role: "img", ...attributes });

// Pixels [3 × 32 × 32] in [0, 1] on a canvas; what leaves the range is cut.
function paint(target, pixels) {
  const context = target.getContext("2d");
  const picture = context.createImageData(32, 32);
  for (let i = 0; i < 1024; i++) {
    for (let c = 0; c < 3; c++) picture.data[4 * i + c] = 255 * pixels[1024 * c + i]; // clamped and rounded by the type
    picture.data[4 * i + 3] = 255;
  }
  context.putImageData(picture, 0, 0);
}

// The image, what the attack added to it, and the sum.
function pictures() {
  const [image, added, shown] = [canvas(), canvas(), canvas()];
  const captions = [image, added, shown].map(() => html("figcaption"));
  const node = html(
    "div",
    { class: "live-pictures" },
    ...[image, added, shown].map((picture, i) => html("figure", {}, picture, captions[i])),
  );
  return [
    node,
    ({ name, pixels, seen, attacking }) => {
      paint(image, pixels);
      paint(
        added,
        pixels.map((value, i) => 0.5 + 8 * (seen[i] - value)),
      );
      paint(shown, seen);
      captions[0].textContent = `image: ${name}`;
      captions[1].textContent = attacking ? "attack × 8" : "no attack";
      captions[2].textContent = attacking ? "attacked" : "voted on: the same";
      image.setAttribute("aria-label", `The image: ${name}`);
      added.setAttribute(
        "aria-label",
        attacking ? "What the attack added, amplified 8 times, on grey" : "No attack: plain grey",
      );
      shown.setAttribute("aria-label", attacking ? `The ${name} after the attack` : `The ${name} as it is`);
    },
  ];
}

// Where there is no room for the longest name it may go on in a second line.
const breakable = (name) => name.replace("automobile", "auto\u00admobile");

// The first noisy passes: what the network saw, and what it said.
function samples(count) {
  const cells = Array.from({ length: count }, () => {
    const [picture, said] = [canvas({ "aria-hidden": "true", role: null }), html("span", {}, "\u00a0")];
    return { picture, said, node: html("li", {}, picture, said) };
  });
  const node = html(
    "section",
    { "aria-label": "Noisy passes" },
    html("p", { class: "live-heading" }, `What the first ${count} passes saw, and what each said`),
    html("ol", { class: "live-samples" }, ...cells.map(({ node }) => node)),
  );
  return [
    node,
    ({ noisy, logits, label, M }) =>
      cells.forEach(({ picture, said, node }, i) => {
        const there = noisy[i] && i < M;
        node.classList.toggle("live-idle", !there);
        if (there) paint(picture, noisy[i]);
        const answer = i < M && 10 * i + 10 <= logits.length ? winner(logits.subarray(10 * i, 10 * i + 10)) : null;
        node.dataset.right = answer === null ? "" : answer === label;
        said.textContent = answer === null ? "\u00a0" : `${mark(answer === label)} ${breakable(CLASSES[answer])}`;
      }),
  ];
}

// ---- votes ---------------------------------------------------------------------------------------------------------

// A table whose middle column is drawn: the votes of every class.
function histogram() {
  const rows = CLASSES.map((name) => {
    const bar = html("i", { style: "width: 0" });
    const [count, title] = [html("td", { class: "live-count" }), html("th", { scope: "row" }, name)];
    return {
      bar,
      count,
      title,
      node: html("tr", {}, title, html("td", { class: "live-bar", "aria-hidden": "true" }, bar), count),
    };
  });
  const share = html("p", { class: "live-share" }, "\u00a0");
  const node = html(
    "div",
    {},
    html(
      "table",
      { class: "live-votes" },
      html("caption", {}, "Votes by class"),
      html("tbody", {}, ...rows.map(({ node }) => node)),
    ),
    share,
  );
  return [
    node,
    ({ tally, label, M, still }) => {
      const counts = tally.prediction;
      const best = winner(counts);
      rows.forEach(({ bar, count, title, node }, c) => {
        bar.style.width = `${(100 * counts[c]) / M}%`;
        count.textContent = counts[c];
        node.classList.toggle("live-own", c === label);
        title.textContent = c === label ? `▸ ${CLASSES[c]}` : CLASSES[c];
        title.setAttribute("aria-label", c === label ? `${CLASSES[c]}, the true class` : CLASSES[c]);
      });
      share.textContent =
        `${CLASSES[best]}: ${counts[best]} of ${tally.M}, ${percent(counts[best] / tally.M, tally.M)}, ` +
        (still ? "every pass the same, without noise" : `exact 95 % interval ${between(counts[best], tally.M)}`);
    },
  ];
}

// The three rules side by side; the chosen one speaks for the page.
function verdicts(name, choose) {
  const cards = RULES.map(({ key, name: title, equation, adds }) => {
    const input = html("input", {
      type: "radio",
      name,
      value: key,
      onchange: () => choose(key),
      "data-lm-suppress-shortcuts": "true",
    });
    const [said, score] = [html("strong", {}, "\u00a0"), html("span", { class: "siam-quiet" }, "\u00a0")];
    return {
      key,
      adds,
      input,
      said,
      score,
      node: html(
        "label",
        {},
        html("span", { class: "live-rule" }, input, `${title} `, html("small", {}, equation)),
        said,
        score,
      ),
    };
  });
  const node = html(
    "fieldset",
    { class: "live-verdicts" },
    html("legend", {}, "Voting rule"),
    ...cards.map(({ node }) => node),
  );
  return [
    node,
    ({ rule, tally, label }) =>
      cards.forEach(({ key, adds, input, said, score, node }) => {
        input.checked = key === rule;
        if (!tally) return; // nothing has voted yet
        const best = winner(tally[key]);
        node.dataset.right = best === label;
        said.textContent = `${CLASSES[best]} ${mark(best === label)}`;
        const value = tally[key][best];
        score.textContent = `${adds} ${key === "prediction" ? value : value.toFixed(1)} of ${tally.M}`;
      }),
  ];
}

// The share of votes of the true class, with its interval, and of its strongest rival, as passes are added.
function convergence() {
  const [width, height, left, top] = [640, 210, 44, 14];
  const x = (M) => left + (Math.log2(M) / 9) * (width - left - 132);
  const y = (share) => top + (1 - share) * (height - top - 30);
  const axes = [0, 0.25, 0.5, 0.75, 1].flatMap((share) => [
    svg("line", { x1: x(1), x2: x(512), y1: y(share), y2: y(share) }),
    svg("text", { x: left - 8, y: y(share), dy: "0.35em", "text-anchor": "end" }, (100 * share).toFixed(0)),
  ]);
  for (let M = 1; M <= 512; M *= 2) {
    const odd = Math.log2(M) % 2 ? "live-odd" : null; // left out where there is no room
    axes.push(svg("text", { x: x(M), y: height - 10, "text-anchor": "middle", class: odd }, M));
  }
  const drawing = svg("g");
  const chart = svg(
    "svg",
    { viewBox: `0 0 ${width} ${height}`, role: "img", class: "live-chart" },
    svg("g", { class: "siam-axes" }, ...axes),
    drawing,
  );
  const node = html(
    "figure",
    { class: "live-convergence" },
    html("figcaption", {}, "Share of the votes, %, as noisy passes are added (M); band: exact 95 % interval"),
    chart,
  );
  const line = (points) => `M${points.map(([M, share]) => `${x(M).toFixed(1)} ${y(share).toFixed(1)}`).join("L")}`;
  return [
    node,
    ({ kept, rule, label, still }) => {
      const last = kept.at(-1).prediction;
      const rival = winner(last.map((votes, c) => (c === label ? -1 : votes)));
      const own = kept.map(({ M, prediction }) => [M, prediction[label] / M]);
      const other = kept.map(({ M, prediction }) => [M, prediction[rival] / M]);
      const bounds = kept.map(({ M, prediction }) => [M, interval(prediction[label], M)]);
      const band = [...bounds.map(([M, [, high]]) => [M, high]), ...bounds.map(([M, [low]]) => [M, low]).reverse()];
      const ends = [y(own.at(-1)[1]), y(other.at(-1)[1])];
      const gap = 22 - Math.abs(ends[0] - ends[1]); // the height of a label where it is largest, on a phone
      if (gap > 0) {
        const up = ends[0] <= ends[1] ? -1 : 1;
        ends[0] += (up * gap) / 2;
        ends[1] -= (up * gap) / 2;
      }
      const end = x(kept.at(-1).M) + 9;
      drawing.replaceChildren(
        still ? "" : svg("path", { class: "live-own live-band", d: `${line(band)}Z` }),
        svg("path", { class: "live-rival live-line", d: line(other) }),
        svg("path", { class: "live-own live-line", d: line(own) }),
        ...kept.map((tally) =>
          svg("circle", {
            cx: x(tally.M),
            cy: y(tally.prediction[label] / tally.M),
            r: 4,
            class: winner(tally[rule]) === label ? "live-own live-right" : "live-own",
          }),
        ),
        svg(
          "text",
          { class: "live-own", x: end, y: ends[0], dy: "0.35em" },
          CLASSES[label],
          svg("tspan", { class: "live-odd" }, " (true)"),
        ),
        svg("text", { class: "live-rival", x: end, y: ends[1], dy: "0.35em" }, CLASSES[rival]),
      );
      chart.setAttribute(
        "aria-label",
        `Share of the votes for ${CLASSES[label]}, the true class: ` +
          own.map(([M, share]) => `M = ${M}: ${percent(share, M)}`).join(", "),
      );
    },
  ];
}

// Shares with their intervals, under each other.
function shares(names) {
  const rows = names.map((name) => {
    const [range, dot, said] = [html("i"), html("b", { hidden: true }), html("td", { class: "live-said" }, "not yet")];
    return {
      range,
      dot,
      said,
      node: html(
        "tr",
        {},
        html("th", { scope: "row" }, name),
        html("td", { class: "live-range", "aria-hidden": "true" }, range, dot),
        said,
      ),
    };
  });
  const node = html(
    "table",
    { class: "live-shares" },
    html("caption", {}, "Images that the vote gets right after the attack"),
    html("tbody", {}, ...rows.map(({ node }) => node)),
    html(
      "tfoot",
      { "aria-hidden": "true" },
      html(
        "tr",
        {},
        html("td"),
        html("td", { class: "live-scale" }, ...["0", "50", "100 %"].map((at) => html("span", {}, at))),
        html("td"),
      ),
    ),
  );
  return [
    node,
    (row, correct, n) => {
      const { range, dot, said } = rows[row];
      dot.hidden = n === 0;
      if (n === 0) {
        range.style.width = 0;
        said.textContent = "not yet";
        return;
      }
      const [low, high] = interval(correct, n);
      range.style.left = `${100 * low}%`;
      range.style.width = `${100 * (high - low)}%`;
      dot.style.left = `${(100 * correct) / n}%`;
      said.replaceChildren(
        `${whole(correct)} of ${whole(n)}, ${percent(correct / n, n)} `,
        html("span", {}, `(${between(correct, n)})`),
      );
    },
  ];
}
