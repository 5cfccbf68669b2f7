// @ts-check
/** Everything that is on the screen, as one value that lives in the URL's hash; and the densities one can start from. */

import {covarianceOf} from './draw.js';

/** @typedef {import('./exact.js').Component} Component */
/** @typedef {{scene: string, seed: number, speed: number, components: Component[], params: Record<string, any>}} State */

export const MOST = 500; // components: more than a few are points or paint

/** @param {number} w @param {number} x @param {number} y @param {number} a @param {number} b @param {number} [degrees] @returns {Component} */
const component = (w, x, y, a, b, degrees = 0) => ({w, m: [x, y], c: covarianceOf(a, b, degrees * Math.PI / 180)});

/** One of the library's eight Gaussians. @param {number} w @param {number} i */
const eighth = (w, i) => component(w, Math.SQRT2 * Math.cos(i * Math.PI / 4), Math.SQRT2 * Math.sin(i * Math.PI / 4), 0.1, 0.1);

/** @type {Record<string, Component[]>} */
export const PRESETS = {
  'three blobs': [component(0.5, 1, 0.3, 0.35, 0.2, 30), component(0.3, -0.9, 0.8, 0.45, 0.3, -40), component(0.2, -0.2, -1.2, 0.15, 0.5)],
  'two modes, far apart': [component(0.8, 1.8, 0, 0.25, 0.25), component(0.2, -1.8, 0, 0.25, 0.25)],
  'eight Gaussians': Array.from({length: 8}, (_, i) => eighth(1 / 8, i)),
  'eight, of unequal weights': Array.from({length: 8}, (_, i) => eighth((i + 1) / 36, i)),
  'two moons': [0, 1].flatMap((half) => Array.from({length: 10}, (_, i) => {
    const angle = Math.PI * (i + 0.5) / 10, s = half ? -1 : 1;
    return component(1 / 20, s * Math.cos(angle) - (half ? -0.5 : 0.5), s * Math.sin(angle) + (half ? 0.25 : -0.25), 0.16, 0.07,
      (angle * 180 / Math.PI) + 90);
  })),
  'one ring': Array.from({length: 24}, (_, i) => {
    const angle = 2 * Math.PI * i / 24;
    return component(1 / 24, 1.5 * Math.cos(angle), 1.5 * Math.sin(angle), 0.2, 0.06, angle * 180 / Math.PI + 90);
  }),
  'one Gaussian': [component(1, 0, 0, 1, 0.4, 25)],
};

/** @returns {State} */
export const fresh = () => ({scene: 'field', seed: 0, speed: 2, components: PRESETS['three blobs'], params: {}});

/** Numbers as one would write them. @param {any} value */
const rounded = (value) => JSON.parse(JSON.stringify(value, (_, v) => typeof v === 'number' ? Number(v.toPrecision(12)) : v));

/** @param {Component[]} components */
export const rowsOf = (components) => components.map(({w, m, c}) => [w, ...m, ...c]);

/** The components that rows stand for: those that are any. @param {any} rows @returns {Component[]} */
export function componentsOf(rows) {
  if (!Array.isArray(rows)) return [];
  const good = rows.filter((r) => Array.isArray(r) && r.length === 6 && r.every(Number.isFinite) && valid(r[0], [r[3], r[4], r[5]]));
  return good.slice(0, MOST).map((r) => ({w: r[0], m: [r[1], r[2]], c: [r[3], r[4], r[5]]}));
}

/** @param {State} state */
export function toHash(state) {
  const c = rounded(rowsOf(state.components));
  return '#' + new URLSearchParams({
    scene: state.scene, seed: String(state.seed), speed: String(state.speed), components: JSON.stringify(c), params: JSON.stringify(rounded(state.params)),
  });
}

/** The state a hash stands for: what it does not say, or says wrongly, is as in a fresh one.
 * @param {string} hash @param {string[]} scenes @returns {State} */
export function fromHash(hash, scenes) {
  const state = fresh(), said = new URLSearchParams(hash.replace(/^#/, ''));
  if (scenes.includes(said.get('scene') ?? '')) state.scene = /** @type {string} */ (said.get('scene'));
  const seed = Number(said.get('seed')), speed = Number(said.get('speed') ?? 2);
  if (Number.isInteger(seed) && seed >= 0 && seed < 2 ** 32) state.seed = seed;
  if ([0, 1, 2, 3, 4].includes(speed)) state.speed = speed;
  try {
    const components = componentsOf(JSON.parse(said.get('components') ?? 'null'));
    if (components.length) state.components = components;
    const params = JSON.parse(said.get('params') ?? 'null');
    if (params && typeof params === 'object' && !Array.isArray(params)) state.params = params;
  } catch { /* not ours: as in a fresh one */ }
  return state;
}

/** @param {number} w @param {[number, number, number]} c */
const valid = (w, c) => w > 0 && c[0] > 0 && c[2] > 0 && c[0] * c[2] - c[1] ** 2 > 1e-12;

/** The points of a text of two columns (a header and other columns are passed over), or what is wrong with it.
 * @param {string} text @returns {{points: [number, number][], error?: string}} */
export function readPoints(text) {
  /** @type {[number, number][]} */
  const points = [];
  for (const row of text.split(/\r?\n/)) {
    const numbers = row.split(/[,;\t ]+/).filter((v) => v !== '').map(Number);
    if (numbers.length >= 2 && numbers.slice(0, 2).every(Number.isFinite)) points.push([numbers[0], numbers[1]]);
  }
  if (points.length < 2) return {points: [], error: 'expected rows of two numbers, x and y; found ' + points.length};
  return {points};
}

/** The kernel density of points, exact: a Gaussian on each, as wide as Scott's rule says, in units that fit the picture.
 * @param {[number, number][]} points @returns {{components: Component[], said: string}} */
export function kernelDensity(points) {
  const kept = points.length > MOST ? Array.from({length: MOST}, (_, i) => points[Math.floor(i * points.length / MOST)]) : points;
  const mean = [0, 1].map((j) => kept.reduce((s, p) => s + p[j], 0) / kept.length);
  const scale = Math.sqrt(kept.reduce((s, p) => s + (p[0] - mean[0]) ** 2 + (p[1] - mean[1]) ** 2, 0) / kept.length / 2) || 1;
  const h = kept.length ** (-1 / 6);
  const components = kept.map((p) => component(1 / kept.length, (p[0] - mean[0]) / scale, (p[1] - mean[1]) / scale, h, h));
  const cut = kept.length < points.length ? `${kept.length} of ${points.length} points` : `${points.length} points`;
  return {components, said: `${cut}, centred and divided by ${scale.toPrecision(3)}; kernels of standard deviation ${h.toPrecision(2)}`};
}

/** As Python. @param {Component[]} components */
export function mixtureCode(components) {
  const list = (/** @type {number[]} */ v) => `[${v.map((n) => Number(n.toPrecision(12))).join(', ')}]`;
  const rows = (/** @type {number[][]} */ v) => `[${v.map(list).join(', ')}]`;
  return [
    'import torch', 'import scorefield as sf', '', 'f64 = torch.float64',
    `weights = torch.tensor(${list(components.map((k) => k.w))}, dtype=f64)`,
    `means = torch.tensor(${rows(components.map((k) => k.m))}, dtype=f64)`,
    `xx, xy, yy = torch.tensor(${rows(components.map((k) => k.c))}, dtype=f64).T`,
    'covariances = torch.stack([torch.stack([xx, xy], -1), torch.stack([xy, yy], -1)], -1)',
    'law = sf.GaussianMixture(weights / weights.sum(), means, covariances)',
  ].join('\n');
}
