// @ts-check
/** The page: one state, one canvas, one scene at a time. Scenes say what they are (see `Scene`); this file is the rest. */

import {denoiser, field} from './exact.js';
import {View, axesOf, colour, covarianceOf, ellipses} from './draw.js';
import {BATCH, learned, train, untrained} from './learn.js';
import {MOST, PRESETS, componentsOf, fromHash, kernelDensity, readPoints, rowsOf, toHash} from './state.js';
import {reopened} from './python.js';
import {SCENES} from './scenes/index.js';

/** @typedef {import('./exact.js').Component} Component */
/** @typedef {{name: string, label: string, help?: string, kind: 'range', min: number, max: number, step?: number, log?: boolean, value: number, unit?: string}} Range */
/** @typedef {{name: string, label: string, help?: string, kind: 'select', options: string[], value: string}} Select */
/** @typedef {{name: string, label: string, help?: string, kind: 'toggle', value: boolean}} Toggle */
/** @typedef {{name: string, label: string, help?: string, kind: 'button', press: (app: App) => void}} Button */
/** @typedef {Range | Select | Toggle | Button} Control */
/** @typedef {import('./learn.js').Learned} Learned */
/**
 * What a scene is; `learned` says that it takes the learned field. `create` is called when it is shown, and again on reset; the instance draws, and moves if it can.
 * @typedef {{id: string, title: string, text: string, controls: Control[], components?: boolean, learned?: boolean, create: (app: App) => Instance}} Scene
 * @typedef {{draw: () => void, tick?: () => void, changed?: (name?: string) => void, summary: () => string, chart?: () => string,
 *   hover?: (x: number, y: number) => string, read?: (file: File) => void, python: () => string, command?: () => string}} Instance  `command` is '' where none does more than open the page
 */

const $ = (/** @type {string} */ id) => /** @type {any} */ (document.getElementById(id));

export class App {
  constructor() {
    this.view = new View($('canvas'));
    this.chartView = new View($('chart'));
    this.state = fromHash(location.hash, SCENES.map((s) => s.id));
    this.playing = !matchMedia('(prefers-reduced-motion: reduce)').matches;
    this.chosen = -1;
    this.painting = false;
    this.frames = /** @type {number[]} */ ([]); // milliseconds of work of the latest frames: what the tests read
    this.dirty = true;
    this.count = this.said = 0; // frames, and when the summary was last said
    /** @type {Learned | undefined} */ this.learned = undefined; // by scene `train`, or for one that asks for it
    /** @type {Learned | undefined} */ this.learning = undefined;
    this.painted = /** @type {Component[]} */ ([]);
    /** @type {Scene} */ this.scene = SCENES[0];
    /** @type {Instance} */ this.instance = {draw: () => {}, summary: () => '', python: () => ''};
  }

  get components() { return this.state.components; }
  get seed() { return this.state.seed; }
  /** Whether scenes show the field that was learned in `train`. */
  get usesLearned() { return Boolean(this.learned && this.state.params.train?.use); }
  /** E[x0 | x_t], exact or learned. @returns {import('./exact.js').Denoise} */
  get denoise() { return this.usesLearned && this.learned ? learned(this.learned.net) : denoiser(this.components); }

  /** The score, exact or learned; where it is learned at the smallest noise it knows, if there is less.
   * @param {import('./exact.js').Level} level @param {Float64Array} x */
  score(level, x) {
    return this.usesLearned ? this.learnedScore(level, x) : field(this.components, level, x).score;
  }

  /** @param {import('./exact.js').Level} level @param {Float64Array} x */
  learnedScore(level, x) {
    const {net} = /** @type {Learned} */ (this.learned), at = {alpha: level.alpha, sigma: Math.max(level.sigma, 0.03 * net.data)};
    return learned(net)(x, at).map((v, i) => (at.alpha * v - x[i]) / at.sigma ** 2);
  }

  /** Has the scenes follow a learned field: the one there is if it is of this density, or one trained first. */
  useLearned() {
    this.state.params.train = {...this.state.params.train, use: true};
    delete this.state.params.train.of;
    if (this.learned && !same(this.learned.components, this.components)) this.learned = undefined;
    this.restart();
  }

