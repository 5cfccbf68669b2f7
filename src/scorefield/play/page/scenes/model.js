// @ts-check
/** Scene 9: trained models of pictures, given on the command line. The server computes, the page asks and shows. */

import {normals} from '../exact.js';
import {colour, label} from '../draw.js';
import {readPicture} from '../pictures.js';
import {fromBase64, Stale, toBase64, Wire} from '../wire.js';
import {reopened} from '../python.js';
import {code, HOW, NO_RUNS} from './model_code.js';
import {bits, film, lines, posterior, walk} from './model_draw.js';

/** @typedef {{name: string, path: string, shape: number[], levels: number, classes: number, class_names: string[], guided: boolean, tuned: number[], no_likelihood: string | null}} Run */
/** @typedef {import('../app.js').Control} Control */
/** @typedef {import('../pictures.js').Box} Box */

const wire = new Wire(), SHORT = 4096; // characters of a picture that still goes into the address
const server = {runs: /** @type {Run[]} */ ([]), solvers: /** @type {{name: string, adaptive: boolean}[]} */ ([]), state: Wire.possible ? 'loading the runs' : 'no server', large: ''};
const EMPTY = /** @type {Record<string, string>} */ ({
  'no server': `This page is a file, and a trained network needs a server. ${HOW}`,
  'no runs': `No run was given. ${HOW}`,
});
const NO_CLASS = 'none', BEST = 'default', MASKS = ['box', 'left half', 'top half', 'random half', 'painted'];

/** Of the task: what is asked, and which controls it has. @type {Record<string, {ask: string, has: string[]}>} */
const TASKS = {
  'samples': {ask: 'sample', has: ['solver', 'nfe', 'label', 'guidance', 'n', 'at', 'which']},
  'interpolation': {ask: 'interpolate', has: ['other', 'length', 'nfe', 'label', 'at']},
  'likelihood': {ask: 'likelihood', has: ['label', 'choose', 'own']},
  'inpainting': {ask: 'inpaint', has: ['mask', 'noise', 'draws', 'nfe', 'label', 'choose', 'own']},
  'sparse-view CT': {ask: 'ct', has: ['views', 'noise', 'draws', 'nfe', 'label', 'choose', 'own']},
};

/** What is in force, whatever the address said. @param {Record<string, any>} p */
function chosen(p) {
  const run = server.runs.find((r) => r.name === p.run) ?? server.runs[0];
  return {run, task: TASKS[p.task] ?? TASKS.samples};
}

/** @param {Run} run @returns {import('../pictures.js').Size} */
const sizeOf = ({shape: [c, h, w]}) => ({c, h, w});

/** The dropped picture, or null for a sample of the run. @param {Run} run @param {Record<string, any>} p */
const dropped = (run, p) => p.picture === undefined ? null : fromBase64(p.picture === 'large' ? server.large : p.picture, run.shape.reduce((a, b) => a * b, 1));

/** What is hidden: a byte for each pixel. @param {Run} run @param {Record<string, any>} p @param {number} seed */
function maskOf(run, p, seed) {
  const {w, h} = sizeOf(run), mask = new Uint8Array(w * h), bits = fromBase64(p.painted, Math.ceil(w * h / 8));
  const z = p.mask === 'random half' ? normals(seed, 0, Math.ceil(w * h / 2), 99) : [];
  /** @type {Record<string, (x: number, y: number, i: number) => boolean>} */
  const hides = {
    'box': (x, y) => x >= w / 4 && x < 3 * w / 4 && y >= h / 4 && y < 3 * h / 4,
    'left half': (x) => x < w / 2,
    'top half': (_, y) => y < h / 2,
    'random half': (_x, _y, i) => z[i] > 0,
    'painted': (_x, _y, i) => bits ? Boolean(bits[i >> 3] >> (7 - i % 8) & 1) : false,
  };
  for (let i = 0; i < w * h; i++) mask[i] = Number((hides[p.mask] ?? hides.box)(i % w, Math.floor(i / w), i));
  return mask;
}

/** @param {Uint8Array} mask */
function packed(mask) {
  const bits = new Uint8Array(Math.ceil(mask.length / 8));
  mask.forEach((m, i) => { if (m) bits[i >> 3] |= 128 >> (i % 8); });
  return toBase64(bits);
}

