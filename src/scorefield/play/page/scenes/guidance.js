// @ts-check
/** Scene 7: guidance on a labelled mixture, beside the law that it is often taken for, and particles that do sample it. */

import {draws, field, moments, slicedDistance, start, follow, uniforms} from '../exact.js';
import {colour, dots, ellipses, grid, heat, label, short} from '../draw.js';
import {SCHEDULES, SCHEDULE_CODE, load, planOf} from '../plans.js';
import {preamble} from '../python.js';

const N = 1500, POOL = 30000;

/** @type {import('../app.js').Scene} */
export const guidance = {
  id: 'guidance',
  title: 'Guidance',
  text: `
<p>Label one component and ask for it. With a weight w, classifier guidance (<a href="https://arxiv.org/abs/2105.05233">Dhariwal &amp; Nichol 2021</a>) and
classifier-free guidance (<a href="https://arxiv.org/abs/2207.12598">Ho &amp; Salimans 2022</a>) follow the same field:</p>
<math display="block"><mrow><mi>D</mi><mo>=</mo><mi>E</mi><mo>[</mo><msub><mi>x</mi><mn>0</mn></msub><mo stretchy="false">|</mo><msub><mi>x</mi><mi>t</mi></msub><mo>]</mo><mo>+</mo><mi>w</mi><mo stretchy="false">(</mo>
<mi>E</mi><mo>[</mo><msub><mi>x</mi><mn>0</mn></msub><mo stretchy="false">|</mo><msub><mi>x</mi><mi>t</mi></msub><mo>,</mo><mi>y</mi><mo>]</mo><mo>−</mo><mi>E</mi><mo>[</mo><msub><mi>x</mi><mn>0</mn></msub><mo stretchy="false">|</mo><msub><mi>x</mi><mi>t</mi></msub><mo>]</mo><mo stretchy="false">)</mo></mrow></math>
<p>w = 0 is the whole density, w = 1 the class. Beyond, samples are often said to follow p(x) p(y | x)^w, the shading here. They do not:
noising and tilting do not commute. <span>Particles weighted for it do</span>; the library's <code>feynman_kac</code> draws them from models alone.</p>`,
  controls: [
    {name: 'w', label: 'Weight w', kind: 'range', min: 0, max: 8, step: 0.25, value: 3, help: 'How much is made of the class.'},
    {name: 'target', label: 'Class (component)', kind: 'range', min: 1, max: 8, step: 1, value: 1, help: 'By its row in the table; the last one beyond.'},
    {name: 'schedule', label: 'Process', kind: 'select', options: SCHEDULES, value: 'VP', help: 'The noise that is undone.'},
  ],
  create(app) {
    const {view, seed, components} = app, p = app.params, target = Math.min(p.target, components.length) - 1;
    const own = [components[target]], clean = {alpha: 1, sigma: 0};
    /** The posterior of the class: log p(y | x). @param {Float64Array} x */
    const logs = (x) => {
      const total = components.reduce((s, k) => s + k.w, 0), a = field(own, clean, x).logp, b = field(components, clean, x).logp;
      return a.map((v, i) => v - b[i] + Math.log(own[0].w / total));
    };
    // p(x) p(y | x)^w, exactly as far as the pool goes: draws of p(x | y), resampled by p(y | x)^(w - 1)
    const pool = draws(own, POOL, seed + 3), weight = logs(pool).map((v) => (p.w - 1) * v), most = Math.max(...weight);
    const mass = weight.map((v) => Math.exp(v - most)), sum = mass.reduce((s, v) => s + v, 0);
    const effective = sum * sum / mass.reduce((s, v) => s + v * v, 0), u = uniforms(seed, 0, 1, 99)[0];
    const tilted = new Float64Array(2 * N);
    for (let i = 0, k = 0, reached = mass[0]; i < N; i++) {
      const goal = (i + u) / N * sum;
      while (reached < goal && k < POOL - 1) reached += mass[++k];
      tilted.set(pool.subarray(2 * k, 2 * k + 2), 2 * i);
    }
    /** @type {Float64Array[]} */ let path = [];
    let share = 0, said = 'loading the plans', nfe = 0;
    load().then((all) => {
      const plan = planOf(all, 'default', p.schedule, 40);
      if (!plan) { said = `the default does not start at the end of ${p.schedule}`; return; }
      path = follow(plan, start(plan, seed, 0, N, [0, 0]), (x, level) => {
        const b = field(components, level, x).x0, c = field(own, level, x).x0;
        return b.map((v, i) => v + p.w * (c[i] - v));
      }, seed, 0, [0, 0]);
      nfe = plan.nfe;
      said = '';
      share = app.playing ? 0 : 1;
      app.changed();
    }).catch((error) => { said = String(error.message ?? error); app.changed(); });
    return {
      tick() { share = Math.min(share + 0.01, 1); },
      changed(name) { if (name) app.restart(); },
      draw() {
        const g = grid(view, 110), f = field(components, clean, g.x).logp, l = logs(g.x);
        const t = f.map((v, i) => v + p.w * l[i]), top = Math.max(...t);
        heat(view, t.map((v) => 0.6 * Math.exp((v - top) * 0.6)), g.columns, g.rows);
        ellipses(view, components, clean, target);
        const r = view.ratio;
        dots(view, tilted, {ink: colour('data'), size: 1.5, alpha: 0.6});
        if (path.length) {
          const k = Math.round(share * (path.length - 1)), end = k === path.length - 1;
          const size = end ? 1 : moments(components).std / Math.max(rms(path[k]), 1e-9);
          dots(view, path[k].map((v) => v * size), {ink: colour('other'), size: 1.6});
        }
        label(view, said || `guided, w = ${short(p.w)}`, 12 * r, 18 * r, {ink: colour('other')});
        label(view, 'weighted for p(x) p(y | x)^w', 12 * r, 38 * r, {ink: colour('data')});
      },
      summary() {
        if (said) return said;
        const end = path[path.length - 1], far = slicedDistance(end, tilted), m = mean(end), t = mean(tilted);
        return `w = ${short(p.w)}, component ${target + 1}, ${nfe} evaluations of each. Guided samples: mean (${m.map((v) => v.toFixed(3)).join(', ')}), `
          + `sample 0 at (${end[0].toFixed(6)}, ${end[1].toFixed(6)}). The tilted law: mean (${t.map((v) => v.toFixed(3)).join(', ')}), from ${Math.round(effective)} effective of ${POOL} draws. Sliced W2 between them ${far.toFixed(4)}.`;
      },
      python() {
        return `${preamble(app, ['draws', 'sliced'])}
schedule = ${SCHEDULE_CODE[p.schedule]}
own = sf.Gaussian(means[${target}], covariances[${target}])
whole, one = sf.ExactDenoiser(law, schedule), sf.ExactDenoiser(own, schedule)


class Guided(sf.Denoiser):
    def __init__(self):
        super().__init__()
        self.schedule = schedule

    def forward(self, x_t, t):
        base = whole(x_t, t)
        return base + ${p.w} * (one(x_t, t) - base)


solver, times = sf.solvers.recommended(schedule, 40, data_std=1.0)  # the page's plans are for data of that scale
x = sf.sample(Guided(), (${N}, 2), solver=solver, times=times, seed=${seed}, dtype=f64).x
print("Guided samples: mean ({:.3f}, {:.3f})".format(*x.mean(0).tolist()))
print("sample 0 at ({:.6f}, {:.6f})".format(*x[0].tolist()))

# p(x) p(y | x)^w: draws of the class, taken again by their weights p(y | x)^(w - 1)
pool = means[${target}] + normals(${POOL}, ${seed + 3}) @ torch.linalg.cholesky(covariances[${target}]).T
share = (weights / weights.sum())[${target}]
mass = torch.softmax(${p.w - 1} * (own.log_prob(pool) - law.log_prob(pool) + share.log()), 0).cumsum(0)
goal = (torch.arange(${N}, dtype=f64) + uniforms(1, ${seed}, 99)) / ${N} * mass[-1]
tilted = pool[torch.searchsorted(mass, goal).clamp(max=${POOL - 1})]
print("The tilted law: mean ({:.3f}, {:.3f})".format(*tilted.mean(0).tolist()))
print(f"Sliced W2 between them {sliced(x, tilted):.4f}")
`;
      },
    };
  },
};

/** @param {Float64Array} x */
const rms = (x) => Math.sqrt(x.reduce((s, v) => s + v * v, 0) / x.length);
/** @param {Float64Array} x */
const mean = (x) => [0, 1].map((j) => x.reduce((s, v, i) => i % 2 === j ? s + v : s, 0) / (x.length / 2));
