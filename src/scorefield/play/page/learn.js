// @ts-check
/**
 * A small network that learns the score in the page: two hidden layers of silu units on (c_in x, log s / 4), EDM's
 * parameterisation, Adam. Backward passes are written out; tests/play holds them to torch's.
 */

import {draws, field, moments, normals, uniforms} from './exact.js';

/** @typedef {{width: number, data: number, w: Float64Array[], b: Float64Array[], m: Float64Array[], v: Float64Array[], step: number}} Net */

/** A network, what it was trained on, and by what. @typedef {{key: string, net: Net, components: import('./exact.js').Component[], seed: number, objective: string}} Learned */

export const BATCH = 192;
const INPUTS = 3, OUTPUTS = 2, RATE = 2e-3;

/** @param {number} width @param {number} data standard deviation @param {number} seed @returns {Net} */
export function network(width, data, seed) {
  const sizes = [[INPUTS, width], [width, width], [width, OUTPUTS]];
  const w = sizes.map(([a, b], k) => {
    const z = normals(seed, 0, Math.ceil(a * b / 2), 1000 + k).subarray(0, a * b);
    return k === 2 ? new Float64Array(a * b) : z.map((v) => v * Math.sqrt(2 / a));
  });
  const b = sizes.map(([, n]) => new Float64Array(n)), zeros = () => [...w, ...b].map((p) => new Float64Array(p.length));
  return {width, data, w, b, m: zeros(), v: zeros(), step: 0};
}

/** One that has not begun, for that density. @param {number} width @param {string} objective @param {number} seed
 * @param {import('./exact.js').Component[]} components @returns {Learned} */
export const untrained = (width, objective, seed, components) => ({
  key: JSON.stringify([seed, width, objective, components]), net: network(width, moments(components).std, seed), components, seed, objective,
});

/** EDM's coefficients at a noise ratio s. @param {number} s @param {number} sd */
function scales(s, sd) {
  const n = Math.hypot(s, sd);
  return {skip: sd * sd / (n * n), out: s * sd / n, into: 1 / n, level: Math.log(s) / 4};
}

/** y = x W + b, row by row. @param {Float64Array} x @param {Float64Array} w @param {Float64Array} b @param {number} a */
function dense(x, w, b, a) {
  const n = x.length / a, c = b.length, y = new Float64Array(n * c);
  for (let i = 0; i < n; i++) {
    y.set(b, i * c);
    for (let k = 0; k < a; k++) {
      const v = x[i * a + k];
      if (v !== 0) for (let j = 0; j < c; j++) y[i * c + j] += v * w[k * c + j];
    }
  }
  return y;
}

const sigmoid = (/** @type {number} */ v) => 1 / (1 + Math.exp(-v));

/** The network's output for inputs (n, 3), and what its derivatives need. @param {Net} net @param {Float64Array} input */
function forward(net, input) {
  const h1 = dense(input, net.w[0], net.b[0], INPUTS), a1 = h1.map((v) => v * sigmoid(v));
  const h2 = dense(a1, net.w[1], net.b[1], net.width), a2 = h2.map((v) => v * sigmoid(v));
  return {h1, a1, h2, a2, out: dense(a2, net.w[2], net.b[2], net.width)};
}

/** E[x0 | x_t] as the network has it, of x at a level. @param {Net} net @returns {import('./exact.js').Denoise} */
export const learned = (net) => (x, {alpha, sigma}) => {
  if (alpha === 0 || sigma === 0) return alpha === 0 ? new Float64Array(x.length) : x.map((v) => v / alpha);
  const c = scales(sigma / alpha, net.data), n = x.length / 2, input = new Float64Array(3 * n);
  for (let i = 0; i < n; i++) input.set([c.into * x[2 * i] / alpha, c.into * x[2 * i + 1] / alpha, c.level], 3 * i);
  const {out} = forward(net, input);
  return out.map((v, i) => c.skip * x[i] / alpha + c.out * v);
};

/** The gradients of mean_i |F(input_i) - target_i|^2 in the weights, and that mean.
 * @param {Net} net @param {Float64Array} input @param {Float64Array} target */
export function gradients(net, input, target) {
  const {h1, a1, h2, a2, out} = forward(net, input), n = target.length / OUTPUTS, W = net.width;
  let loss = 0;
  const d3 = out.map((v, i) => { loss += (v - target[i]) ** 2; return 2 * (v - target[i]) / n; });
  const back = (/** @type {Float64Array} */ d, /** @type {Float64Array} */ below, /** @type {Float64Array} */ w, /** @type {number} */ a, /** @type {number} */ c) => {
    const gw = new Float64Array(w.length), gb = new Float64Array(c), gx = new Float64Array(n * a);
    for (let i = 0; i < n; i++) {
      for (let j = 0; j < c; j++) gb[j] += d[i * c + j];
      for (let k = 0; k < a; k++) {
        let sum = 0;
        const v = below[i * a + k];
        for (let j = 0; j < c; j++) {
          gw[k * c + j] += v * d[i * c + j];
          sum += w[k * c + j] * d[i * c + j];
        }
        gx[i * a + k] = sum;
      }
    }
    return {gw, gb, gx};
  };
  const silu = (/** @type {Float64Array} */ g, /** @type {Float64Array} */ h) => g.map((v, i) => { const s = sigmoid(h[i]); return v * s * (1 + h[i] * (1 - s)); });
  const third = back(d3, a2, net.w[2], W, OUTPUTS), second = back(silu(third.gx, h2), a1, net.w[1], W, W), first = back(silu(second.gx, h1), input, net.w[0], INPUTS, W);
  return {loss: loss / n, grads: [first.gw, second.gw, third.gw, first.gb, second.gb, third.gb]};
}

/** One step of Adam on `size` fresh draws, sample after sample of the seed. Targets are the datum ("denoising") or the exact E[x0 | x_t]
 * ("explicit"). @param {Net} net @param {import('./exact.js').Component[]} components @param {string} objective @param {number} seed @param {number} size */
export function train(net, components, objective, seed, size) {
  const first = net.step * size, x0 = draws(components, size, seed, first), z = normals(seed, first, size, 1), u = uniforms(seed, first, size, 2);
  const input = new Float64Array(3 * size), target = new Float64Array(2 * size);
  for (let i = 0; i < size; i++) {
    const s = 0.02 * net.data * (80 / 0.02) ** u[i], c = scales(s, net.data), x = [x0[2 * i] + s * z[2 * i], x0[2 * i + 1] + s * z[2 * i + 1]];
    const truth = objective === 'explicit' ? field(components, {alpha: 1, sigma: s}, Float64Array.from(x)).x0 : x0.subarray(2 * i, 2 * i + 2);
    for (const j of [0, 1]) {
      input[3 * i + j] = c.into * x[j];
      target[2 * i + j] = (truth[j] - c.skip * x[j]) / c.out;
    }
    input[3 * i + 2] = c.level;
  }
  const {loss, grads} = gradients(net, input, target);
  net.step++;
  const rate = RATE * Math.min(1, 3000 / net.step) ** 0.5, fix1 = 1 - 0.9 ** net.step, fix2 = 1 - 0.99 ** net.step;
  [...net.w, ...net.b].forEach((p, k) => {
    const g = grads[k], m = net.m[k], v = net.v[k];
    for (let i = 0; i < p.length; i++) {
      m[i] = 0.9 * m[i] + 0.1 * g[i];
      v[i] = 0.99 * v[i] + 0.01 * g[i] * g[i];
      p[i] -= rate * (m[i] / fix1) / (Math.sqrt(v[i] / fix2) + 1e-8);
    }
  });
  return loss;
}