/** The request that the controls stand for. @param {Run} run @param {Record<string, any>} p @param {number} seed @returns {Record<string, any>} */
function requestOf(run, p, seed) {
  const {ask} = TASKS[p.task], own = dropped(run, p), solver = String(p.solver ?? BEST), classes = run.classes && p.label !== NO_CLASS;
  const all = {
    n: p.n, other: p.other, steps: p.length, views: p.views, noise: p.noise, draws: p.draws, nfe: p.nfe,
    solver: solver === BEST ? undefined : solver.startsWith('tuned') ? 'tuned' : solver,
    guidance: classes && run.guided && p.guidance !== 1 ? p.guidance : undefined,
    picture: own ? toBase64(own) : undefined, mask: ask === 'inpaint' ? toBase64(maskOf(run, p, seed)) : undefined,
  };
  if (ask === 'sample' && solver.startsWith('tuned')) all.nfe = Number(solver.slice(6));
  if (ask === 'sample' && server.solvers.some((s) => s.name === solver && s.adaptive)) all.nfe = undefined;
  const takes = /** @type {Record<string, string[]>} */ ({
    sample: ['n', 'solver', 'nfe', 'guidance'], interpolate: ['other', 'steps', 'nfe'], likelihood: ['picture'],
    inpaint: ['picture', 'noise', 'draws', 'nfe', 'mask'], ct: ['picture', 'noise', 'draws', 'nfe', 'views'],
  })[ask];
  const said = Object.fromEntries(Object.entries(all).filter(([name, v]) => takes.includes(name) && v !== undefined));
  return {ask, run: run.name, seed, ...(classes ? {label: Number(p.label.split(' ')[0])} : {}), ...said};
}

/** @param {Record<string, any>} p @returns {Control[]} */
function controlsOf(p) {
  if (!server.runs.length) return [];
  const {run, task} = chosen(p), c = run.class_names;
  const classes = [NO_CLASS, ...Array.from({length: run.classes}, (_, i) => c[i] && c[i] !== String(i) ? `${i} ${c[i]}` : String(i))];
  const solvers = [BEST, ...run.tuned.map((n) => `tuned ${n}`), ...server.solvers.map((s) => s.name)];
  /** @type {Control[]} */
  const all = [
    {name: 'solver', label: 'Solver', kind: 'select', options: solvers, value: BEST, help: 'As on the command line; tuned: what "scorefield tune" kept in the run.'},
    {name: 'nfe', label: 'Evaluations', kind: 'range', min: 2, max: 150, step: 1, value: 30, help: 'Of the network, for each sample. An adaptive solver finds its own.'},
    {name: 'n', label: 'Samples', kind: 'range', min: 1, max: 64, step: 1, value: 25, help: 'Each is a function of the seed and its number: more of them leaves these as they are.'},
    {name: 'other', label: 'Seed of the other end', kind: 'range', min: 0, max: 100, step: 1, value: 1, help: 'Its noise is the other end of the arc.'},
    {name: 'length', label: 'Pictures on the way', kind: 'range', min: 2, max: 16, step: 1, value: 9, help: 'Evenly along the arc, both ends among them.'},
    {name: 'mask', label: 'Hidden', kind: 'select', options: MASKS, value: 'box', help: 'Or paint on the first picture: a stroke that begins on what is hidden uncovers it.'},
    {name: 'views', label: 'Views', kind: 'range', min: 1, max: 60, step: 1, value: 6, help: 'Parallel projections, evenly over half a turn.'},
    {name: 'noise', label: 'Noise of the measurement', kind: 'range', min: 0.002, max: 0.5, log: true, value: 0.02, help: 'Standard deviation; black is 0, white 1.'},
    {name: 'draws', label: 'Draws', kind: 'range', min: 2, max: 16, step: 1, value: 8, help: 'From p(x0 | y); the mean and the spread are theirs.'},
    {name: 'label', label: 'Class', kind: 'select', options: classes, value: NO_CLASS, help: 'What the network is told; none: nothing.'},
    {name: 'guidance', label: 'Guidance', kind: 'range', min: 0, max: 6, step: 0.25, value: 1, help: '0: as without the class; 1: the conditional model itself; more: too much of it.'},
    {name: 'at', label: 'Where on the way', kind: 'range', min: 0, max: 1, step: 0.01, value: 1, help: 'It plays by itself, or scrub.'},
    {name: 'which', label: 'Which sample', kind: 'range', min: 1, max: 8, step: 1, value: 1, help: 'Of the first eight: shown large, and step by step below.'},
    {name: 'choose', label: 'Choose a picture', kind: 'button', press: choose, help: 'Or drop one on the canvas: its middle is made to fit. Until then it is a sample of the run.'},
    {name: 'own', label: 'Take a sample of the run', kind: 'button', press: (app) => { app.params.picture = undefined; }, help: 'In place of a picture of yours.'},
  ];
  const impossible = [...(run.classes ? [] : ['label']), ...(run.guided && p.label && p.label !== NO_CLASS ? [] : ['guidance'])];
  return [
    {name: 'run', label: 'Run', kind: 'select', options: server.runs.map((r) => r.name), value: server.runs[0].name, help: 'Those that "scorefield play" was given.'},
    {name: 'task', label: 'Task', kind: 'select', options: Object.keys(TASKS), value: 'samples', help: 'What the network is used for.'},
    ...all.filter((k) => task.has.includes(k.name) && !impossible.includes(k.name)),
  ];
}

