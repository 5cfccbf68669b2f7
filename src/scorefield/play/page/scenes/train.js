// @ts-check
/** Scene 8: a network learns the field while one watches; then it can be used in the other scenes. */

import {draws, field, normals} from '../exact.js';
import {arrows, chart, colour, dots, grid, heat, label, short} from '../draw.js';
import {BATCH, learned, train as step, untrained} from '../learn.js';
import {preamble} from '../python.js';

const LEVELS = [0.03, 0.06, 0.12, 0.25, 0.5, 1, 2, 4, 8];

/** @type {import('../app.js').Scene} */
export const training = {
  id: 'train',
  title: 'Train',
  text: `
<p>A network of two hidden layers is fitted to draws of the density, nothing more: given a noisy point and its noise level it must say
where the point came from. Least squares makes it the mean, and so the score; the scales are those of <a href="https://arxiv.org/abs/2206.00364">Karras et al. 2022</a>.</p>
<math display="block"><mrow><munder><mi>min</mi><mi>θ</mi></munder><mi>E</mi><msup><mrow><mo stretchy="false">|</mo><msub><mi>F</mi><mi>θ</mi></msub><mo stretchy="false">(</mo><msub><mi>c</mi><mtext>in</mtext></msub><mi>x</mi><mo>,</mo><mfrac><mrow><mi>log</mi><mi>σ</mi></mrow><mn>4</mn></mfrac><mo stretchy="false">)</mo><mo>−</mo>
<mfrac><mrow><msub><mi>x</mi><mn>0</mn></msub><mo>−</mo><msub><mi>c</mi><mtext>skip</mtext></msub><mi>x</mi></mrow><msub><mi>c</mi><mtext>out</mtext></msub></mfrac><mo stretchy="false">|</mo></mrow><mn>2</mn></msup></mrow></math>
<p>Where there are no data it learns nothing: the error between the modes stays. Switch the learned field on in the other scenes and see
what Langevin dynamics and the solvers make of it.</p>`,
  controls: [
    {name: 'objective', label: 'Objective', kind: 'select', options: ['denoising', 'explicit'], value: 'denoising', help: 'Explicit: the exact score is the target, which one never has. The noise of single data is what is saved.'},
    {name: 'width', label: 'Units a layer', kind: 'range', min: 8, max: 96, step: 8, value: 48, help: 'Of two hidden layers; a change begins anew.'},
    {name: 'sigma', label: 'Shown at σ', kind: 'range', min: 0.05, max: 4, log: true, value: 0.3, help: 'The noise level of the arrows; all levels are trained.'},
    {name: 'show', label: 'Show', kind: 'select', options: ['learned and exact', 'difference'], value: 'learned and exact', help: 'Both fields, or one less the other.'},
    {name: 'use', label: 'Use the learned field in other scenes', kind: 'toggle', value: false, help: 'Scenes Langevin to Race and All of it then follow this network.'},
  ],
  create(app) {
    const {view, seed, components} = app, p = app.params;
    const begun = untrained(p.width, p.objective, seed, components);
    app.learning = undefined;
    if (app.learned?.key !== begun.key) app.learned = begun;
    const {net} = app.learned;
    /** @type {[number, number][]} */ let losses = [];
    let errors = /** @type {[number, number][]} */ ([]), measured = -1;
    /** Relative rms error of the score on noisy data, level by level. */
    const measure = () => {
      if (measured === net.step) return;
      measured = net.step;
      errors = LEVELS.map((s) => {
        const x0 = draws(components, 400, seed + 5), z = normals(seed + 5, 0, 400, 7), x = x0.map((v, i) => v + s * z[i]), level = {alpha: 1, sigma: s};
        const exact = field(components, level, x), guess = learned(net)(x, level);
        let off = 0, size = 0;
        for (let i = 0; i < x.length; i++) {
          off += ((guess[i] - x[i]) / s ** 2 - exact.score[i]) ** 2;
          size += exact.score[i] ** 2;
        }
        return [s, Math.sqrt(off / size)];
      });
    };
    measure();
    return {
      tick() {
        const begun = performance.now();
        let sum = 0, count = 0;
        do { sum += step(net, components, p.objective, seed, BATCH); count++; } while (performance.now() - begun < 8);
        p.steps = net.step;
        losses.push([net.step, sum / count]);
        if (losses.length > 600) losses = losses.filter((_, i) => i % 2);
        if (losses.length % 20 === 0) measure();
      },
      changed(name) { if (name === 'width' || name === 'objective' || name === 'components') app.restart(); },
      draw() {
        const level = {alpha: 1, sigma: p.sigma}, g = grid(view, 24), exact = field(components, level, g.x), guess = learned(net)(g.x, level), r = view.ratio;
        const shade = grid(view, 80), f = field(components, level, shade.x), top = Math.max(...f.logp);
        heat(view, f.logp.map((v) => 0.4 * Math.exp((v - top) * 0.6)), shade.columns, shade.rows);
        dots(view, draws(components, 300, seed + 9), {ink: colour('data'), size: 1.4, alpha: 0.5});
        const score = guess.map((v, i) => (v - g.x[i]) / p.sigma ** 2), long = (/** @type {number} */ d) => 0.3 * d / (d + 4);
        if (p.show === 'difference') {
          arrows(view, g.x, score.map((v, i) => v - exact.score[i]), long, colour('warn'));
          label(view, 'learned less exact', 12 * r, 38 * r, {ink: colour('warn')});
        } else {
          arrows(view, g.x, exact.score, long, colour('line'));
          arrows(view, g.x, score, long, colour('other'));
          label(view, 'exact', 12 * r, 38 * r, {ink: colour('soft')});
          label(view, 'learned', 12 * r, 58 * r, {ink: colour('other')});
        }
        label(view, `step ${net.step}, σ = ${short(p.sigma)}`, 12 * r, 18 * r);
        chart(app.chartView, [{name: 'error of the score', points: errors, ink: colour('other'), dots: true}],
          {x: 'noise σ', y: 'relative error', logX: true, logY: true});
      },
      summary() {
        const last = losses.slice(-20), mean = last.reduce((s, v) => s + v[1], 0) / Math.max(last.length, 1);
        return `${net.step} steps of ${BATCH} draws${last.length ? `, loss ${mean.toFixed(3)}` : ''}. ${p.use ? 'The other scenes use this field.' : 'The other scenes use the exact field.'}`;
      },
      chart() {
        measure();
        return `Relative error of the score on noisy data, by σ: ${errors.map(([s, e]) => `${short(s)}: ${(100 * e).toFixed(1)} %`).join(', ')}.`;
      },
      python() {
        return `${preamble(app, ['draws', 'network'])}
for sigma in ${JSON.stringify(LEVELS)}:
    x = draws(400, ${seed + 5}) + sigma * normals(400, ${seed + 5}, 7)
    exact, own = law.score_at(x, 1.0, sigma), (learned(x, 1.0, sigma) - x) / sigma**2
    print(f"{sigma:g}: {100 * float((own - exact).norm() / exact.norm()):.1f} %")
`;
      },
    };
  },
};
