// @ts-check
/** Scene 10: one picture of everything: each row of the theory, and the method run on the same data beside it. */

import {draws, follow, normals, slicedDistance, start} from '../exact.js';
import {colour, dots, label} from '../draw.js';
import {SCHEDULE_CODE, load, planOf, solverCode} from '../plans.js';
import {denoiserCode, preamble, scoreCode} from '../python.js';

const N = 800;
/** @type {{name: string, solver: string, schedule: string, nfe: number}[]} */
const ROWS = [
  {name: 'score model', solver: '', schedule: 'VE', nfe: 240},
  {name: 'DDPM', solver: 'DDPM', schedule: 'VP', nfe: 40},
  {name: 'SDE', solver: 'Euler-Maruyama', schedule: 'VP', nfe: 40},
  {name: 'ODE', solver: 'default', schedule: 'VP', nfe: 20},
  {name: 'flow', solver: 'Heun', schedule: 'rectified', nfe: 20},
];

/** @type {import('../app.js').Scene} */
export const theory = {
  id: 'theory',
  learned: true,
  title: 'All of it',
  text: `
<p>One field, read in five ways. All learn E[x0 | x_t] of one kernel, x_t = α x0 + σ ε; they differ in what the network is asked for, in
how α and σ are named, and in how the field is followed (<a href="https://arxiv.org/abs/2011.13456">Song et al. 2021</a>; flow matching:
<a href="https://arxiv.org/abs/2210.02747">Lipman et al. 2023</a>).</p>
<div class="scroll" tabindex="0" role="region" aria-label="The theory in one table"><table>
<thead><tr><th scope="col">method</th><th scope="col">predicts</th><th scope="col">process</th><th scope="col">sampled by</th></tr></thead>
<tbody>
<tr><th scope="row">score model</th><td>∇ log p_σ(x)</td><td>α = 1, a ladder of σ</td><td>x + ε/2 s + √ε z, level by level</td></tr>
<tr><th scope="row">DDPM</th><td>ε</td><td>α² = ᾱ, σ² = 1 − ᾱ</td><td>q(x_s | x_t, x0) with x0 predicted</td></tr>
<tr><th scope="row">SDE</th><td>score</td><td>dx = f x dt + g dw</td><td>dx = (f x − g² s) dt + g dw̄</td></tr>
<tr><th scope="row">ODE</th><td>any of them</td><td>the same</td><td>dx/dt = f x − g² s / 2</td></tr>
<tr><th scope="row">flow matching</th><td>velocity ε − x0</td><td>α = 1 − t, σ = t</td><td>dx/dt = v</td></tr>
</tbody></table></div>
<p>Since v, ε, score and x0 are two linear equations in two unknowns, any one gives the others; the library converts as it goes.</p>`,
  controls: [],
  create(app) {
    const {view, seed, components} = app;
    /** @type {{name: string, x: Float64Array, sw2: number, nfe: number}[]} */ let done = [];
    let said = 'loading the plans';
    const exact = draws(components, N, seed + 1), floor = slicedDistance(exact, draws(components, N, seed + 2));
    load().then((all) => {
      done = ROWS.map((row) => {
        const plan = planOf(all, row.solver, row.schedule, row.nfe);
        const path = plan ? follow(plan, start(plan, seed, 0, N, [0, 0]), app.denoise, seed, 0, [0, 0]) : [annealed()];
        const x = path[path.length - 1];
        return {name: row.name, x, sw2: slicedDistance(x, exact), nfe: plan?.nfe ?? row.nfe};
      });
      said = '';
      app.changed();
    }).catch((error) => { said = String(error.message ?? error); app.changed(); });
    const annealed = () => {
      let x = normals(seed, 0, N, 1e6).map((v) => 4.2 * v);
      for (let k = 0; k < 240; k++) {
        const level = Math.floor(k / 20), s = 4 * (0.03 / 4) ** (level / 11), e = 0.4 * s * s, z = normals(seed + 100 + level, 0, N, k % 20), score = app.score({alpha: 1, sigma: s}, x);
        x = x.map((v, i) => v + e / 2 * score[i] + Math.sqrt(e) * z[i]);
      }
      return x;
    };
    return {
      changed(name) { if (name) app.restart(); },
      draw() {
        const {ctx} = view, r = view.ratio, w = view.width / 3, h = view.height / 2, whole = view.scale;
        if (said) { label(view, said, 12 * r, 18 * r); return; }
        [{name: 'data', x: exact, sw2: floor, nfe: 0}, ...done].forEach((row, i) => {
          const left = (i % 3) * w, top = Math.floor(i / 3) * h;
          ctx.save();
          ctx.beginPath();
          ctx.rect(left, top, w, h);
          ctx.clip();
          ctx.translate(left + w / 2 - view.width / 2, top + h / 2 - view.height / 2);
          view.scale = Math.min(w, h - 40 * r) / 2 / 2.6;
          dots(view, row.x, {ink: colour(i ? 'noise' : 'data'), size: 1.5});
          ctx.restore();
          view.scale = whole;
          label(view, row.name, left + 10 * r, top + 18 * r, {ink: colour(i ? 'noise' : 'data')});
          label(view, i ? `${row.nfe} evaluations` : 'draws', left + 10 * r, top + 38 * r, {ink: colour('soft')});
          label(view, i ? `sliced W2 ${row.sw2.toFixed(3)}` : `floor ${floor.toFixed(3)}`, left + 10 * r, top + h - 14 * r);
          ctx.strokeStyle = colour('line');
          ctx.lineWidth = r;
          ctx.strokeRect(left, top, w, h);
        });
      },
      summary: () => said || `Sliced W2 to ${N} draws: ${done.map((row) => `${row.name} ${row.sw2.toFixed(4)} (${row.nfe} evaluations)`).join(', ')}; floor ${floor.toFixed(4)}.`,
      python() {
        const rows = ROWS.filter((row) => row.solver).map((row) => `${denoiserCode(app, SCHEDULE_CODE[row.schedule])}
solver, times = ${solverCode(row.solver, row.nfe)}
samples = sf.sample(denoiser, (${N}, 2), solver=solver, times=times, seed=${seed}, dtype=f64)
print(f"${row.name} {sliced(samples.x, data):.4f} ({samples.nfe} evaluations)")`);
        return `${preamble(app, ['draws', 'sliced', 'learned'])}${scoreCode(app)}
data = draws(${N}, ${seed + 1})
x = 4.2 * normals(${N}, ${seed}, 10**6)
for level in range(12):
    sigma = 4 * (0.03 / 4) ** (level / 11)
    x = sf.ula(lambda x: score(x, sigma), x, steps=20, step_size=0.4 * sigma**2, seed=${seed + 100} + level).x
print(f"score model {sliced(x, data):.4f} (240 evaluations)")
${rows.join('\n')}
print(f"floor {sliced(data, draws(${N}, ${seed + 2})):.4f}")
`;
      },
    };
  },
};
