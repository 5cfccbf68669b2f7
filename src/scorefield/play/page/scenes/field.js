// @ts-check
/** Scene 1: the density, its score, and what noise does to both. */

import {field, moments, responsibilities} from '../exact.js';
import {arrows, colour, grid, heat, label, scaleBar, short} from '../draw.js';
import {demo, preamble} from '../python.js';

const LONGEST = 0.32; // of an arrow, in the data's units

/** The median length of vectors, as 1, 2 or 5 times a power of ten. @param {Float64Array} v */
function typical(v) {
  const sizes = Float64Array.from({length: v.length / 2}, (_, i) => Math.hypot(v[2 * i], v[2 * i + 1])).sort();
  const middle = sizes[sizes.length >> 1] || 1, unit = 10 ** Math.floor(Math.log10(middle));
  return unit * (middle < 2 * unit ? 1 : middle < 5 * unit ? 2 : 5);
}

/** @type {import('../app.js').Scene} */
export const scoreField = {
  id: 'field',
  title: 'Score field',
  text: `
<p>The <strong>score</strong> is the slope of the log-density, and points to where more data are. Noise of standard deviation σ
blurs the density and melts its landscape: every arrow then points to all of the data at once.</p>
<math display="block"><mrow><msub><mo>∇</mo><mi>x</mi></msub><mi>log</mi><msub><mi>p</mi><mi>σ</mi></msub><mo stretchy="false">(</mo><mi>x</mi><mo stretchy="false">)</mo>
<mo>=</mo><mfrac><mrow><mi>E</mi><mo>[</mo><msub><mi>x</mi><mn>0</mn></msub><mo stretchy="false">|</mo><mi>x</mi><mo>]</mo><mo>−</mo><mi>x</mi></mrow><msup><mi>σ</mi><mn>2</mn></msup></mfrac></mrow></math>
<p>So whoever can denoise knows the score: that is Tweedie's formula (<a href="https://doi.org/10.1198/jasa.2011.tm11181">Efron 2011</a>), and the reason why a network trained to remove noise is a
generative model. The numbers here are exact, not learned.</p>`,
  controls: [
    {name: 'sigma', label: 'Noise σ', kind: 'range', min: 0.01, max: 5, log: true, value: 0.15, help: 'Standard deviation of the noise added to the data.'},
    {name: 'show', label: 'Shading', kind: 'select', options: ['density', 'log-density', 'score length', 'none'], value: 'density',
      help: 'What the colour stands for; the log-density shows what is far below the peak.'},
    {name: 'arrows', label: 'Arrows', kind: 'select', options: ['score', 'step to E[x0 | x]', 'none'], value: 'score',
      help: 'Long arrows are compressed: length follows |s| / (|s| + s0), and the bar at the lower right is |s| = s0.'},
    {name: 'sweep', label: 'Let the noise rise and fall', kind: 'toggle', value: true, help: 'Sweeps σ up and down; moving the slider stops it.'},
  ],
  create(app) {
    let phase = Math.asin(Math.max(-1, Math.min(1, Math.log(app.params.sigma / 0.22) / 3.1)));
    const level = () => ({alpha: 1, sigma: app.params.sigma});
    return {
      tick() {
        if (!app.params.sweep) return;
        phase += 0.012;
        app.params.sigma = Number(Math.exp(Math.log(0.22) + 3.1 * Math.sin(phase)).toPrecision(3));
        app.params.sigma = Math.min(Math.max(app.params.sigma, 0.01), 5);
        const slider = /** @type {any} */ (document.getElementById('control-sigma'));
        if (slider) {
          slider.value = Math.log(app.params.sigma);
          slider.previousElementSibling.textContent = String(app.params.sigma);
        }
      },
      changed(name) {
        if (name === 'sigma' && app.params.sweep) {
          app.params.sweep = false;
          /** @type {any} */ (document.getElementById('control-sweep')).checked = false;
        }
      },
      draw() {
        const {view, components, params} = app;
        if (params.show !== 'none') {
          const g = grid(view, components.length > 60 ? 70 : 140), f = field(components, level(), g.x);
          const values = new Float64Array(g.columns * g.rows);
          if (params.show === 'density') {
            const top = Math.max(...f.logp);
            for (let i = 0; i < values.length; i++) values[i] = 0.85 * Math.exp(f.logp[i] - top) ** 0.7;
          } else if (params.show === 'log-density') {
            const top = Math.max(...f.logp);
            for (let i = 0; i < values.length; i++) values[i] = 0.85 * Math.max(0, 1 + (f.logp[i] - top) / 20);
          } else {
            for (let i = 0; i < values.length; i++) {
              const s = Math.hypot(f.score[2 * i], f.score[2 * i + 1]);
              values[i] = 0.85 * s / (s + 10);
            }
          }
          heat(view, values, g.columns, g.rows);
        }
        if (params.arrows !== 'none') {
          const g = grid(view, 26), f = field(components, level(), g.x);
          if (params.arrows === 'score') {
            const half = typical(f.score);
            arrows(view, g.x, f.score, (s) => LONGEST * s / (s + half));
            scaleBar(view, LONGEST / 2, `this long: |score| = ${short(half)}`);
          } else {
            for (let i = 0; i < g.x.length; i++) f.x0[i] -= g.x[i];
            arrows(view, g.x, f.x0, (s) => 0.22 * s);
            scaleBar(view, 0.22, 'this long: 1 away');
          }
        }
        app.outline();
        label(view, `σ = ${short(params.sigma)}`, 12 * view.ratio, 18 * view.ratio, {ink: colour('ink')});
      },
      hover(x, y) {
        const f = field(app.components, level(), Float64Array.of(x, y));
        const r = app.components.length <= 8 ? `\nparts ${responsibilities(app.components, level(), x, y).map((v) => v.toFixed(3)).join('  ')}` : '';
        return `x ${x.toFixed(2)}, ${y.toFixed(2)}   log p ${f.logp[0].toFixed(3)}\nscore ${f.score[0].toFixed(3)}, ${f.score[1].toFixed(3)}   E[x0 | x] ${f.x0[0].toFixed(3)}, ${f.x0[1].toFixed(3)}${r}`;
      },
      summary() {
        const {mean, std} = moments(app.components), f = field(app.components, level(), Float64Array.from(mean));
        return `${app.components.length} components, mean (${short(mean[0])}, ${short(mean[1])}), standard deviation ${short(std)}. `
          + `At the mean, with noise ${short(app.params.sigma)}: log-density ${f.logp[0].toFixed(4)}, score (${f.score[0].toFixed(4)}, ${f.score[1].toFixed(4)}).`;
      },
      command: () => demo(app, 'score-field.png'),
      python() {
        return `${preamble(app)}
x = law.mean[None]  # or any points (B, 2)
sigma = ${app.params.sigma}
print(f"log-density {float(law.noised(1.0, sigma).log_prob(x)):.4f}")
print("score ({:.4f}, {:.4f})".format(*law.score_at(x, 1.0, sigma)[0].tolist()))
`;
      },
    };
  },
};
