// @ts-check
/** Scene 5: the forward process, and two ways back from one start: the reverse SDE and the probability-flow ODE. */

import {draws, follow, normals, start} from '../exact.js';
import {colour, dots, label, line, short} from '../draw.js';
import {SCHEDULES, SCHEDULE_CODE, load, planOf, solverCode} from '../plans.js';
import {notation} from '../notation.js';
import {demo, denoiserCode, preamble} from '../python.js';

const N = 600, TRACED = 24, NFE = 40;
const DIRECTIONS = ['forward: data to noise', 'reverse SDE', 'probability-flow ODE', 'encode, then decode'];

/** @type {import('../app.js').Scene} */
export const paths = {
  id: 'paths',
  learned: true,
  title: 'Forward and reverse',
  text: `
<p>A process adds noise until nothing of the data is left. Read backwards it is a sampler, in two ways with the same law at every
time: an SDE, which keeps adding and removing noise, and an ODE, which is a smooth map from noise to data and back
(<a href="https://arxiv.org/abs/2011.13456">Song et al. 2021</a>).</p>
<math display="block"><mrow><mi>d</mi><mi>x</mi><mo>=</mo><mi>f</mi><mi>x</mi><mi>d</mi><mi>t</mi><mo>+</mo><mi>g</mi><mi>d</mi><mi>w</mi></mrow></math>
<math display="block"><mrow><mi>d</mi><mi>x</mi><mo>=</mo><mo stretchy="false">(</mo><mi>f</mi><mi>x</mi><mo>−</mo><msup><mi>g</mi><mn>2</mn></msup><mi>s</mi><mo stretchy="false">)</mo><mi>d</mi><mi>t</mi><mo>+</mo><mi>g</mi><mi>d</mi><mover><mi>w</mi><mo>¯</mo></mover></mrow></math>
<math display="block"><mrow><mfrac><mrow><mi>d</mi><mi>x</mi></mrow><mrow><mi>d</mi><mi>t</mi></mrow></mfrac><mo>=</mo><mi>f</mi><mi>x</mi><mo>−</mo><mfrac><msup><mi>g</mi><mn>2</mn></msup><mn>2</mn></mfrac><mi>s</mi></mrow></math>
${notation([
  ['noisy datum', 'x = α x0 + σ ε', 'x = √ᾱ x0 + √(1 − ᾱ) ε'],
  ['time', 't from 0 to 1', 'n from 1 to N, t = n / N'],
  ['noise added', 'g² = β(t), f = −β(t) / 2', 'β<sub>n</sub> = β(t) / N'],
  ['the network', 's', 'ε_θ = −√(1 − ᾱ) s'],
  ['a step back', 'dx = (f x − g² s) dt + g dw̄', '(x − β<sub>n</sub> ε_θ / √(1 − ᾱ)) / √(1 − β<sub>n</sub>) + √β<sub>n</sub> z'],
])}
<p>Coordinates are x / √(α² + σ²) times the data's scale, so that no process leaves the picture.</p>`,
  controls: [
    {name: 'schedule', label: 'Process', kind: 'select', options: SCHEDULES, value: 'VP', help: 'How the data fade (α) and the noise grows (σ).'},
    {name: 'direction', label: 'Direction', kind: 'select', options: DIRECTIONS, value: DIRECTIONS[2], help: 'Data to noise, one of two ways back, or there and back.'},
    {name: 'at', label: 'Where on the way', kind: 'range', min: 0, max: 1, step: 0.005, value: 0, help: '0 is where the direction starts, 1 where it ends; it plays by itself, or scrub.'},
    {name: 'loop', label: 'Go back and forth', kind: 'toggle', value: true, help: 'Off, it stops at the end.'},
  ],
  create(app) {
    const {view, seed} = app, p = app.params;
    /** @type {Float64Array[]} */ let path = [];
    /** @type {import('../exact.js').Level[]} */ let levels = [];
    /** @type {number[]} */ let times = [];
    let way = 1, said = 'loading the plans', back = NaN;
    load().then((all) => {
      const denoise = app.denoise, zero = [0, 0], table = all.schedules[p.schedule];
      if (p.direction === DIRECTIONS[0]) {
        const from = draws(app.components, N, seed);
        path = [from];
        levels = [{alpha: table.alpha[0], sigma: table.sigma[0]}];
        times = [0];
        for (let k = 2; k < table.t.length; k += 2) {  // exact transitions, whatever the spacing
          const a = table.alpha[k] / table.alpha[k - 2], z = normals(seed, 0, N, 1000 + k);
          const s = Math.sqrt(Math.max(table.sigma[k] ** 2 - a * a * table.sigma[k - 2] ** 2, 0)), last = path[path.length - 1];
          path.push(last.map((v, i) => a * v + s * z[i]));
          levels.push({alpha: table.alpha[k], sigma: table.sigma[k]});
          times.push(table.t[k]);
        }
        const end = path[path.length - 1];
        said = `Exact transitions of the forward SDE; sample 0 ends at (${end[0].toFixed(6)}, ${end[1].toFixed(6)}).`;
      } else if (p.direction === DIRECTIONS[3]) {
        const from = draws(app.components, N, seed), up = all.encode[p.schedule], down = all.decode[p.schedule];
        const begin = levelOf(all, p.schedule, up.times[0]);
        const there = follow(up, from.map((v) => v * begin.alpha), denoise, seed, 0, zero);
        const again = follow(down, there[there.length - 1], denoise, seed, 0, zero);
        path = [...there, ...again.slice(1)];
        times = [...up.times, ...down.times.slice(1)];
        levels = times.map((t) => levelOf(all, p.schedule, t));
        const end = path[path.length - 1];
        back = Math.sqrt(end.reduce((s, v, i) => s + (v / begin.alpha - from[i]) ** 2, 0) / end.length);
        said = `Encoded and decoded with ${up.nfe} evaluations each way: points are back to ${back.toFixed(7)} (rms).`;
      } else {
        const solver = p.direction === DIRECTIONS[1] ? 'DDPM' : 'default', plan = planOf(all, solver, p.schedule, NFE);
        if (!plan) { said = `${solver} does not start at the end of ${p.schedule}`; return; }
        path = follow(plan, start(plan, seed, 0, N, zero), denoise, seed, 0, zero);
        times = plan.times;
        levels = times.map((t) => levelOf(all, p.schedule, t));
        const end = path[path.length - 1];
        said = `${solver === 'default' ? 'The default solver' : solver}, ${plan.nfe} evaluations; sample 0 ends at (${end[0].toFixed(6)}, ${end[1].toFixed(6)}).`;
      }
      app.changed();
    }).catch((error) => { said = String(error.message ?? error); app.changed(); });
    const shown = () => Math.min(Math.round(p.at * (path.length - 1)), path.length - 1);
    const scale = (/** @type {number} */ k) => 1 / Math.hypot(levels[k].alpha, levels[k].sigma);
    return {
      tick() {
        if (!path.length) return;
        p.at = Number(Math.min(Math.max(p.at + way * 0.006, 0), 1).toFixed(4));
        if (p.at >= 1 || p.at <= 0) {
          if (p.loop) way = p.at >= 1 ? -1 : 1; else if (p.at >= 1) app.play(false);
        }
        const slider = /** @type {any} */ (document.getElementById('control-at'));
        if (slider) [slider.value, slider.previousElementSibling.textContent] = [p.at, p.at.toFixed(2)];
      },
      changed(name) { if (name && name !== 'at' && name !== 'loop') app.restart(); },
      draw() {
        app.outline();
        const r = view.ratio;
        if (!path.length) { label(view, said, 12 * r, 18 * r); return; }
        const now = shown();
        for (let i = 0; i < TRACED; i++) {
          const way_ = [];
          for (let k = 0; k <= now; k++) way_.push(path[k][2 * i] * scale(k), path[k][2 * i + 1] * scale(k));
          line(view, way_, colour(i % 2 ? 'noise' : 'other'), 1);
        }
        dots(view, path[now].map((v) => v * scale(now)), {size: 2});
        label(view, `t = ${times[now].toFixed(3)}   α = ${short(levels[now].alpha)}   σ = ${short(levels[now].sigma)}`, 12 * r, 18 * r);
      },
      summary: () => `${p.schedule}, ${p.direction}. ${said}`,
      command: () => p.schedule === 'VP' && (p.direction === DIRECTIONS[1] || p.direction === DIRECTIONS[2]) ? demo(app, 'ddpm-ddim.png') : '',
      python() {
        const forward = p.direction === DIRECTIONS[0];
        const head = preamble(app, forward ? ['draws'] : ['draws', 'learned']);
        const whole = forward ? `schedule = ${SCHEDULE_CODE[p.schedule]}\n` : denoiserCode(app, SCHEDULE_CODE[p.schedule]);
        if (forward) {
          return `${head}${whole}
x, times = draws(${N}, ${seed}), torch.linspace(0, 1, 101, dtype=f64)
for k in range(100):
    scale, std = schedule.transition(times[k], times[k + 1])
    x = scale * x + std * normals(${N}, ${seed}, 1000 + 2 * (k + 1))
print("sample 0 ends at ({:.6f}, {:.6f})".format(*x[0].tolist()))
`;
        }
        if (p.direction === DIRECTIONS[3]) {
          return `${head}${whole}
x = draws(${N}, ${seed})
error = sf.encode(denoiser, x, nfe=64, round_trip=True).error
print(f"points are back to {float(error.square().mean().sqrt()):.7f} (rms)")
`;
        }
        return `${head}${whole}
solver, times = ${solverCode(p.direction === DIRECTIONS[1] ? 'DDPM' : 'default', NFE)}
x = sf.sample(denoiser, (${N}, 2), solver=solver, times=times, seed=${seed}, dtype=f64).x
print("sample 0 ends at ({:.6f}, {:.6f})".format(*x[0].tolist()))
`;
      },
    };
  },
};

/** @param {import('../plans.js').Shown} all @param {string} name @param {number} t */
function levelOf(all, name, t) {
  for (const plan of [all.encode[name], all.decode[name], ...Object.entries(all.plans).filter(([k]) => k.split('|')[1] === name).map(([, v]) => v)]) {
    for (const step of plan.steps) {
      for (const e of step.evaluations) if (e.t === t) return {alpha: e.alpha, sigma: e.sigma};
    }
  }
  const table = all.schedules[name], i = t < 0.5 ? 0 : table.t.length - 1;
  return {alpha: table.alpha[i], sigma: table.sigma[i]};
}
