// From the logits of noisy passes to votes, verdicts and intervals: what siam.smoothing and siam.runs do in Python,
// checked against them by tests/test_live.py. Nothing here knows of a page.

const CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];
const RULES = [
  { key: "prediction", name: "Prediction smoothing", equation: "eq. 8", adds: "votes" },
  { key: "soft", name: "Soft smoothing", equation: "eq. 9", adds: "probabilities" },
  { key: "weighted", name: "Weighted smoothing", equation: "eq. 11", adds: "rank weights" },
];

const ruleSaid = (rule) => RULES.find(({ key }) => key === rule).name.toLowerCase();

// The class with the highest score; of equal ones the first.
const winner = (scores) => scores.reduce((best, score, c) => (score > scores[best] ? c : best), 0);

// Scores [10] by rule over the first M passes, for M = 1, 2, 4, … and all of them: [{M, prediction, soft, weighted}].
// logits: [passes × 10], pass by pass. Of equal logits in a pass the class with the lower number ranks first.
function tallies(logits) {
  const passes = logits.length / 10;
  const sums = { prediction: Array(10).fill(0), soft: Array(10).fill(0), weighted: Array(10).fill(0) };
  const kept = [];
  for (let i = 0; i < passes; i++) {
    const z = Array.from(logits.subarray(10 * i, 10 * i + 10));
    const order = [...z.keys()].sort((a, b) => z[b] - z[a]);
    const powers = z.map((v) => Math.exp(v - z[order[0]]));
    const total = powers.reduce((sum, power) => sum + power, 0);
    sums.prediction[order[0]] += 1;
    order.forEach((c, rank) => {
      sums.weighted[c] += 2 ** -rank;
    });
    powers.forEach((power, c) => {
      sums.soft[c] += power / total;
    });
    const M = i + 1;
    if ((M & (M - 1)) === 0 || M === passes) {
      kept.push({ M, prediction: [...sums.prediction], soft: [...sums.soft], weighted: [...sums.weighted] });
    }
  }
  return kept;
}

// The exact (Clopper–Pearson) 95 % interval of a share, k of n -> [low, high]; n up to ten thousand.
// What was computed is kept.
const intervals = new Map();
function interval(k, n) {
  const key = `${k}/${n}`;
  if (!intervals.has(key)) intervals.set(key, [lower(k, n), 1 - lower(n - k, n)]);
  return intervals.get(key);
}

// The share p at which k or more of n happen with probability 0.025, by bisection.
function lower(k, n) {
  if (k === 0) return 0;
  const ways = [0]; // logarithms of "n choose i"
  for (let i = 0; i < n; i++) ways.push(ways[i] + Math.log((n - i) / (i + 1)));
  let [low, high] = [0, k / n];
  for (let step = 0; step < 40; step++) {
    const p = (low + high) / 2;
    const [logP, logQ] = [Math.log(p), Math.log1p(-p)];
    let tail = 0;
    for (let i = k; i <= n; i++) tail += Math.exp(ways[i] + i * logP + (n - i) * logQ);
    if (tail > 0.025) high = p;
    else low = p;
  }
  return (low + high) / 2;
}
