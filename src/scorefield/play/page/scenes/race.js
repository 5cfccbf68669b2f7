// @ts-check
/** Scene 6: solvers from the same noise with the same number of evaluations. */

import {draws, follow, shares, slicedDistance, start} from '../exact.js';
import {chart, colour, dots, label, short} from '../draw.js';
import {BUDGETS, SCHEDULES, SCHEDULE_CODE, SOLVERS, load, planOf, solverCode} from '../plans.js';
import {notation} from '../notation.js';
import {denoiserCode, preamble} from '../python.js';

const N = 1500, INKS = ['noise', 'other', 'data', 'third'], NAMES = Object.keys(SOLVERS);

/** @type {import('../app.js').Scene} */
export const race = {
  id: 'race',
  learned: true,
  title: 'Race',
  text: `
<p>All start from the same noise and may ask the denoiser equally often. Watch where they are at equal cost, and read below how far
what they drew is from the density: the sliced Wasserstein distance
(<a href="https://doi.org/10.1007/s10851-014-0506-3">Bonneel et al. 2015</a>) to exact draws, beside the distance between two sets of exact
draws, which no sampler can be below on average.</p>
<math display="block"><mrow><msubsup><mi>W</mi><mn>2</mn><mn>2</mn></msubsup><mo>=</mo><msub><mi>E</mi><mi>θ</mi></msub><msubsup><mo>∫</mo><mn>0</mn><mn>1</mn></msubsup>
<msup><mrow><mo stretchy="false">|</mo><msub><mi>Q</mi><mi>x</mi></msub><mo stretchy="false">(</mo><mi>u</mi><mo stretchy="false">)</mo><mo>−</mo><msub><mi>Q</mi><mi>y</mi></msub><mo stretchy="false">(</mo><mi>u</mi><mo stretchy="false">)</mo><mo stretchy="false">|</mo></mrow><mn>2</mn></msup><mi>d</mi><mi>u</mi></mrow></math>
<p>The steps are the library's own, number by number: each method's plan was written by it and this page only multiplies.</p>${notation([
  ['prediction', 'E[x0 | x] = (x + σ² s) / α', 'x̂0 = (x − √(1 − ᾱ) ε_θ) / √ᾱ'],
  ['<a href="https://arxiv.org/abs/2010.02502">DDIM</a>', 'dx/dt = f x − g² s / 2', '√ᾱ<sub>s</sub> x̂0 + √(1 − ᾱ<sub>s</sub>) ε_θ'],
  ['<a href="https://arxiv.org/abs/2006.11239">DDPM</a>', 'dx = (f x − g² s) dt + g dw̄', 'a draw of q(x<sub>s</sub> | x<sub>t</sub>, x̂0)'],
])}`,
  controls: [
    {name: 'schedule', label: 'Process', kind: 'select', options: SCHEDULES, value: 'VP', help: 'What all of them undo.'},
    {name: 'nfe', label: 'Evaluations', kind: 'select', options: BUDGETS.map(String), value: '10', help: 'Of the denoiser, at most, for each.'},
    ...['default', 'DDIM', 'DDPM', 'none'].map((value, i) => /** @type {import('../app.js').Select} */ (
      {name: `solver${i + 1}`, label: `Runner ${i + 1}`, kind: 'select', options: i < 2 ? NAMES : ['none', ...NAMES], value, help: 'A solver, with the grid that it has for so many evaluations.'})),
  ],
  create(app) {
    const {view, seed} = app, p = app.params;
    const runners = [p.solver1, p.solver2, p.solver3, p.solver4].filter((name) => name !== 'none');
    /** @type {{name: string, plan?: import('../exact.js').Plan, path: Float64Array[], sw2: number, curve: [number, number][], shares: number[]}[]} */
    let field = [];
    const exact = draws(app.components, N, seed + 1), floor = slicedDistance(exact, draws(app.components, N, seed + 2));
    let share = 0, said = 'loading the plans';
    load().then((all) => {
      const denoise = app.denoise, zero = [0, 0];
      const ends = (/** @type {import('../exact.js').Plan} */ plan) => follow(plan, start(plan, seed, 0, N, zero), denoise, seed, 0, zero);
      field = runners.map((name) => {
        const plan = planOf(all, name, p.schedule, Number(p.nfe));
        if (!plan) return {name, path: [], sw2: NaN, curve: [], shares: []};
        const path = ends(plan), end = path[path.length - 1];
        return {name, plan, path, sw2: slicedDistance(end, exact), curve: [], shares: shares(app.components, end)};
      });
      said = '';
      app.changed();
      // the curve grows while one looks
      const todo = BUDGETS.flatMap((nfe) => field.map((runner) => ({nfe, runner})));
      const next = () => {
        const one = todo.shift();
        if (!one || app.instance !== self) return;
        const plan = planOf(all, one.runner.name, p.schedule, one.nfe);
        if (plan) {
          const path = ends(plan);
          one.runner.curve.push([plan.nfe, slicedDistance(path[path.length - 1], exact)]);
          app.changed();
        }
        setTimeout(next, 30);
      };
      setTimeout(next, 100);
    }).catch((error) => { said = String(error.message ?? error); app.changed(); });
    /** @type {import('../app.js').Instance} */
    const self = {
      tick() { share = share >= 1.25 ? 0 : share + 0.008; },
      changed(name) { if (name) app.restart(); },
      draw() {
        const {ctx} = view, r = view.ratio, count = Math.max(field.length, 1), w = view.width;
        if (said) { label(view, said, 12 * r, 18 * r); return; }
        const whole = {half: view.half, scale: view.scale, width: view.width};
        field.forEach((runner, i) => {
          ctx.save();
          ctx.beginPath();
          ctx.rect(i * w / count, 0, w / count, view.height);
          ctx.clip();
          ctx.translate((i + 0.5) * w / count - w / 2, 0);
          view.scale = Math.min(whole.scale, w / count / 2 / 2.6);
          app.outline();
          const now = Math.min(Math.floor(Math.min(share, 1) * (runner.path.length - 1)), runner.path.length - 1);
          if (runner.plan) {
            const step = runner.plan.steps[Math.min(now, runner.plan.steps.length - 1)], last = now === runner.path.length - 1;
            const e = step.evaluations[0], size = last ? 1 : 1 / Math.hypot(e.alpha, e.sigma);
            dots(view, runner.path[now].map((v) => v * size), {ink: colour(INKS[i]), size: 1.5});
          }
          ctx.restore();
          view.scale = whole.scale;
          label(view, `${i + 1}  ${runner.name}`, i * w / count + 10 * r, 18 * r, {ink: colour(INKS[i])});
          label(view, runner.plan ? `sliced W2 ${runner.sw2.toFixed(3)}` : `not from the end of ${p.schedule}`, i * w / count + 10 * r, 38 * r);
          if (i) {
            ctx.fillStyle = colour('line');
            ctx.fillRect(i * w / count, 0, r, view.height);
          }
        });
        const top = Math.max(...BUDGETS);
        chart(app.chartView, [
          ...field.map((runner, i) => ({name: runner.name, points: runner.curve, ink: colour(INKS[i]), dots: true})),
          {name: 'floor', points: /** @type {[number, number][]} */ ([[Math.min(...BUDGETS) * 0.8, floor], [top * 1.2, floor]]), ink: colour('soft'), dash: [4, 4]},
        ], {x: 'evaluations', y: 'sliced W2', logX: true, logY: true});
      },
      summary() {
        if (said) return said;
        return field.map((runner, i) => runner.plan
          ? `${i + 1} ${runner.name}: sliced W2 ${runner.sw2.toFixed(4)} with ${runner.plan.nfe} evaluations, sample 0 at (${runner.path[runner.path.length - 1][0].toFixed(6)}, ${runner.path[runner.path.length - 1][1].toFixed(6)})`
            + (app.components.length <= 10 ? `, shares ${runner.shares.map((v) => v.toFixed(3)).join(' ')}` : '')
          : `${i + 1} ${runner.name}: not from the end of ${p.schedule}`).join('\n') + `\nfloor: ${floor.toFixed(4)}, between two sets of ${N} exact draws`;
      },
      chart: () => `Sliced W2 by evaluations: ${field.map((runner) => `${runner.name} ${runner.curve.map(([n, v]) => `${n}: ${short(v)}`).join(', ')}`).join('; ')}.`,
      python() {
        const lines = field.filter((runner) => runner.plan).map(({name}) => `
solver, times = ${solverCode(name, Number(p.nfe))}
samples = sf.sample(denoiser, (${N}, 2), solver=solver, times=times, seed=${seed}, dtype=f64)
said = "sliced W2 {:.4f} with {} evaluations, sample 0 at ({:.6f}, {:.6f})"
print("${name}:", said.format(sliced(samples.x, data), samples.nfe, *samples.x[0].tolist()))
`);
        return `${preamble(app, ['draws', 'sliced', 'learned'])}${denoiserCode(app, SCHEDULE_CODE[p.schedule])}
data = draws(${N}, ${seed + 1})
${lines.join('')}
print(f"floor: {sliced(data, draws(${N}, ${seed + 2})):.4f}")
`;
      },
    };
    return self;
  },
};
