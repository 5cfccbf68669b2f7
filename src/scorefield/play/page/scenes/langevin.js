// @ts-check
/** Scene 3: Langevin dynamics on the exact field: it converges, it fails between far modes, and MALA corrects its steps. */

import {field, normals, shares, uniforms} from '../exact.js';
import {bars, chart, colour, dots, grid, heat, label, short} from '../draw.js';
import {PRESETS, mixtureCode} from '../state.js';

const N = 2000;

/** @type {import('../app.js').Scene} */
export const langevin = {
  id: 'langevin',
  title: 'Langevin dynamics',
  text: `
<p>Follow the score uphill and shake. In the limit of small steps the particles end up distributed as the density.</p>
<math display="block"><mrow><msup><mi>x</mi><mo>′</mo></msup><mo>=</mo><mi>x</mi><mo>+</mo><mfrac><mi>ε</mi><mn>2</mn></mfrac><mo>∇</mo><mi>log</mi><mi>p</mi><mo>(</mo><mi>x</mi><mo>)</mo>
<mo>+</mo><msqrt><mrow><mi>ε</mi><mi>T</mi></mrow></msqrt><mi>z</mi></mrow></math>
<p>Written with ε in front of the score the noise is √(2ε): the same chain with half the number. A step that is too long adds a bias
of its order; a Metropolis test (MALA) removes it. Without noise (T = 0) the particles climb to the modes and stay.</p>
<p>Between far modes the score is nearly nothing and the particles never learn how much mass lies on the other side: <b>the failure in
low density</b>. What repairs it is noise, and is the next scene.</p>`,
  controls: [
    {name: 'step', label: 'Step ε', kind: 'range', min: 0.0005, max: 0.5, log: true, value: 0.02},
    {name: 'convention', label: 'ε stands for', kind: 'select', options: ['ε/2 s + √ε z', 'ε s + √(2ε) z'], value: 'ε/2 s + √ε z'},
    {name: 'temperature', label: 'Temperature T', kind: 'range', min: 0, max: 2, step: 0.05, value: 1},
    {name: 'mala', label: 'Metropolis test (MALA)', kind: 'toggle', value: false},
    {name: 'start', label: 'Start', kind: 'select', options: ['uniform', 'one point', 'wide Gaussian'], value: 'uniform'},
    {name: 'fail', label: 'Show the failure', kind: 'button', help: 'Two far modes of weights 0.8 and 0.2, from a uniform start: each is given half.',
      press: (app) => {
        Object.assign(app.params, {step: 0.02, temperature: 1, start: 'uniform', mala: false});
        app.setComponents(PRESETS['two modes, far apart']);
        app.restart();
      }},
  ],
  create(app) {
    const {view, seed} = app, level = {alpha: 1, sigma: 0};
    let k = 0, accepted = 0, tried = 0, x = begin(app.params.start, seed);
    /** @type {[number, number][]} */ let history = [];
    const truth = () => {
      const total = app.components.reduce((s, c) => s + c.w, 0);
      return app.components.map((c) => c.w / total);
    };
    const apart = () => app.components.length > 30 ? NaN : shares(app.components, x).reduce((s, v, i) => s + Math.abs(v - truth()[i]), 0) / 2;
    return {
      tick() {
        const p = app.params, e = p.convention.startsWith('ε/2') ? p.step : 2 * p.step, T = p.temperature;
        const f = {...field(app.components, level, x), score: app.score(level, x)}, z = normals(seed, 0, N, k + 1), y = new Float64Array(2 * N);
        for (let i = 0; i < 2 * N; i++) y[i] = x[i] + e / 2 * f.score[i] + Math.sqrt(e * T) * z[i];
        if (p.mala && T > 0) {
          const g = field(app.components, level, y), u = uniforms(seed, 0, N, k + 1);
          for (let i = 0; i < N; i++) {
            let there = 0, back = 0;
            for (const j of [2 * i, 2 * i + 1]) {
              there += (y[j] - x[j] - e / 2 * f.score[j]) ** 2;
              back += (x[j] - y[j] - e / 2 * g.score[j]) ** 2;
            }
            const ratio = (g.logp[i] - f.logp[i]) / T + (there - back) / (2 * e * T);
            tried++;
            if (Math.log(u[i] || 1e-300) < ratio) accepted++; else [y[2 * i], y[2 * i + 1]] = [x[2 * i], x[2 * i + 1]];
          }
        }
        x = y;
        k++;
        if (k % 5 === 0) history.push([k, apart()]);
        if (history.length > 500) history = history.filter((_, i) => i % 2);
      },
      changed(name) { if (name === 'start' || name === 'components') app.restart(); },
      draw() {
        const g = grid(view, app.components.length > 60 ? 60 : 110), f = field(app.components, level, g.x), top = Math.max(...f.logp);
        heat(view, Float64Array.from(f.logp, (v) => 0.55 * Math.exp((v - top) * 0.6)), g.columns, g.rows);
        app.outline();
        dots(view, x, {ink: colour('particle'), size: 1.4});
        if (app.components.length <= 10) bars(view, shares(app.components, x), truth(), N);
        label(view, `step ${k}`, 12 * view.ratio, 18 * view.ratio);
        chart(app.chartView, [{name: 'mode weights off by', points: history, ink: colour('noise')},
          {name: 'sampling error', points: history.map(([i]) => [i, floor(truth())]), ink: colour('soft'), dash: [4, 4]}], {x: 'steps', y: 'total variation'});
      },
      summary() {
        const now = app.components.length <= 10 ? ` Shares ${shares(app.components, x).map((v) => v.toFixed(3)).join(', ')}; truth ${truth().map((v) => v.toFixed(3)).join(', ')}.` : '';
        return `${N} particles after ${k} steps of ${short(app.params.step)}.${now}${app.params.mala && tried ? ` Accepted ${(100 * accepted / tried).toFixed(1)} %.` : ''}`;
      },
      chart() {
        return `Mode weights are off by ${apart().toFixed(3)} in total variation; ${N} exact draws would be off by ${floor(truth()).toFixed(3)} on average.`;
      },
      python() {
        const e = app.params.convention.startsWith('ε/2') ? app.params.step : 2 * app.params.step;
        return `${mixtureCode(app.components)}

start = 6 * torch.rand(${N}, 2, dtype=f64, generator=torch.Generator().manual_seed(${seed})) - 3
${app.params.mala
    ? `chain = sf.mala(law.log_prob, start, steps=${Math.max(k, 1)}, step_size=${e}, seed=${seed})`
    : `chain = sf.ula(law.score, start, steps=${Math.max(k, 1)}, step_size=${e}, seed=${seed})`}
parts = torch.stack([w.log() + sf.Gaussian(m, c).log_prob(chain.x) for w, m, c in zip(weights, means, covariances)])
print("shares", (torch.bincount(parts.argmax(0), minlength=len(weights)) / ${N}).tolist())
`;
      },
    };
  },
};

/** @param {string} how @param {number} seed */
function begin(how, seed) {
  if (how === 'one point') return new Float64Array(2 * N).fill(0.01);
  if (how === 'wide Gaussian') return normals(seed, 0, N, 0).map((v) => 1.5 * v);
  const u = uniforms(seed, 0, N, 1e6), v = uniforms(seed, 0, N, 1e6 + 1);
  return Float64Array.from({length: 2 * N}, (_, i) => 6 * (i % 2 ? v : u)[i >> 1] - 3);
}

/** The mean total variation of N exact draws' shares from the truth. @param {number[]} truth */
const floor = (truth) => truth.reduce((s, p) => s + Math.sqrt(2 * p * (1 - p) / Math.PI / N), 0) / 2;
