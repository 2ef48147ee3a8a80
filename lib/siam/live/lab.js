// The state of the live page and the work it asks for: attacks and votes through the engine, each done once.

const RANGES = { sigma: [0, 0.5], draws: [1, 512], epsilon: [0, 35], steps: [1, 30], samples: [1, 32], seed: [0, 1e6] };
const WHOLE = ["draws", "epsilon", "steps", "samples", "seed"];

// ---- the state -----------------------------------------------------------------------------------------------------

// The state in a link's fragment, and back: what is missing, unknown or out of range stays as in `opening`.
const fragment = (state) =>
  `#${new URLSearchParams(
    Object.entries(state).map(([key, value]) => [key, typeof value === "boolean" ? Number(value) : value]),
  )}`;

const carried = (hash) => new URLSearchParams(hash.replace(/^#/, ""));
const carries = (hash, opening) => Object.keys(opening).some((key) => carried(hash).has(key));

function restored(hash, opening, images) {
  const asked = carried(hash);
  const state = { ...opening };
  const number = (key) => (asked.get(key)?.trim() ? Number(asked.get(key)) : NaN);
  for (const [key, [low, high]] of Object.entries(RANGES)) {
    const value = number(key);
    if (!(value >= low && value <= high) || (WHOLE.includes(key) && !Number.isInteger(value))) continue;
    if (["draws", "samples"].includes(key) && !Number.isInteger(Math.log2(value))) continue;
    state[key] = key === "sigma" ? Math.round(100 * value) / 100 : value; // what the slider can show
  }
  for (const key of ["attacked", "weightNoise", "noisyAttack"]) {
    if (["0", "1"].includes(asked.get(key))) state[key] = asked.get(key) === "1";
  }
  if (RULES.some(({ key }) => key === asked.get("rule"))) state.rule = asked.get("rule");
  if (images.includes(number("image"))) state.image = number("image");
  return state;
}

// Bytes as siam.export has them, labels and then pixels -> [{label, pixels Float32Array [3072] in [0, 1]}].
function unpacked(bytes) {
  const n = bytes.length / 3073;
  return Array.from({ length: n }, (_, i) => ({
    label: bytes[i],
    pixels: Float32Array.from(bytes.subarray(n + 3072 * i, n + 3072 * (i + 1)), (v) => v / 255),
  }));
}

// Deflated bytes -> bytes.
async function inflated(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// ---- the work ------------------------------------------------------------------------------------------------------

// Attacks and votes through the engine, each done once: what is asked of an image that `id` names is kept. Without an id (null)
// nobody will ask again, and what has one goes first.
function laboratory(engine) {
  const attacked = new Map();
  const voted = new Map();
  const seen = new Map(); // pictures of noisy passes
  let exact = false;
  const keep = (map, key, value, most = 60) => {
    // the latest
    map.delete(key);
    map.set(key, value);
    if (map.size > most) map.delete(map.keys().next().value);
    return value;
  };
  const noise = ({ sigma, weightNoise, seed }) => ({ sigma, weightNoise: weightNoise && exact, seed });

  return {
    ready: engine.exact.then(() => {
      exact = true;
      attacked.clear();
      voted.clear();
      seen.clear();
    }),
    workers: engine.workers,

    // The adversarial form of pixels of a class, made against the network with this σ and noise, or, where the attacker has
    // switched all noise off, without any: then one sample a step is all that there are.
    async attack(id, { label, pixels }, s, onStep, signal) {
      if (s.epsilon === 0) return pixels;
      const seen = s.noisyAttack ? s : { ...s, samples: 1, sigma: 0, weightNoise: false };
      const how = {
        epsilon: s.epsilon / 255,
        stepSize: s.epsilon / 4 / 255,
        steps: s.steps,
        samples: seen.samples,
        ...noise(seen),
      };
      if (id === null) return engine.attack({ image: pixels, label, ...how, later: true }, onStep, signal);
      const key = JSON.stringify([id, how]);
      return (
        attacked.get(key) ?? keep(attacked, key, await engine.attack({ image: pixels, label, ...how }, onStep, signal))
      );
    },

    // Logits of the first M passes over pixels that `id` names; onMore is given those that have come, in order.
    async vote(id, pixels, s, onMore, signal) {
      const how = noise(s);
      const key = JSON.stringify([id, how]);
      const known = voted.get(key);
      if (known?.length >= 10 * s.draws) return known.subarray(0, 10 * s.draws);
      if (id === null) return engine.vote({ image: pixels, draws: s.draws, ...how, later: true }, null, signal);
      // A pass hangs on its number and the seed alone: of more passes the first are those that are known.
      const logits = new Float32Array(10 * s.draws);
      let first = 0; // passes without a gap
      if (known) {
        logits.set(known);
        first = known.length / 10;
        onMore?.(known);
      }
      const come = new Set();
      await engine.vote(
        { image: pixels, first, draws: s.draws, ...how },
        (pass, part) => {
          logits.set(part, 10 * pass);
          for (let i = 0; i < part.length / 10; i++) come.add(pass + i);
          while (come.has(first)) first += 1;
          onMore?.(logits.subarray(0, 10 * first));
        },
        signal,
      );
      return keep(voted, key, logits);
    },

    // The pictures that the first passes saw over pixels that `id` names.
    async noisy(id, pixels, { sigma, seed }, count, signal) {
      const key = JSON.stringify([id, sigma, seed]);
      const known = seen.get(key);
      if (known?.length >= count) return known.slice(0, count);
      const see = (_, pass) => engine.noisy({ image: pixels, sigma, seed, pass }, signal);
      return keep(seen, key, await Promise.all(Array.from({ length: count }, see)), 2); // 300 kB each
    },

    close: () => engine.close(),
  };
}