  /** Trains the network that the state speaks of, as many steps as scene `train` had made, some at a time. */
  learnFirst() {
    const said = this.state.params.train, {of} = said, objective = said.objective === 'explicit' ? 'explicit' : 'denoising'; // perhaps by a stranger's link
    const width = between(said.width, 8, 96, 48), steps = between(said.steps, 0, 50000, 1500), on = componentsOf(of?.[1]);
    const seed = on.length && Number.isInteger(of[0]) ? of[0] : this.seed, components = on.length ? on : this.components;
    const begun = untrained(width, objective, seed, components);
    if (this.learning?.key === begun.key) return;
    this.learning = begun;
    const more = () => {
      if (this.learning !== begun) return;
      if (!this.state.params.train?.use) { this.learning = undefined; return; }
      for (const t = performance.now(); begun.net.step < steps && performance.now() - t < 30;) train(begun.net, components, objective, seed, BATCH);
      if (begun.net.step < steps) {
        this.say();
        setTimeout(more);
        return;
      }
      [this.learned, this.learning] = [begun, undefined];
      this.restart();
    };
    setTimeout(more);
  }

  /** The values of the scene's controls. @returns {Record<string, any>} */
  get params() { return this.state.params[this.scene.id] ??= {}; }

  begin() {
    $('scenes').replaceChildren(...SCENES.map((s) => {
      const item = document.createElement('li'), link = document.createElement('a');
      link.href = `#scene=${s.id}`;
      link.textContent = s.title;
      link.dataset.scene = s.id;
      link.addEventListener('click', (e) => { e.preventDefault(); this.show(s.id); });
      item.append(link);
      return item;
    }));
    $('preset').replaceChildren(...Object.keys(PRESETS).map((name) => new Option(name)));
    $('preset').addEventListener('change', () => this.setComponents(PRESETS[$('preset').value]));
    this.theme(localStorageSafe('theme') ?? (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light'));
    $('theme').addEventListener('click', () => this.theme(document.documentElement.dataset.theme === 'dark' ? 'light' : 'dark', true));
    $('play').addEventListener('click', () => this.play(!this.playing));
    $('step').addEventListener('click', () => { this.play(false); this.tick(); });
    $('reset').addEventListener('click', () => this.restart());
    $('seed').addEventListener('change', () => {
      const seed = Math.min(Math.max(Math.round(Number($('seed').value)) || 0, 0), 2 ** 32 - 1);
      $('seed').value = this.state.seed = seed;
      this.restart();
    });
    $('speed').addEventListener('input', () => { this.state.speed = Number($('speed').value); this.save(); });
    $('add').addEventListener('click', () => {
      if (this.components.length >= MOST) return;
      this.chosen = this.components.length;
      const share = this.components.reduce((s, k) => s + k.w, 0) / this.components.length;
      this.setComponents([...this.components, {w: share, m: [0, 0], c: [0.09, 0, 0.09]}]);
    });
    $('paint').addEventListener('click', () => {
      this.painting = !this.painting;
      $('paint').setAttribute('aria-pressed', String(this.painting));
    });
    $('csv').addEventListener('change', () => $('csv').files[0] && this.read($('csv').files[0]));
    $('copy-python').addEventListener('click', () => this.copy(this.instance.python(), 'Python copied'));
    $('copy-command').addEventListener('click', () => this.copy(this.command(), 'Command copied'));
    $('copy-link').addEventListener('click', () => this.copy(location.href, 'Link copied'));
    this.pointer();
    window.addEventListener('hashchange', () => {
      if (location.hash === toHash(this.state)) return;
      this.state = fromHash(location.hash, SCENES.map((s) => s.id));
      this.show(this.state.scene);
    });
    new ResizeObserver(() => { this.dirty = true; }).observe($('canvas'));
    this.show(this.state.scene);
    this.play(this.playing);
    requestAnimationFrame(() => this.frame());
  }

  /** @param {string} theme @param {boolean} [keep] */
  theme(theme, keep = false) {
    document.documentElement.dataset.theme = theme;
    $('theme').setAttribute('aria-pressed', String(theme === 'dark'));
    if (keep) localStorageSafe('theme', theme);
    this.dirty = true;
  }

  /** @param {string} id */
  show(id) {
    this.scene = SCENES.find((s) => s.id === id) ?? SCENES[0];
    this.state.scene = this.scene.id;
    for (const link of document.querySelectorAll('#scenes a')) {
      if (/** @type {HTMLElement} */ (link).dataset.scene === this.scene.id) link.setAttribute('aria-current', 'page');
      else link.removeAttribute('aria-current');
    }
    $('title').textContent = this.scene.title;
    $('text').innerHTML = this.scene.text; // written by us, in scenes/
    for (const link of $('text').querySelectorAll('a')) Object.assign(link, {target: '_blank', rel: 'noopener noreferrer'});
    $('density').hidden = this.scene.components === false;
    $('seed').value = this.state.seed;
    $('speed').value = this.state.speed;
    this.controls();
    this.table();
    this.restart();
  }

  restart() {
    if (this.scene.learned && this.state.params.train?.use && !this.learned) this.learnFirst();
    this.instance = this.scene.create(this);
    $('canvas').setAttribute('aria-label', this.scene.title);
    $('chart').setAttribute('aria-label', `Chart: ${this.scene.title}`);
    $('play').disabled = $('step').disabled = !this.instance.tick;
    this.changed();
  }

  /** Something the scene shows has changed. @param {string} [name] */
  changed(name) {
    if (name !== undefined) this.instance.changed?.(name);
    this.dirty = true;
    this.save();
    this.say();
  }

  save() {
    const {learned, state} = this;
    if (learned && this.usesLearned) { // what it was trained on, where that is not what is on the screen
      if (learned.seed === this.seed && same(learned.components, this.components)) delete state.params.train.of;
      else state.params.train.of = [learned.seed, rowsOf(learned.components)];
    }
    const hash = toHash(this.state);
    if (location.hash !== hash) history.replaceState(null, '', hash);
  }

  say() {
    const whose = this.usesLearned && this.scene.learned ? 'The field is the learned one. '
      : this.learning && this.scene.learned ? `Training a network first, step ${this.learning.net.step}; until then the field is the exact one. ` : '';
    $('summary').textContent = whose + this.instance.summary();
    $('python').textContent = this.instance.python();
    $('command').textContent = this.command();
    $('chart').hidden = $('chart-summary').hidden = !this.instance.chart;
    if (this.instance.chart) $('chart-summary').textContent = this.instance.chart();
  }

  command() { return this.instance.command?.() || reopened(this.state); }

  /** @param {boolean} on */
  play(on) {
    this.playing = on;
    $('play').textContent = on ? 'Pause' : 'Play';
  }

  tick() {
    this.instance.tick?.();
    this.dirty = true;
  }

  frame() {
    const begun = performance.now();
    if (this.playing && this.instance.tick) {
      const speed = this.state.speed;
      this.count++;
      if (speed >= 2 || this.count % (speed === 1 ? 3 : 10) === 0) for (let k = 0; k < (speed > 2 ? 2 ** (speed - 2) : 1); k++) this.tick();
    }
    if (this.view.fit()) this.dirty = true;
    if (this.dirty) {
      this.dirty = false;
      this.view.clear();
      this.instance.draw();
      this.frames.push(performance.now() - begun);
      if (this.frames.length > 600) this.frames.shift();
    }
    const now = performance.now();
    if (now - this.said > 500) {
      this.said = now;
      if (this.playing && this.instance.tick) this.say();
    }
    requestAnimationFrame(() => this.frame());
  }

  // ---- controls

  controls() {
    const form = $('controls');
    form.onsubmit = (/** @type {Event} */ e) => e.preventDefault();
    form.replaceChildren(...this.scene.controls.map((c) => this.control(c)));
    form.parentElement.hidden = !this.scene.controls.length;
  }

  /** @param {Control} c */
  control(c) {
    const row = document.createElement('div'), id = `control-${c.name}`;
    row.className = 'control';
    if (c.kind === 'button') {
      const button = document.createElement('button');
      button.type = 'button';
      button.id = id;
      button.textContent = c.label;
      button.addEventListener('click', () => { c.press(this); this.controls(); this.changed(c.name); });
      row.append(button);
    } else {
      const label = document.createElement('label');
      label.htmlFor = id;
      label.textContent = c.label;
      if (!(c.name in this.params) || !admitted(c, this.params[c.name])) this.params[c.name] = c.value;
      if (c.kind === 'range') {
        const input = document.createElement('input'), shown = document.createElement('output');
        const to = (/** @type {number} */ v) => c.log ? Math.log(v) : v, from = (/** @type {number} */ v) => c.log ? Math.exp(v) : v;
        Object.assign(input, {type: 'range', id, min: to(c.min), max: to(c.max), step: c.log ? (to(c.max) - to(c.min)) / 200 : c.step ?? (c.max - c.min) / 200});
        input.value = String(to(this.params[c.name]));
        const say = () => {
          shown.textContent = `${Number(this.params[c.name].toPrecision(3))}${c.unit ?? ''}`;
          input.setAttribute('aria-valuetext', shown.textContent);
        };
        shown.htmlFor.add(id);
        say();
        input.addEventListener('input', () => {
          const v = from(Number(input.value));
          this.params[c.name] = c.step ? v : Number(v.toPrecision(4));
          say();
          this.changed(c.name);
        });
        row.append(label, shown, input);
      } else if (c.kind === 'select') {
        const input = document.createElement('select');
        input.id = id;
        input.replaceChildren(...c.options.map((o) => new Option(o)));
        input.value = this.params[c.name];
        input.addEventListener('change', () => { this.params[c.name] = input.value; this.changed(c.name); });
        row.append(label, input);
      } else {
        const input = document.createElement('input');
        Object.assign(input, {type: 'checkbox', id, checked: this.params[c.name]});
        input.addEventListener('change', () => { this.params[c.name] = input.checked; this.changed(c.name); });
        row.append(label, input);
      }
    }
    if (c.help) {
      const help = document.createElement('p');
      help.className = 'help';
      help.id = `${id}-help`;
      help.textContent = c.help;
      row.querySelector('input, select, button')?.setAttribute('aria-describedby', help.id);
      row.append(help);
    }
    return row;
  }

  // ---- components

  /** @param {Component[]} components */
  setComponents(components) {
    this.state.components = components;
    if (this.chosen >= components.length) this.chosen = -1;
    this.table();
    this.changed('components');
  }

  table() {
    const body = $('components').querySelector('tbody');
    if (this.components.length > 30) {
      body.innerHTML = `<tr><td colspan="7">${this.components.length} components: points, or paint</td></tr>`;
      return;
    }
    const total = this.components.reduce((s, k) => s + k.w, 0);
    body.replaceChildren(...this.components.map((k, i) => {
      const {a, b, turn} = axesOf(k.c), row = document.createElement('tr');
      row.classList.toggle('chosen', i === this.chosen);
      /** @type {[string, number, number, (v: number) => Component | null][]} */
      const cells = [
        ['weight', k.w / total, 0.01, (v) => v > 0 ? {...k, w: v * total} : null],
        ['x', k.m[0], 0.05, (v) => ({...k, m: [v, k.m[1]]})],
        ['y', k.m[1], 0.05, (v) => ({...k, m: [k.m[0], v]})],
        ['sd 1', a, 0.02, (v) => v > 0.005 ? {...k, c: covarianceOf(v, b, turn)} : null],
        ['sd 2', b, 0.02, (v) => v > 0.005 ? {...k, c: covarianceOf(a, v, turn)} : null],
        ['turn', turn * 180 / Math.PI, 5, (v) => ({...k, c: covarianceOf(a, b, v * Math.PI / 180)})],
      ];
      for (const [name, value, step, put] of cells) {
        const cell = document.createElement('td'), input = document.createElement('input');
        Object.assign(input, {type: 'number', step, value: Number(value.toFixed(3))});
        input.setAttribute('aria-label', `${name} of component ${i + 1}`);
        input.addEventListener('focus', () => {
          this.chosen = i;
          body.querySelectorAll('tr').forEach((/** @type {Element} */ r, /** @type {number} */ j) => r.classList.toggle('chosen', j === i));
          this.dirty = true;
        });
        input.addEventListener('change', () => {
          const v = Number(input.value), next = Number.isFinite(v) ? put(v) : null;
          if (!next) { input.value = String(Number(value.toFixed(3))); return; }
          this.state.components = this.components.map((old, j) => j === i ? next : old);
          this.changed('components');
        });
        cell.append(input);
        row.append(cell);
      }
      const cell = document.createElement('td'), remove = document.createElement('button');
      remove.type = 'button';
      remove.textContent = '×';
      remove.setAttribute('aria-label', `Remove component ${i + 1}`);
      remove.disabled = this.components.length < 2;
      remove.addEventListener('click', () => this.setComponents(this.components.filter((_, j) => j !== i)));
      cell.append(remove);
      row.append(cell);
      return row;
    }));
  }

  /** @param {File} file */
  async read(file) {
    if (file.size > 5e6) { $('copied').textContent = `${file.name} is larger than 5 MB`; return; }
    const {points, error} = readPoints(await file.text());
    if (error) { $('copied').textContent = `${file.name}: ${error}`; return; }
    const {components, said} = kernelDensity(points);
    $('copied').textContent = `${file.name}: ${said}`;
    this.setComponents(components);
  }

  pointer() {
    const canvas = $('canvas');
    let held = -1, painted = 0;
    const near = (/** @type {[number, number]} */ [x, y]) => {
      if (this.scene.components === false || this.components.length > 30) return -1;
      let best = -1, least = 24 * (this.view.ratio) / this.view.scale;
      this.components.forEach((k, i) => {
        const d = Math.hypot(k.m[0] - x, k.m[1] - y);
        if (d < least) [best, least] = [i, d];
      });
      return best;
    };
    const move = (/** @type {number} */ i, /** @type {[number, number]} */ m) => {
      this.state.components = this.components.map((k, j) => j === i ? {...k, m} : k);
      this.changed('components');
    };
    canvas.addEventListener('pointerdown', (/** @type {PointerEvent} */ e) => {
      const p = this.view.at(e);
      canvas.setPointerCapture(e.pointerId);
      if (this.painting) { held = -2; painted = 0; return; }
      held = this.chosen = near(p);
      this.table();
      this.dirty = true;
    });
    canvas.addEventListener('pointermove', (/** @type {PointerEvent} */ e) => {
      const p = this.view.at(e);
      $('hover').textContent = this.instance.hover?.(...p) ?? '';
      if (held >= 0) move(held, p);
      if (held === -2 && performance.now() - painted > 40 && this.components.length < MOST) {
        painted = performance.now();
        this.painted = [...this.painted, {w: 1, m: p, c: /** @type {[number, number, number]} */ ([0.02, 0, 0.02])}];
        this.state.components = this.painted.map((k) => ({...k, w: 1 / this.painted.length}));
        this.changed('components');
      }
    });
    canvas.addEventListener('pointerleave', () => { $('hover').textContent = ''; });
    canvas.addEventListener('pointerup', () => { held = -1; this.table(); });
    canvas.addEventListener('keydown', (/** @type {KeyboardEvent} */ e) => {
      const step = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1]}[e.key];
      if (e.key === ' ') { e.preventDefault(); this.play(!this.playing); }
      if (e.key === 'n' && this.components.length <= 30 && this.scene.components !== false) {
        this.chosen = (this.chosen + 1) % this.components.length;
        this.table();
        this.dirty = true;
      }
      if (step && this.chosen >= 0) {
        e.preventDefault();
        const [x, y] = this.components[this.chosen].m;
        move(this.chosen, [x + 0.05 * step[0], y + 0.05 * step[1]]);
        this.table();
      }
    });
    canvas.addEventListener('dragover', (/** @type {DragEvent} */ e) => e.preventDefault());
    canvas.addEventListener('drop', (/** @type {DragEvent} */ e) => {
      e.preventDefault();
      const file = e.dataTransfer?.files[0];
      if (file) (this.instance.read ?? this.read).call(this, file);
    });
  }

