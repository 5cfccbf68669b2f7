// @ts-check
/** Scene 2: denoising score matching, from single arrows to their mean, the score. */

import {curvature, draws, field, moments, normals} from '../exact.js';
import {arrows, chart, colour, dots, label, short} from '../draw.js';
import {preamble} from '../python.js';

const SHOWN = 120, MOST = 200000, COLUMNS = 17;
const NAMES = /** @type {const} */ (['explicit', 'implicit', 'sliced', 'denoising']), INKS = ['ink', 'other', 'third', 'noise'];

/** @type {import('../app.js').Scene} */
export const matching = {
  id: 'matching',
  title: 'Denoising score matching',
  text: `
<p><span class="data">Clean points</span>, the same points with noise added, and an arrow from each noisy point back to its datum,
divided by σ². One arrow is a wild guess. Their <em>mean</em> over all noisy points that fall in one place is the score of the noisy
density there: that is what a network fitted by least squares learns (<a href="https://doi.org/10.1162/NECO_a_00142">Vincent 2011</a>).</p>
<math display="block"><mrow><mi>E</mi><mo>[</mo><mfrac><mrow><msub><mi>x</mi><mn>0</mn></msub><mo>−</mo><mi>x</mi></mrow><msup><mi>σ</mi><mn>2</mn></msup></mfrac>
<mo stretchy="false">|</mo><mi>x</mi><mo>]</mo><mo>=</mo><mo>∇</mo><mi>log</mi><msub><mi>p</mi><mi>σ</mi></msub><mo stretchy="false">(</mo><mi>x</mi><mo stretchy="false">)</mo></mrow></math>
<p>Four objectives find that same field: explicit, implicit (<a href="https://jmlr.org/papers/v6/hyvarinen05a.html">Hyvärinen 2005</a>), sliced (<a href="https://arxiv.org/abs/1905.07088">Song et al. 2019</a>), which takes the implicit one's
derivatives along random directions only, and denoising. At a wrong field, the score plus an error of your choice, they differ by
constants that do not depend on the field; what each says of the field is its excess over the least it can be, and these agree as draws
grow.</p>`,
  controls: [
    {name: 'sigma', label: 'Noise σ', kind: 'range', min: 0.1, max: 1.5, log: true, value: 0.4, help: 'How far the noisy points are moved: less noise, wilder arrows.'},
    {name: 'error', label: 'Wrongness of the field', kind: 'range', min: 0, max: 1, step: 0.05, value: 0.3,
      help: 'The field judged below is the score plus this constant in x.'},
  ],
  create(app) {
    const {view, components, seed} = app;
    const cells = new Map();
    /** @typedef {{value: number, least: number, history: [number, number][]}} Objective  sums over draws at the field, and at the score */
    const objectives = NAMES.map(() => /** @type {Objective} */ ({value: 0, least: 0, history: []}));
    let n = 0, spread = 0, spreadExcess = 0; // sums of the variance over projections of one draw's sliced value, and of its excess
    const level = () => ({alpha: 1, sigma: app.params.sigma});
    const cell = 6.4 / COLUMNS;
    const more = () => {
      if (n >= MOST) return;
      const size = Math.min(400 + Math.floor(n / 20), 4000), s = app.params.sigma, x0 = draws(components, size, seed, n), z = normals(seed, n, size, 1);
      const x = Float64Array.from(x0, (v, i) => v + s * z[i]), f = field(components, level(), x), e = app.params.error;
      const h = curvature(components, level(), x), v = normals(seed, n, size, 2);
      for (let i = 0; i < size; i++) {
        const ax = (x0[2 * i] - x[2 * i]) / s ** 2, ay = (x0[2 * i + 1] - x[2 * i + 1]) / s ** 2;
        const key = `${Math.round(x[2 * i] / cell)},${Math.round(x[2 * i + 1] / cell)}`, held = cells.get(key) ?? [0, 0, 0];
        cells.set(key, [held[0] + ax, held[1] + ay, held[2] + 1]);
        const sx = f.score[2 * i], sy = f.score[2 * i + 1], vx = v[2 * i], vy = v[2 * i + 1];
        const [xx, xy, yy] = [h[3 * i], h[3 * i + 1], h[3 * i + 2]], slope = xx * vx * vx + 2 * xy * vx * vy + yy * vy * vy;
        const at = (/** @type {number} */ wx) => [((wx - sx) ** 2) / 2, (wx * wx + sy * sy) / 2 + xx + yy,
          slope + (vx * wx + vy * sy) ** 2 / 2, ((wx - ax) ** 2 + (sy - ay) ** 2) / 2];
        const wrong = at(sx + e), right = at(sx); // the field s + (e, 0), whose derivatives are the score's
        objectives.forEach((o, k) => { o.value += wrong[k]; o.least += right[k]; });
        const w = sx + e; // v^T M v of normal v has variance 2 tr M^2; here M = H + w w^T / 2, and for the excess the difference of two
        spread += 2 * ((xx + w * w / 2) ** 2 + 2 * (xy + w * sy / 2) ** 2 + (yy + sy * sy / 2) ** 2);
        spreadExcess += 2 * (e * sx + e * e / 2) ** 2 + (e * sy) ** 2;
      }
      n += size;
      objectives.forEach((o) => {
        o.history.push([n, (o.value - o.least) / n]);
        if (o.history.length > 400) o.history = o.history.filter((_, i) => i % 2);
      });
    };
    const means = () => {
      const x = [], v = [];
      for (const [key, [sx, sy, count]] of cells) {
        if (count < 5) continue;
        const [i, j] = key.split(',').map(Number);
        x.push(i * cell, j * cell);
        v.push(sx / count, sy / count);
      }
      return {x: Float64Array.from(x), v: Float64Array.from(v)};
    };
    more();
    return {
      tick: more,
      changed() { app.restart(); },
      draw() {
        const s = app.params.sigma, x0 = draws(components, SHOWN, seed, 0), z = normals(seed, 0, SHOWN, 1);
        const x = Float64Array.from(x0, (v, i) => v + s * z[i]), back = Float64Array.from(x0, (v, i) => v - x[i]);
        if (n < 2500) {
          view.ctx.globalAlpha = 0.5;
          arrows(view, x, back, (d) => d, colour('noise'));
          view.ctx.globalAlpha = 1;
        }
        dots(view, x0, {ink: colour('data'), size: 2.6});
        dots(view, x, {ink: colour('noise'), size: 2.6});
        const mean = means(), f = field(components, level(), mean.x), r = view.ratio;
        arrows(view, mean.x, f.score, (d) => 0.5 * d / (d + 4), colour('line'));
        arrows(view, mean.x, mean.v, (d) => 0.5 * d / (d + 4), colour('ink'));
        label(view, 'data', 12 * r, 18 * r, {ink: colour('data')});
        label(view, 'noisy data', 12 * r, 38 * r, {ink: colour('noise')});
        label(view, `mean arrow of ${n} draws`, 12 * r, 58 * r);
        label(view, 'exact score', 12 * r, 78 * r, {ink: colour('soft')});
        chart(app.chartView, NAMES.map((name, k) => ({name, points: objectives[k].history, ink: colour(INKS[k])})),
          {x: 'draws', y: 'excess', logX: true});
      },
      summary() {
        const mean = means(), f = field(components, level(), mean.x);
        let square = 0, size = 0;
        for (let i = 0; i < mean.v.length; i++) [square, size] = [square + (mean.v[i] - f.score[i]) ** 2, size + f.score[i] ** 2];
        const off = Math.sqrt(square / Math.max(size, 1e-12));
        return `${n} noisy points; their mean arrows differ from the exact score by ${(100 * off).toFixed(0)} % (rms, over ${mean.v.length / 2} cells; `
          + `within a cell of ${short(cell)} the score itself varies). Data of standard deviation ${short(moments(components).std)}.`;
      },
      chart() {
        const list = (/** @type {(o: Objective) => number} */ of, /** @type {number} */ error) =>
          NAMES.map((name, k) => `${name} ${(of(objectives[k]) / n).toFixed(4)}${name === 'sliced' ? ` ± ${(Math.sqrt(error) / n).toFixed(4)}` : ''}`).join(', ');
        return `At the wrong field: ${list((o) => o.value, spread)}.\nLess the least each can be: ${list((o) => o.value - o.least, spreadExcess)}; exactly ${(app.params.error ** 2 / 2).toFixed(4)}.\n`
          + `From ${n} draws; ± is the standard error over the sliced objective's projections, one for each draw.`;
      },
      python() {
        return `${preamble(app, ['draws'])}
sigma, error, n = ${app.params.sigma}, torch.tensor([${app.params.error}, 0.0], dtype=f64), ${n}
x0 = draws(n, ${seed})
x, v, arrow = x0 + sigma * normals(n, ${seed}, 1), normals(n, ${seed}, 2), -normals(n, ${seed}, 1) / sigma


def score(x):
    return law.score_at(x, 1.0, sigma)


def values(field):  # of one draw each
    return {
        "explicit": sf.losses.integrands.explicit(field, x, score),
        "implicit": sf.losses.integrands.implicit(field, x),
        "sliced": sf.losses.integrands.sliced(field, x, v, variance_reduced=False),
        "denoising": (field(x) - arrow).square().sum(1) / 2,
    }


wrong, least = values(lambda x: score(x) + error), values(score)
print("At the wrong field:", *[f"{name} {float(v.mean()):.4f}" for name, v in wrong.items()], sep="\\n")
print("Less the least each can be:", *[f"{name} {float((v - least[name]).mean()):.4f}" for name, v in wrong.items()], sep="\\n")
`;
      },
    };
  },
};