/** @param {import('../app.js').App} app */
function choose(app) {
  const input = Object.assign(document.createElement('input'), {type: 'file', accept: 'image/*'});
  input.addEventListener('change', () => { if (input.files?.[0]) app.instance.read?.(input.files[0]); });
  input.click();
}

/** The instance that is shown, for the canvas's one listener. @type {{stroke: (e: PointerEvent) => void} | undefined} */
let shown;
let listening = false;
let last = {of: '', answer: /** @type {import('../wire.js').Reply | undefined} */ (undefined)};

/** @type {import('../app.js').Scene} */
export const yourModel = {
  id: 'model',
  title: 'Your model',
  text: `
<p>Networks trained on pictures, run by the library on this machine: what comes back is what the same lines of Python give.</p>
<p><b>Samples</b>: each step's <math><msub><mi>x</mi><mi>t</mi></msub></math>, drawn with the data's own mean and spread, beside what the network makes of it,
<math><mrow><mi>E</mi><mo>[</mo><msub><mi>x</mi><mn>0</mn></msub><mo>|</mo><msub><mi>x</mi><mi>t</mi></msub><mo>]</mo></mrow></math>. <b>Interpolation</b>: the arc between two noises, each point
carried to a picture by the probability-flow ODE. <b>Likelihood</b>: the bits that a picture costs under the model, for each grey value, with what may be off
(<a href="https://arxiv.org/abs/2011.13456">Song et al. 2021</a>).</p>
<p><b>Inpainting</b> and <b>sparse-view CT</b>: the picture is measured with noise and forgotten; draws from</p>
<math display="block"><mrow><mi>p</mi><mo>(</mo><msub><mi>x</mi><mn>0</mn></msub><mo>|</mo><mi>y</mi><mo>)</mo><mo>∝</mo><mi>p</mi><mo>(</mo><mi>y</mi><mo>|</mo><msub><mi>x</mi><mn>0</mn></msub><mo>)</mo><mi>p</mi><mo>(</mo><msub><mi>x</mi><mn>0</mn></msub><mo>)</mo></mrow></math>
<p>say what it was, their spread what is not known (<a href="https://arxiv.org/abs/2111.08005">Song et al. 2022</a>, for tomography). All is a function of the seed.</p>`,
  components: false,
  get controls() { return controlsOf(/** @type {any} */ (window).app?.params ?? {}); },
  create(app) {
    const {view, seed} = app, p = app.params;
    /** @type {import('../wire.js').Reply | undefined} */ let answer;
    let said = server.state === 'ready' ? 'Computing.' : server.state, failed = '', done = 0, told = 0, timer = 0, rest = 0; // evaluations so far, and when that was said
    /** @type {Box | undefined} */ let first; // where one paints
    const living = () => app.instance === me, task = () => TASKS[p.task]?.ask, key = () => `${p.run}|${p.task}`;
    if (last.of === key()) answer = last.answer; // until there is a newer one

    /** @param {number} evaluations */
    const progress = (evaluations) => {
      if (performance.now() - told < 1000 || !living()) return;
      [done, told] = [evaluations, performance.now()];
      app.say();
    };
    const ask = async () => {
      if (!server.runs.length || !living()) return;
      const {run} = chosen(p), request = requestOf(run, p, seed);
      [failed, said, done, told] = ['', 'Computing.', 0, performance.now()];
      try {
        if (request.ask === 'likelihood' && run.no_likelihood) throw new Error(`This run has no likelihood: ${run.no_likelihood}.`);
        if (request.mask && new Set(atob(request.mask)).size < 2) throw new Error('The mask must hide a part, neither nothing nor all.');
        app.say();
        app.dirty = true;
        if (request.ask === 'likelihood' && !request.picture) { // of a sample, then
          const {run: name, label} = request, one = await wire.ask({ask: 'sample', run: name, seed, n: 1, label});
          request.picture = toBase64(/** @type {Uint8Array} */ (one.arrays.samples.data));
        }
        const reply = await wire.ask(request, progress);
        if (!living()) return;
        answer = reply;
        last = {of: key(), answer};
        said = '';
        if (app.playing && 'at' in p) p.at = 0;
      } catch (error) {
        if (error instanceof Stale || !living()) return;
        [said, failed] = ['', /** @type {Error} */ (error).message];
      }
      app.changed();
    };
    const soon = () => { clearTimeout(timer); timer = window.setTimeout(ask, 120); };
    const again = () => { // the controls are those of another task
      const at = document.activeElement?.id;
      app.controls();
      if (at) document.getElementById(at)?.focus();
    };

    /** @type {import('../app.js').Instance} */
    const me = {
      tick() {
        if (!answer || !('film_x' in answer.arrays || 'path' in answer.arrays)) return;
        if (p.at < 1) [p.at, rest] = [Number(Math.min(p.at + 0.008, 1).toFixed(3)), 0];
        else if (!app.playing || ++rest > 120) p.at = 0;
        const slider = /** @type {any} */ (document.getElementById('control-at'));
        if (slider) [slider.value, slider.previousElementSibling.textContent] = [p.at, p.at.toFixed(2)];
      },
      changed(name) {
        if (name === undefined || name === 'at' || name === 'which') return;
        if (name === 'run' || name === 'task') answer = undefined;
        if (['run', 'task', 'label'].includes(name)) again();
        if (name !== 'choose') soon();
      },
      async read(file) {
        const {run} = chosen(p), copied = /** @type {HTMLElement} */ (document.getElementById('copied'));
        if (!run) return;
        try {
          const text = toBase64(await readPicture(file, sizeOf(run)));
          if (text.length > SHORT) server.large = text;
          p.picture = text.length > SHORT ? 'large' : text;
          copied.textContent = `${file.name} is taken`;
          if (!TASKS[p.task].has.includes('choose')) { p.task = 'likelihood'; answer = undefined; again(); }
          soon();
        } catch (error) {
          copied.textContent = /** @type {Error} */ (error).message;
        }
      },
      draw() {
        const r = view.ratio;
        first = undefined;
        if (!server.runs.length || !answer) {
          lines(app, failed || EMPTY[said] || said);
          return;
        }
        const {run} = chosen(p), kind = Object.keys(answer.arrays)[0];
        if (kind === 'film_x') film(app, run, answer, p);
        else if (kind === 'path') walk(app, run, answer, p);
        else if (kind === 'picture') bits(app, run, answer);
        else first = posterior(app, run, answer, task() === 'inpaint' ? stroke ?? maskOf(run, p, seed) : null);
        if (said || failed) label(view, failed || said, view.width - 10 * r, view.height - 14 * r, {align: 'right', ink: colour(failed ? 'warn' : 'soft')});
      },
      summary() {
        if (!server.runs.length) return EMPTY[said] ?? `${failed || said}${failed ? '' : ' …'}`;
        const {run} = chosen(p), what = `${run.name}, ${p.task}${run.classes && p.label !== NO_CLASS ? `, class ${p.label}` : ''}.`;
        if (failed) return `${what} ${failed}`;
        if (said) return `${what} ${said}${done ? ` ${done} evaluations so far.` : ''}`;
        return answer ? `${what} ${words(p, answer.said)}` : what;
      },
      python: () => server.runs.length ? code(chosen(p).run, requestOf(chosen(p).run, p, seed)) : NO_RUNS,
      command: () => reopened(app.state, server.runs.map((run) => run.path)),
    };

    /** @type {Uint8Array | undefined} */ let stroke; // the mask while it is painted
    let covers = 1;
    shown = {stroke(e) {
      const {run} = chosen(p);
      if (!first || !run || task() !== 'inpaint') return;
      const box = view.canvas.getBoundingClientRect(), k = view.width / box.width, {w, h} = sizeOf(run);
      const x = ((e.clientX - box.left) * k - first.x) / first.w * w, y = ((e.clientY - box.top) * k - first.y) / first.h * h;
      const inside = x >= 0 && y >= 0 && x < w && y < h;
      if (e.type === 'pointerdown' && inside) {
        stroke = maskOf(run, p, seed);
        covers = 1 - stroke[Math.floor(y) * w + Math.floor(x)];
      }
      if (!stroke) return;
      const reach = Math.max(0.75, Math.max(w, h) / 24);
      for (let i = 0; i < w * h; i++) if (Math.hypot(i % w + 0.5 - x, Math.floor(i / w) + 0.5 - y) <= reach) stroke[i] = covers;
      app.dirty = true;
      if (e.type === 'pointerup' || e.type === 'pointercancel') {
        [p.painted, p.mask] = [packed(stroke), 'painted'];
        stroke = undefined;
        again();
        app.changed('mask');
      }
    }};
    if (!listening) {
      listening = true;
      for (const type of ['pointerdown', 'pointermove', 'pointerup', 'pointercancel']) {
        view.canvas.addEventListener(type, (e) => { if (app.scene.id === 'model') shown?.stroke(/** @type {PointerEvent} */ (e)); });
      }
    }
    if (server.state === 'ready') setTimeout(ask);
    else if (Wire.possible) {
      wire.ask({ask: 'runs'}).then(({said: {runs, solvers}}) => {
        Object.assign(server, {runs, solvers, state: runs.length ? 'ready' : 'no runs'});
        said = server.state;
        if (app.scene.id !== 'model') return;
        app.controls();
        if (living()) { app.changed(); ask(); } else app.restart();
      }).catch((error) => { failed = error.message; app.changed(); });
    }
    return me;
  },
};

