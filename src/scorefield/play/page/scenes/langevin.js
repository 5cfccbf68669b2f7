// @ts-check
/** Scene 3: Langevin dynamics: it converges, it fails between far modes, MALA corrects its steps; and the same in 64 and 1,000 dimensions. */

import {draws, field, normalsOf, owners, shares, uniforms} from '../exact.js';
import {bars, chart, colour, dots, grid, heat, label, short} from '../draw.js';
import {demo, preamble, scoreCode} from '../python.js';
import {PRESETS} from '../state.js';

/** Particles, by the number of dimensions. @type {Record<string, number>} */
const PARTICLES = {'2': 2000, '64': 500, '1000': 60};
const LEAST = 0.1; // the noise, of the data's width, at which a learned score is followed: with less it is mostly error
const START = 1e6, LEARN = 'error of the learned score'; // START: its draw, far from those of the steps
const BELOW = ['mode weights', 'distance from the mode', LEARN];

/** @type {import('../app.js').Scene} */
export const langevin = {
  id: 'langevin',
  title: 'Langevin dynamics',
  learned: true,
  text: `
<p>Follow the score uphill and shake. In the limit of small steps the particles end up distributed as the density
(<a href="https://doi.org/10.2307/3318418">Roberts &amp; Tweedie 1996</a>).</p>
<math display="block"><mrow><msup><mi>x</mi><mo>′</mo></msup><mo>=</mo><mi>x</mi><mo>+</mo><mfrac><mi>ε</mi><mn>2</mn></mfrac><mo>∇</mo><mi>log</mi><mi>p</mi><mo stretchy="false">(</mo><mi>x</mi><mo stretchy="false">)</mo>
<mo>+</mo><msqrt><mrow><mi>ε</mi><mi>T</mi></mrow></msqrt><mi>z</mi></mrow></math>
<p>Written with ε in front of the score the noise is √(2ε): the same chain with half the number. A step that is too long adds a bias
of its order; a Metropolis test (MALA) removes it. Without noise (T = 0) the particles climb to the modes and stay.</p>
<p>Between far modes the score is nearly nothing and the particles never learn how much mass lies on the other side: <b>the failure in
low density</b>. What repairs it is noise, and is the next scene.</p>
<p>In d dimensions the density is the one on the screen in two axes and N(0, s²) in each of the others. Projections show a blob around the
mode; yet nobody is near it: all are a distance of about s√d away, on a shell, and a Metropolis test of the same step accepts less and less.</p>`,
  controls: [
    {name: 'fail', label: 'Show the failure', kind: 'button', help: 'Two far modes of weights 0.8 and 0.2, the exact score, a uniform start: each is given half.',
      press: (app) => {
        Object.assign(app.params, {step: 0.02, temperature: 1, start: 'uniform', mala: false, below: BELOW[0]});
        if (app.state.params.train) app.state.params.train.use = false;
        app.setComponents(PRESETS['two modes, far apart']);
        app.restart();
      }},
    {name: 'learn', label: 'With a learned score', kind: 'button', help: 'Trains a small network on draws of this density first, and follows its score at a noise of a tenth of the data. Scene Train switches it off again.',
      press: (app) => {
        app.params.below = LEARN;
        app.useLearned();
      }},
    {name: 'dimensions', label: 'Dimensions', kind: 'select', options: Object.keys(PARTICLES), value: '2',
      help: 'Beyond two: the first two axes, and each particle as far from its mode as it truly is.'},
    {name: 'step', label: 'Step ε', kind: 'range', min: 0.0005, max: 0.5, log: true, value: 0.02, help: 'A squared length: too long a step widens the law, or bursts.'},
    {name: 'convention', label: 'ε stands for', kind: 'select', options: ['ε/2 s + √ε z', 'ε s + √(2ε) z'], value: 'ε/2 s + √ε z',
      help: 'Both are in use; the second is the first with twice the step.'},
    {name: 'temperature', label: 'Temperature T', kind: 'range', min: 0, max: 2, step: 0.05, value: 1, help: 'The law becomes p^(1/T); at 0 the noise is off.'},
    {name: 'mala', label: 'Metropolis test (MALA)', kind: 'toggle', value: false, help: 'Refuses steps so that the law is exact. It needs a density, which a learned score has not.'},
    {name: 'start', label: 'Start', kind: 'select', options: ['uniform', 'one point', 'wide Gaussian'], value: 'uniform', help: 'Where all particles are before the first step.'},
    {name: 'below', label: 'Chart', kind: 'select', options: BELOW, value: BELOW[0], help: 'What is drawn below the picture.'},
  ],
  create(app) {
    const {view, seed, components} = app, level = {alpha: 1, sigma: 0}, total = components.reduce((s, c) => s + c.w, 0);
    const d = Number(app.params.dimensions), n = PARTICLES[app.params.dimensions];
    const others = Math.sqrt(components.reduce((s, c) => s + c.w * (c.c[0] + c.c[2]), 0) / total / 2); // s: as wide as the components are
    const truth = components.map((c) => c.w / total), few = components.length <= 10;
    let k = 0, accepted = 0, tried = 0, x = begin(app.params.start, seed, n, d);
    /** @type {{steps: number, e: number, T: number, test: boolean, accepted: number}[]} */ const parts = []; // as long as nothing is changed it is one
    /** @type {[number, number][]} */ let history = [];
    const least = () => ({alpha: 1, sigma: LEAST * (app.learned?.net.data ?? 1)});
    /** @param {Float64Array} y */
    const plane = (y) => d === 2 ? y : Float64Array.from({length: 2 * n}, (_, i) => y[(i >> 1) * d + i % 2]);
    /** The score, and the log-density but for a constant. @param {Float64Array} y */
    const at = (y) => {
      const first = plane(y), f = field(components, level, first), score = app.usesLearned ? app.learnedScore(least(), first) : f.score;
      if (d === 2) return {score, logp: f.logp};
      const all = new Float64Array(n * d), logp = f.logp;
      for (let i = 0; i < n; i++) {
        let square = 0;
        for (let j = 2; j < d; j++) {
          const v = y[i * d + j];
          all[i * d + j] = -v / others ** 2;
          square += v * v;
        }
        all[i * d] = score[2 * i];
        all[i * d + 1] = score[2 * i + 1];
        logp[i] -= square / (2 * others ** 2);
      }
      return {score: all, logp};
    };
    const apart = () => shares(components, plane(x)).reduce((s, v, i) => s + Math.abs(v - truth[i]), 0) / 2;
    /** How far every particle is from the mean of its component, and in which direction of the plane. */
    const radii = () => {
      const first = plane(x), of = owners(components, first);
      return Array.from(of, (c, i) => {
        const dx = first[2 * i] - components[c].m[0], dy = first[2 * i + 1] - components[c].m[1];
        let square = dx * dx + dy * dy;
        for (let j = 2; j < d; j++) square += x[i * d + j] ** 2;
        return {r: Math.sqrt(square), angle: Math.atan2(dy, dx)};
      });
    };
    const shell = distances(components, others, d, seed), byDensity = app.learned ? errorByDensity(app, seed) : undefined;
    return {
      tick() {
        const p = app.params, e = p.convention.startsWith('ε/2') ? p.step : 2 * p.step, T = p.temperature, test = p.mala && T > 0 && !app.usesLearned;
        const last = parts[parts.length - 1];
        if (!last || last.e !== e || last.T !== T || last.test !== test) parts.push({steps: 0, e, T, test, accepted: 0});
        const now = parts[parts.length - 1], own = seed + parts.length - 1, j = now.steps; // sf.ula's draws, and sf.mala's, of that seed
        const f = at(x), z = normalsOf(own, 0, n, test ? 2 * j : j, d), y = new Float64Array(n * d);
        for (let i = 0; i < n * d; i++) y[i] = x[i] + e / 2 * f.score[i] + Math.sqrt(e * T) * z[i];
        if (test) {
          const g = at(y), u = uniforms(own, 0, n, 2 * j + 1);
          for (let i = 0; i < n; i++) {
            let there = 0, back = 0;
            for (let q = i * d; q < (i + 1) * d; q++) {
              there += (y[q] - x[q] - e / 2 * f.score[q]) ** 2;
              back += (x[q] - y[q] - e / 2 * g.score[q]) ** 2;
            }
            const ratio = (g.logp[i] - f.logp[i]) / T + (there - back) / (2 * e * T);
            tried++;
            if (Math.log(u[i]) < ratio) { accepted++; now.accepted++; } else y.set(x.subarray(i * d, (i + 1) * d), i * d);
          }
        }
        x = y;
        k++;
        now.steps++;
        if (k % 5 === 0 && components.length <= 30) history.push([k, apart()]);
        if (history.length > 500) history = history.filter((_, i) => i % 2);
      },
      changed(name) { if (name === 'start' || name === 'components' || name === 'dimensions') app.restart(); },
      draw() {
        const {ctx} = view, r = view.ratio, whole = view.scale, w = view.width;
        ctx.save();
        if (d > 2) {
          ctx.beginPath();
          ctx.rect(0, 0, w / 2, view.height);
          ctx.clip();
          ctx.translate(-w / 4, 0);
          view.scale = Math.min(whole, w / 4 / 2.6);
        }
        const g = grid(view, components.length > 60 ? 60 : 110), f = field(components, level, g.x), top = Math.max(...f.logp);
        heat(view, Float64Array.from(f.logp, (v) => 0.55 * Math.exp((v - top) * 0.6)), g.columns, g.rows);
        app.outline();
        dots(view, plane(x), {ink: colour('particle'), size: d > 2 ? 2 : 1.4});
        ctx.restore();
        if (d > 2) {
          const far = others * Math.sqrt(d), px = 0.75 * w, py = view.height / 2, unit = 0.3 * w / 2 / far;
          ctx.fillStyle = colour('line');
          ctx.fillRect(w / 2, 0, r, view.height);
          ctx.strokeStyle = colour('data');
          ctx.lineWidth = 1.5 * r;
          ctx.beginPath();
          ctx.arc(px, py, far * unit, 0, 2 * Math.PI);
          ctx.stroke();
          ctx.fillStyle = colour('particle');
          for (const {r: long, angle} of radii()) ctx.fillRect(px + long * unit * Math.cos(angle) - 2 * r, py - long * unit * Math.sin(angle) - 2 * r, 4 * r, 4 * r);
          ctx.fillStyle = colour('other');
          ctx.beginPath();
          ctx.arc(px, py, 4 * r, 0, 2 * Math.PI);
          ctx.fill();
          label(view, 'the mode', px, py + 16 * r, {align: 'center', ink: colour('other')});
          label(view, 'projected on two axes', 12 * r, 38 * r, {ink: colour('soft')});
          label(view, 'true distance from the mode', w / 2 + 12 * r, 18 * r, {ink: colour('soft')});
          label(view, `shell of radius s√d = ${short(far)}`, w / 2 + 12 * r, 38 * r, {ink: colour('data')});
        }
        view.scale = whole;
        if (few) bars(view, shares(components, plane(x)), truth, n);
        label(view, `step ${k}`, 12 * r, 18 * r);
        if (app.params.below === LEARN) drawError(app, byDensity);
        else if (app.params.below === BELOW[1]) {
          chart(app.chartView, [{name: 'particles', points: histogram(radii().map((v) => v.r), shell.edges), ink: colour('noise')},
            {name: 'the density', points: shell.points, ink: colour('data'), dash: [4, 4]}], {x: 'distance from the mode', y: 'density'});
        } else {
          chart(app.chartView, [{name: 'mode weights off by', points: history, ink: colour('noise')},
            {name: 'sampling error', points: history.map(([i]) => [i, floor(truth, n)]), ink: colour('soft'), dash: [4, 4]}], {x: 'steps', y: 'total variation'});
        }
      },
      summary() {
        const now = few ? ` Shares ${shares(components, plane(x)).map((v) => v.toFixed(4)).join(', ')}; truth ${truth.map((v) => v.toFixed(3)).join(', ')}.` : '';
        const test = tried ? ` Accepted ${(100 * accepted / tried).toFixed(1)} %.` : app.params.mala && app.usesLearned ? ' A learned score has no density to test with.' : '';
        return `${n} particles${d > 2 ? ` in ${d} dimensions` : ''} after ${k} steps; the step is ${short(app.params.step)}.${now}${test} Sample 0 at (${x[0].toFixed(6)}, ${x[1].toFixed(6)}).`;
      },
      chart() {
        if (app.params.below === LEARN) return byDensity?.said ?? 'No score has been learned yet.';
        if (app.params.below === BELOW[1]) {
          const mean = radii().reduce((s, v) => s + v.r, 0) / n;
          return `Mean distance from the mode ${mean.toFixed(4)}; of the density ${shell.mean.toFixed(3)}; s√d = ${(others * Math.sqrt(d)).toFixed(3)} with s = ${short(others)}.`;
        }
        return components.length > 30 ? 'Too many components to tell modes.'
          : `Mode weights are off by ${apart().toFixed(4)} in total variation; ${n} exact draws would be off by ${floor(truth, n).toFixed(3)} on average.`;
      },
      command: () => d > 2 ? '' : demo(app, 'low-density.png', 'eight, of unequal weights'),
      python() {
        const start = {'one point': `torch.full((n, d), 0.01, dtype=f64)`, 'wide Gaussian': `1.5 * Noise(${seed}, torch.arange(n), (d,), f64).normal(${START})`}[
          /** @type {string} */ (app.params.start)] ?? `6 * torch.stack([uniforms(n, ${seed}, ${START} + j) for j in range(d)], 1) - 3`;
        const plain = parts.length ? parts : [{steps: 0, e: app.params.step, T: 1, test: false}];
        const one = plain.length === 1, rows = plain.map((q) => `(${q.steps}, ${q.e}, ${q.T}, ${q.test ? 'True' : 'False'})`);
        const at = app.usesLearned ? `${LEAST} * std` : '0.0';
        const law = d === 2 ? `
def slope(x):
    return score(x, ${at})


def log_density(x):
    return law.log_prob(x)
` : `
s = ${others}  # standard deviation in the axes that are not on the screen


def slope(x):
    return torch.cat([score(x[:, :2], ${at}), -x[:, 2:] / s**2], 1)


def log_density(x):
    return law.log_prob(x[:, :2]) - x[:, 2:].square().sum(1) / (2 * s**2)
`;
        const way = {
          mala: (/** @type {string} */ T, /** @type {string} */ rest) => `sf.mala(lambda x: log_density(x) / ${T}, x, ${rest})`,
          ula: (/** @type {string} */ T, /** @type {string} */ rest) => `sf.ula(lambda x: slope(x) / ${T}, x, ${rest})`,
        };
        const [first] = plain, rest = `steps=${first.steps}, step_size=${first.e * first.T}, seed=${seed}`;
        const run = !one ? `for j, (steps, step, T, test) in enumerate([${rows.join(', ')}]):  # what was chosen on the way
    if T == 0:  # no noise: ascent
        for _ in range(steps):
            x = x + step / 2 * slope(x)
    elif test:
        x = ${way.mala('T', `steps=steps, step_size=step * T, seed=${seed} + j`)}.x
    else:
        x = ${way.ula('T', `steps=steps, step_size=step * T, seed=${seed} + j`)}.x`
          : first.T === 0 ? `for _ in range(${first.steps}):  # no noise: ascent
    x = x + ${first.e} / 2 * slope(x)`
            : first.test ? `chain = ${way.mala(String(first.T), rest)}${first.T === 1 ? '' : '  # of p^(1/T)'}
x = chain.x
print(f"Accepted {100 * float(chain.acceptance.mean()):.1f} %.")`
              : `x = ${way.ula(String(first.T), rest)}.x${first.T === 1 ? '' : '  # of p^(1/T)'}`;
        return `${preamble(app, ['draws', 'shares', 'learned'])}${scoreCode(app)}${law}

n, d = ${n}, ${d}
x = ${start}
${run}
${few ? 'print("Shares", ", ".join(f"{v:.4f}" for v in shares(x[:, :2])))\n' : ''}print("Sample 0 at ({:.6f}, {:.6f}).".format(*x[0, :2].tolist()))
`;
      },
    };
  },
};

