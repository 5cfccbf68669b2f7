// @ts-check
/** Scene 4: annealed Langevin: the same dynamics down a ladder of noise levels. */

import {field, normals, shares, slicedDistance, draws, moments} from '../exact.js';
import {bars, colour, dots, grid, heat, label, short} from '../draw.js';
import {notation} from '../notation.js';
import {demo, preamble, scoreCode} from '../python.js';

const N = 2000, BEGIN = 1e6; // the draw of the start: those of a level are counted from 0, of seed + 100 + level

/** @type {import('../app.js').Scene} */
export const annealed = {
  id: 'annealed',
  learned: true,
  title: 'Annealed Langevin',
  text: `
<p>Start where the noise is larger than the data, where all is one hill, and go down a ladder of noise levels: at each, some Langevin
steps with a step proportional to σ², so that signal and noise keep their ratio (<a href="https://arxiv.org/abs/1907.05600">Song &amp; Ermon 2019</a>).</p>
<math display="block"><mrow><msub><mi>ε</mi><mi>i</mi></msub><mo>=</mo><mi>c</mi><msubsup><mi>σ</mi><mi>i</mi><mn>2</mn></msubsup><mo>,</mo>
<msub><mi>σ</mi><mi>i</mi></msub><mo>=</mo><msub><mi>σ</mi><mn>1</mn></msub><msup><mi>r</mi><mi>i</mi></msup></mrow></math>
<p>With too few levels the particles of one level are strangers to the next and freeze where they stand; with too large a step they
never settle; with too few steps a level they lag behind.</p>${notation([
  ['noisy datum', 'x = x0 + σ ε', '√ᾱ x = √ᾱ x0 + √(1 − ᾱ) ε, ᾱ = 1 / (1 + σ²)'],
  ['the network', 's = ∇ log p_σ(x)', 'ε_θ = −σ s'],
  ['a step', 'x + ε<sub>i</sub>/2 s + √ε<sub>i</sub> z', 'x − ε<sub>i</sub>/(2σ<sub>i</sub>) ε_θ + √ε<sub>i</sub> z'],
])}`,
  controls: [
    {name: 'levels', label: 'Levels', kind: 'range', min: 2, max: 30, step: 1, value: 12, help: 'Noise levels, in equal ratios from the largest to the smallest.'},
    {name: 'each', label: 'Steps a level', kind: 'range', min: 1, max: 60, step: 1, value: 20, help: 'Langevin steps at each.'},
    {name: 'top', label: 'Largest σ', kind: 'range', min: 0.2, max: 10, log: true, value: 4, help: 'Where the ladder begins: as wide as the data, or modes are missed.'},
    {name: 'bottom', label: 'Smallest σ', kind: 'range', min: 0.01, max: 0.2, log: true, value: 0.03, help: 'Where it ends: the noise that stays in the samples.'},
    {name: 'size', label: 'Step c (of σ²)', kind: 'range', min: 0.02, max: 3, log: true, value: 0.4, help: 'The step of a level is c σ²; beyond 2 or so it bursts.'},
  ],
  create(app) {
    const {view, seed} = app, p = app.params;
    const ladder = Array.from({length: p.levels}, (_, i) => p.top * (p.bottom / p.top) ** (i / Math.max(p.levels - 1, 1)));
    const {mean, std} = moments(app.components), wide = Math.hypot(p.top, std);
    let x = normals(seed, 0, N, BEGIN).map((v, i) => wide * v + mean[i % 2]), k = 0;
    const total = p.levels * p.each, truth = app.components.map((c) => c.w / app.components.reduce((s, v) => s + v.w, 0));
    const sigma = () => ladder[Math.min(Math.floor(k / p.each), p.levels - 1)];
    const floor = slicedDistance(draws(app.components, N, seed + 1), draws(app.components, N, seed + 2));
    return {
      tick() {
        if (k >= total) return;
        const s = sigma(), e = p.size * s * s, score = app.score({alpha: 1, sigma: s}, x), z = normals(seed + 100 + Math.floor(k / p.each), 0, N, k % p.each);
        x = x.map((v, i) => v + e / 2 * score[i] + Math.sqrt(e) * z[i]);
        k++;
      },
      changed() { app.restart(); },
      draw() {
        const s = sigma(), g = grid(view, app.components.length > 60 ? 60 : 110), f = field(app.components, {alpha: 1, sigma: s}, g.x), top = Math.max(...f.logp);
        heat(view, Float64Array.from(f.logp, (v) => 0.55 * Math.exp((v - top) * 0.6)), g.columns, g.rows);
        app.outline();
        dots(view, x, {size: 1.4});
        if (app.components.length <= 10) bars(view, shares(app.components, x), truth, N);
        const r = view.ratio, {ctx} = view;
        ladder.forEach((v, i) => {
          const at = (i + 0.5) / p.levels, here = i === Math.floor(Math.min(k, total - 1) / p.each);
          ctx.fillStyle = colour(here ? 'other' : 'line');
          ctx.fillRect(view.width - 26 * r, (40 + at * 200) * r, (here ? 20 : 12) * r, 3 * r);
        });
        label(view, `σ = ${short(s)}`, view.width - 12 * r, 20 * r, {align: 'right'});
        label(view, k >= total ? 'done' : `step ${k} of ${total}`, 12 * r, 18 * r);
      },
      summary() {
        const now = app.components.length <= 10 ? ` Shares ${shares(app.components, x).map((v) => v.toFixed(4)).join(', ')}; truth ${truth.map((v) => v.toFixed(3)).join(', ')}.` : '';
        const far = slicedDistance(x, draws(app.components, N, seed + 1));
        return `Level ${Math.min(Math.floor(k / p.each) + 1, p.levels)} of ${p.levels}, σ = ${short(sigma())}.${now} Sliced W2 to ${N} draws ${far.toFixed(4)}; between two sets of draws ${floor.toFixed(4)}. Sample 0 at (${x[0].toFixed(6)}, ${x[1].toFixed(6)}).`;
      },
      command: () => demo(app, 'low-density.png', 'eight, of unequal weights'),
      python() {
        return `${preamble(app, ['draws', 'sliced', 'shares', 'learned'])}${scoreCode(app)}
ladder = [${p.top} * ${p.bottom / p.top} ** (i / ${Math.max(p.levels - 1, 1)}) for i in range(${p.levels})]
total = law.variance.mean().sqrt()
x = law.mean + (${p.top}**2 + total**2).sqrt() * normals(${N}, ${seed}, ${BEGIN})
for i, sigma in enumerate(ladder):
    steps = min(${p.each}, ${k} - i * ${p.each})  # of ${total}: as far as the page had come
    if steps > 0:
        x = sf.ula(lambda x: score(x, sigma), x, steps=steps, step_size=${p.size} * sigma**2, seed=${seed + 100} + i).x
${app.components.length <= 10 ? `print("Shares", ", ".join(f"{v:.4f}" for v in shares(x)))
` : ''}data = draws(${N}, ${seed + 1})
print(f"Sliced W2 to ${N} draws {sliced(x, data):.4f}; between two sets of draws {sliced(data, draws(${N}, ${seed + 2})):.4f}.")
print("Sample 0 at ({:.6f}, {:.6f}).".format(*x[0].tolist()))
`;
      },
    };
  },
};