/** The answer in words, with its numbers. @param {Record<string, any>} p @param {Record<string, any>} s */
function words(p, s) {
  const cost = `${s.evaluations} calls of the network, ${s.seconds.toFixed(1)} s.`, notes = s.notes.length ? `\nNote: ${s.notes.join(' ')}` : '';
  const number = (/** @type {number | null} */ v, /** @type {number} */ digits) => v === null ? 'unknown' : v.toFixed(digits);
  /** @type {Record<string, () => string>} */
  const of = {
    sample: () => `${s.solver}, ${s.nfe} evaluations a sample; the grey values of sample 1 add up to ${s.grey}.${s.bias === null ? '' : ` The steps alone make Gaussian data ${number(s.bias, 4)} times as wide.`}`,
    interpolate: () => `${s.nfe} evaluations; the grey values of the first add up to ${s.grey}. Distances on the way, in the data's sd: ${s.apart.map((/** @type {number | null} */ v) => number(v, 2)).join(', ')}.`,
    likelihood: () => `${number(s.bits, 6)} bits per dimension, 95%: ${number(s.low, 3)} to ${number(s.high, 3)} (probes ${number(s.probe, 3)}, solver ${number(s.solver, 4)}, ends ${number(s.truncation, 4)}). All grey values alike: ${number(s.uniform, 3)}.`,
    inpaint: () => measured(s), ct: () => measured(s),
  };
  return `${of[TASKS[p.task].ask]()} ${cost}${notes}`;
}

/** @param {Record<string, any>} s */
const measured = (s) => `${s.measured} numbers measured; ${s.method}, ${s.nfe} evaluations a draw. PSNR of the mean ${s.psnr?.toFixed(4) ?? 'unknown'} dB (of one draw ${s.psnr_of_a_sample?.toFixed(1) ?? 'unknown'}); mean sd ${s.sd?.toFixed(6) ?? 'unknown'}; χ² / numbers ${s.chi2?.toFixed(2) ?? 'unknown'}.`;