  /** The components as they are drawn in most scenes. @param {{alpha: number, sigma: number}} [level] */
  outline(level = {alpha: 1, sigma: 0}) {
    if (this.components.length <= 30) ellipses(this.view, this.components, level, this.chosen);
  }

  /** @param {string} text @param {string} said */
  async copy(text, said) {
    try {
      await navigator.clipboard.writeText(text);
      $('copied').textContent = said;
    } catch {
      $('copied').textContent = 'Copying is not allowed here: the code is below.';
    }
  }
}

/** A whole number between two, or what it is otherwise. @param {any} v @param {number} low @param {number} high @param {number} otherwise */
const between = (v, low, high, otherwise) => Number.isInteger(v) && v >= low && v <= high ? v : otherwise;

/** @param {Component[]} a @param {Component[]} b */
const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

/** @param {Control} c @param {any} v */
function admitted(c, v) {
  if (c.kind === 'range') return typeof v === 'number' && v >= c.min && v <= c.max;
  return c.kind === 'select' ? c.options.includes(v) : typeof v === 'boolean';
}

/** @param {string} name @param {string} [value] */
function localStorageSafe(name, value) {
  try {
    if (value !== undefined) localStorage.setItem(name, value);
    return localStorage.getItem(name);
  } catch {
    return null; // no storage for file:// in some browsers
  }
}

/** @type {any} */ (window).app = new App();
/** @type {any} */ (window).app.begin();