/** @param {string} how @param {number} seed @param {number} n @param {number} d */
function begin(how, seed, n, d) {
  if (how === 'one point') return new Float64Array(n * d).fill(0.01);
  if (how === 'wide Gaussian') return normalsOf(seed, 0, n, START, d).map((v) => 1.5 * v);
  const x = new Float64Array(n * d);
  for (let j = 0; j < d; j++) uniforms(seed, 0, n, START + j).forEach((v, i) => { x[i * d + j] = 6 * v - 3; });
  return x;
}

/** The mean total variation of n exact draws' shares from the truth. @param {number[]} truth @param {number} n */
const floor = (truth, n) => truth.reduce((s, p) => s + Math.sqrt(2 * p * (1 - p) / Math.PI / n), 0) / 2;

/** How far exact draws are from the mean of their component. In the plane by 20,000 draws; beyond, with q the square of
 * that and s^2 chi^2 of d - 2 degrees for the other axes, by the mean over 400 of them of the density of (q + s^2 chi^2)^(1/2).
 * @param {import('../exact.js').Component[]} components @param {number} s @param {number} d @param {number} seed */
function distances(components, s, d, seed) {
  const m = d === 2 ? 20000 : 400, x = draws(components, m, seed + 1), of = owners(components, x);
  const q = Array.from(of, (c, i) => (x[2 * i] - components[c].m[0]) ** 2 + (x[2 * i + 1] - components[c].m[1]) ** 2);
  const middle = s * Math.sqrt(d), half = d === 2 ? middle : 5 * s, low = Math.max(0, middle - half), high = d === 2 ? 3 * middle : middle + half;
  const edges = Array.from({length: 41}, (_, i) => low + (high - low) * i / 40), free = d - 2;
  if (d === 2) return {edges, points: histogram(q.map(Math.sqrt), edges), mean: q.reduce((t, v) => t + Math.sqrt(v), 0) / m};
  const fine = Array.from({length: 201}, (_, i) => low + (high - low) * i / 200), shift = (free / 2 - 1) * Math.log(free) - free / 2;
  const mass = fine.map((r) => q.reduce((t, v) => {
    const u = (r * r - v) / (s * s);
    return u > 0 ? t + r * Math.exp((free / 2 - 1) * Math.log(u) - u / 2 - shift) : t;
  }, 0));
  const sum = mass.reduce((t, v) => t + v, 0), width = (high - low) / 200;
  return {edges, points: fine.map((r, i) => /** @type {[number, number]} */ ([r, mass[i] / sum / width])), mean: fine.reduce((t, r, i) => t + r * mass[i] / sum, 0)};
}

