// @ts-check
/** Scene 2: denoising score matching, from single arrows to their mean, the score. */

import {draws, field, moments, normals} from '../exact.js';
import {arrows, chart, colour, dots, label, short} from '../draw.js';
import {mixtureCode} from '../state.js';

const SHOWN = 120, MOST = 200000, COLUMNS = 17;

/** @type {import('../app.js').Scene} */
export const matching = {
  id: 'matching',
  title: 'Denoising score matching',
  text: `
<p><span class="data">Clean points</span>, the same points with noise added, and an arrow from each noisy point back to its datum,
divided by σ². One arrow is a wild guess. Their <em>mean</em> over all noisy points that fall in one place is the score of the noisy
density there: that is what a network fitted by least squares learns (Vincent 2011).</p>
<math display="block"><mrow><mi>E</mi><mo>[</mo><mfrac><mrow><msub><mi>x</mi><mn>0</mn></msub><mo>−</mo><mi>x</mi></mrow><msup><mi>σ</mi><mn>2</mn></msup></mfrac>
<mo>|</mo><mi>x</mi><mo>]</mo><mo>=</mo><mo>∇</mo><mi>log</mi><msub><mi>p</mi><mi>σ</mi></msub><mo>(</mo><mi>x</mi><mo>)</mo></mrow></math>
<p>Three objectives find that same field: explicit, implicit (Hyvärinen 2005) and denoising. At a wrong field, the score plus an error
of your choice, they differ by constants that do not depend on the field; what each says of the field is its excess over the least it
can be, and these agree as draws grow.</p>`,
  controls: [
    {name: 'sigma', label: 'Noise σ', kind: 'range', min: 0.1, max: 1.5, log: true, value: 0.4},
    {name: 'error', label: 'Wrongness of the field', kind: 'range', min: 0, max: 1, step: 0.05, value: 0.3,
      help: 'The field judged below is the score plus this constant in x.'},
  ],
  create(app) {
    const {view, components, seed} = app;
    const cells = new Map();
    let n = 0, excess = {explicit: 0, implicit: 0, denoising: 0}, sums = {explicit: 0, implicit: 0, denoising: 0};
    /** @type {Record<'explicit' | 'implicit' | 'denoising', [number, number][]>} */
    const history = {explicit: [], implicit: [], denoising: []};
    const level = () => ({alpha: 1, sigma: app.params.sigma});
    const cell = 6.4 / COLUMNS;
    const more = () => {
      if (n >= MOST) return;
      const size = Math.min(400 + Math.floor(n / 20), 4000), s = app.params.sigma, x0 = draws(components, size, seed, n), z = normals(seed, n, size, 1);
      const x = Float64Array.from(x0, (v, i) => v + s * z[i]), f = field(components, level(), x), e = app.params.error;
      for (let i = 0; i < size; i++) {
        const ax = (x0[2 * i] - x[2 * i]) / s ** 2, ay = (x0[2 * i + 1] - x[2 * i + 1]) / s ** 2;
        const key = `${Math.round(x[2 * i] / cell)},${Math.round(x[2 * i + 1] / cell)}`, held = cells.get(key) ?? [0, 0, 0];
        cells.set(key, [held[0] + ax, held[1] + ay, held[2] + 1]);
        // the field s + (e, 0), less the same objective at e = 0; the implicit one's divergence term does not see a constant
        sums.explicit += e * e / 2;
        sums.implicit += e * f.score[2 * i] + e * e / 2;
        sums.denoising += e * (f.score[2 * i] - ax) + e * e / 2;
      }
      n += size;
      for (const name of /** @type {const} */ (['explicit', 'implicit', 'denoising'])) {
        excess[name] = sums[name] / n;
        history[name].push([n, excess[name]]);
        if (history[name].length > 400) history[name] = history[name].filter((_, i) => i % 2);
      }
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
        chart(app.chartView, [
          {name: 'explicit', points: history.explicit, ink: colour('ink')},
          {name: 'implicit', points: history.implicit, ink: colour('other')},
          {name: 'denoising', points: history.denoising, ink: colour('noise')},
        ], {x: 'draws', y: 'excess', logX: true});
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
        return `Excess of each objective at the wrong field (exactly ${(app.params.error ** 2 / 2).toFixed(4)}): explicit ${excess.explicit.toFixed(4)}, `
          + `implicit ${excess.implicit.toFixed(4)}, denoising ${excess.denoising.toFixed(4)} from ${n} draws.`;
      },
      python() {
        return `${mixtureCode(components)}

sigma, error, n = ${app.params.sigma}, ${app.params.error}, 100_000
generator = torch.Generator().manual_seed(${seed})
x0 = law.sample(n, generator=generator)
x = x0 + sigma * torch.randn(n, 2, dtype=f64, generator=generator)
score, wrong = law.score_at(x, 1.0, sigma), torch.tensor([error, 0.0], dtype=f64)
arrow = (x0 - x) / sigma**2
excess = ((score + wrong - arrow).square() - (score - arrow).square()).sum(1) / 2
print(f"denoising {float(excess.mean()):.4f}, exactly {error**2 / 2:.4f}")
`;
      },
    };
  },
};