/** Their density by bins, in the middle of each. @param {number[]} values @param {number[]} edges @returns {[number, number][]} */
function histogram(values, edges) {
  const width = edges[1] - edges[0], counts = new Float64Array(edges.length - 1);
  for (const v of values) {
    const i = Math.floor((v - edges[0]) / width);
    if (i >= 0 && i < counts.length) counts[i]++;
  }
  return Array.from(counts, (c, i) => [edges[i] + width / 2, c / values.length / width]);
}

/** The relative error of the learned score, at the noise at which it is followed, by how much density there is: over a grid of the
 * picture, in bins of the log-density; on draws; and on the lines between the components, where the density is less than at 99 % of draws.
 * @param {import('../app.js').App} app @param {number} seed */
function errorByDensity(app, seed) {
  const {net, components} = /** @type {import('../app.js').Learned} */ (app.learned), at = {alpha: 1, sigma: LEAST * net.data};
  const rms = (/** @type {Float64Array} */ x, /** @type {(log: number) => number} */ bin) => {
    const f = field(components, at, x), guess = app.learnedScore(at, x), sums = /** @type {Map<number, [number, number]>} */ (new Map());
    for (let i = 0; i < x.length / 2; i++) {
      const key = bin(f.logp[i]), held = sums.get(key) ?? [0, 0];
      for (const j of [2 * i, 2 * i + 1]) held[0] += (guess[j] - f.score[j]) ** 2, held[1] += f.score[j] ** 2;
      sums.set(key, held);
    }
    return {logp: f.logp, error: (/** @type {number} */ key) => { const held = sums.get(key); return held ? Math.sqrt(held[0] / held[1]) : NaN; }};
  };
  const data = draws(components, 2000, seed + 5), on = rms(data, () => 0), sorted = [...on.logp].sort((a, b) => b - a), top = sorted[0];
  const side = 70, lattice = Float64Array.from({length: 2 * side * side}, (_, i) => ((i % 2 ? Math.floor((i >> 1) / side) : (i >> 1) % side) + 0.5) / side * 6 - 3);
  const over = rms(lattice, (log) => Math.floor((top - log) / 3));
  const points = Array.from({length: 14}, (_, b) => /** @type {[number, number]} */ ([-3 * b - 1.5, over.error(b)])).filter((v) => isFinite(v[1]));
  const share = Array.from({length: 14}, (_, b) => /** @type {[number, number]} */ ([-3 * b - 1.5, on.logp.filter((v) => Math.floor((top - v) / 3) === b).length / on.logp.length]));
  const lines = [];
  for (const a of components.slice(0, 10)) {
    for (const b of components.slice(0, 10)) if (a !== b) for (let i = 1; i < 40; i++) lines.push(a.m[0] + (b.m[0] - a.m[0]) * i / 40, a.m[1] + (b.m[1] - a.m[1]) * i / 40);
  }
  const least = sorted[Math.floor(0.99 * sorted.length)], between = rms(Float64Array.from(lines), (log) => log < least ? 1 : 0).error(1);
  return {points, share, said: `Relative error of the learned score at σ = ${short(at.sigma)}: ${on.error(0).toFixed(2)} on the data, `
    + `${isFinite(between) ? `${between.toFixed(2)} between the modes` : 'and nowhere between the modes is the density low'}; after ${net.step} steps of training.`};
}

/** @param {import('../app.js').App} app @param {ReturnType<typeof errorByDensity> | undefined} of */
function drawError(app, of) {
  chart(app.chartView, of ? [{name: 'error of the learned score', points: of.points, ink: colour('warn'), dots: true},
    {name: 'share of the data', points: of.share, ink: colour('data'), dash: [4, 4]}] : [], {x: 'log-density, less its largest', y: 'relative', range: of ? [0, 1.2] : undefined});
}
