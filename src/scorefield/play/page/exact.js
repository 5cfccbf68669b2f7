// @ts-check
/**
 * The library's numbers in a page, held to it by tests/play: exact fields of Gaussian mixtures in the plane, the
 * counter-based normals, and one loop that takes any solver's steps from its plan (scorefield/play/plans.py).
 *
 * Points are interleaved in a Float64Array: x0, y0, x1, y1, ...
 */

/** @typedef {{w: number, m: [number, number], c: [number, number, number]}} Component  weight, mean, [xx, xy, yy] */
/** @typedef {{alpha: number, sigma: number}} Level */
/** @typedef {[number, number][]} Sum  (which, times): a register, -1 the mean, or what the step has added */
/** @typedef {{t: number, s: number, draws: number[], evaluations: {t: number, alpha: number, sigma: number, of: Sum}[],
 *   registers: Sum[]}} PlanStep */
/** @typedef {{times: number[], mean: number, std: number, nfe: number, steps: PlanStep[]}} Plan */
/** @typedef {(x: Float64Array, level: Level) => Float64Array} Denoise  E[x0 | x_t] of every point */

// ---- Philox 4x32-10 (Salmon et al. 2011) and Box-Muller, as scorefield.randomness

const M0 = 0xd2511f53, M1 = 0xcd9e8d57, W0 = 0x9e3779b9, W1 = 0xbb67ae85;

/** The high 32 bits of a 32 x 32 bit product, in integer arithmetic throughout. @param {number} a @param {number} b */
function high(a, b) {
  const a0 = a & 0xffff, a1 = a >>> 16, b0 = b & 0xffff, b1 = b >>> 16;
  const one = Math.imul(a1, b0) + (Math.imul(a0, b0) >>> 16), two = Math.imul(a0, b1) + (one & 0xffff); // both below 2^32
  return (Math.imul(a1, b1) + (one >>> 16) + (two >>> 16)) | 0;
}

const words = new Int32Array(4); // of the latest counter, signed

/** Four 32-bit words of a counter of four and a key of two, into `words`.
 * @param {number} x0 @param {number} x1 @param {number} x2 @param {number} x3 @param {number} k0 @param {number} k1 */
function fill(x0, x1, x2, x3, k0, k1) {
  for (let round = 0; round < 10; round++) {
    const h0 = high(M0, x0), l0 = Math.imul(M0, x0), h1 = high(M1, x2), l1 = Math.imul(M1, x2);
    x0 = h1 ^ x1 ^ k0;
    x1 = l1;
    x2 = h0 ^ x3 ^ k1;
    x3 = l0;
    k0 = (k0 + W0) | 0;
    k1 = (k1 + W1) | 0;
  }
  words[0] = x0;
  words[1] = x1;
  words[2] = x2;
  words[3] = x3;
}

/** The same as an array. @param {[number, number, number, number]} counter @param {[number, number]} key */
export function philox(counter, key) {
  fill(...counter, ...key);
  return Array.from(words, (w) => w >>> 0);
}

/** Draw `draw` of samples first .. first + n - 1: standard normals (n, 2). Indices below 2^32, seeds below 2^53.
 * @param {number} seed @param {number} first @param {number} n @param {number} draw */
export function normals(seed, first, n, draw) {
  const z = new Float64Array(2 * n), low = seed >>> 0, top = Math.floor(seed / 2 ** 32), w = words;
  for (let i = 0; i < n; i++) {
    fill(0, 2 * draw, first + i, 0, low, top);
    const u = Math.abs(w[0] + 0.5) * 2 ** -31, v = Math.abs(w[1] + 0.5) * 2 ** -31;
    z[2 * i] = Math.sqrt(-2 * Math.log(u)) * Math.cos(w[2] * 2 * Math.PI * 2 ** -32);
    z[2 * i + 1] = Math.sqrt(-2 * Math.log(v)) * Math.cos(w[3] * 2 * Math.PI * 2 ** -32);
  }
  return z;
}

/** The same for events of any size: (n, size). @param {number} seed @param {number} first @param {number} n @param {number} draw @param {number} size */
export function normalsOf(seed, first, n, draw, size) {
  if (size === 2) return normals(seed, first, n, draw);
  const z = new Float64Array(n * size), low = seed >>> 0, top = Math.floor(seed / 2 ** 32), blocks = Math.ceil(size / 4);
  for (let i = 0; i < n; i++) {
    for (let block = 0; block < blocks; block++) { // a block's four numbers stand `blocks` apart
      fill(block, 2 * draw, first + i, 0, low, top);
      for (let j = 0; j < 2; j++) {
        const r = Math.sqrt(-2 * Math.log(Math.abs(words[j] + 0.5) * 2 ** -31)), a = words[j + 2] * 2 * Math.PI * 2 ** -32;
        const at = j * blocks + block;
        if (at < size) z[i * size + at] = r * Math.cos(a);
        if (at + 2 * blocks < size) z[i * size + at + 2 * blocks] = r * Math.sin(a);
      }
    }
  }
  return z;
}

/** Draw `draw` of samples first .. first + n - 1: one uniform in [0, 1) each.
 * @param {number} seed @param {number} first @param {number} n @param {number} draw */
export function uniforms(seed, first, n, draw) {
  const u = new Float64Array(n), low = seed >>> 0, top = Math.floor(seed / 2 ** 32);
  for (let i = 0; i < n; i++) {
    fill(0, 2 * draw + 1, first + i, 0, low, top);
    u[i] = Math.min(words[0] * 2 ** -32 + 0.5, 1 - 2 ** -24);
  }
  return u;
}

// ---- A Gaussian mixture, seen through noise: p_t = sum_k w_k N(alpha m_k, alpha^2 C_k + sigma^2 I)

/** What does not depend on the point: each component's log weight, mean, and inverse covariance under the noise.
 * @param {Component[]} components @param {Level} level */
function noised(components, level) {
  const total = components.reduce((sum, k) => sum + k.w, 0), a = level.alpha, v = level.sigma ** 2;
  return components.map(({w, m, c}) => {
    const xx = a * a * c[0] + v, xy = a * a * c[1], yy = a * a * c[2] + v, det = xx * yy - xy * xy;
    return {
      log: Math.log(w / total) - Math.log(2 * Math.PI) - Math.log(det) / 2,
      mx: a * m[0], my: a * m[1], ixx: yy / det, ixy: -xy / det, iyy: xx / det,
    };
  });
}

/** What a mixture is at every point: log p_t, its score, and E[x0 | x_t].
 * @param {Component[]} components @param {Level} level @param {Float64Array} x */
export function field(components, level, x) {
  const parts = noised(components, level), n = x.length / 2, count = parts.length;
  const logp = new Float64Array(n), score = new Float64Array(2 * n), x0 = new Float64Array(2 * n);
  const logs = new Float64Array(count), sx = new Float64Array(count), sy = new Float64Array(count);
  const {alpha, sigma} = level;
  for (let i = 0; i < n; i++) {
    const px = x[2 * i], py = x[2 * i + 1];
    let most = -Infinity;
    for (let k = 0; k < count; k++) {
      const p = parts[k], dx = px - p.mx, dy = py - p.my;
      sx[k] = -(p.ixx * dx + p.ixy * dy);
      sy[k] = -(p.ixy * dx + p.iyy * dy);
      logs[k] = p.log + (sx[k] * dx + sy[k] * dy) / 2;
      if (logs[k] > most) most = logs[k];
    }
    let sum = 0, gx = 0, gy = 0, dx0 = 0, dy0 = 0;
    for (let k = 0; k < count; k++) {
      const r = Math.exp(logs[k] - most), {m, c} = components[k];
      sum += r;
      gx += r * sx[k];
      gy += r * sy[k];
      // the mean of each component's posterior: m + alpha C (alpha^2 C + sigma^2)^-1 (x - alpha m)
      dx0 += r * (m[0] - alpha * (c[0] * sx[k] + c[1] * sy[k]));
      dy0 += r * (m[1] - alpha * (c[1] * sx[k] + c[2] * sy[k]));
    }
    logp[i] = most + Math.log(sum);
    score[2 * i] = gx / sum;
    score[2 * i + 1] = gy / sum;
    x0[2 * i] = dx0 / sum;
    x0[2 * i + 1] = dy0 / sum;
  }
  if (sigma === 0) for (let i = 0; i < 2 * n; i++) x0[i] = x[i] / alpha;
  return {logp, score, x0};
}

/** The second derivatives of log p_t at every point: (n, 3), xx, xy, yy. sum_k r_k (s_k s_k^T - V_k^-1) - s s^T.
 * @param {Component[]} components @param {Level} level @param {Float64Array} x */
export function curvature(components, level, x) {
  const parts = noised(components, level), n = x.length / 2, out = new Float64Array(3 * n), logs = new Float64Array(parts.length);
  for (let i = 0; i < n; i++) {
    let most = -Infinity, sum = 0, gx = 0, gy = 0, xx = 0, xy = 0, yy = 0;
    for (let k = 0; k < parts.length; k++) {
      const p = parts[k], dx = x[2 * i] - p.mx, dy = x[2 * i + 1] - p.my;
      logs[k] = p.log - (p.ixx * dx * dx + 2 * p.ixy * dx * dy + p.iyy * dy * dy) / 2;
      if (logs[k] > most) most = logs[k];
    }
    for (let k = 0; k < parts.length; k++) {
      const p = parts[k], r = Math.exp(logs[k] - most), dx = x[2 * i] - p.mx, dy = x[2 * i + 1] - p.my;
      const sx = -(p.ixx * dx + p.ixy * dy), sy = -(p.ixy * dx + p.iyy * dy);
      sum += r;
      gx += r * sx;
      gy += r * sy;
      xx += r * (sx * sx - p.ixx);
      xy += r * (sx * sy - p.ixy);
      yy += r * (sy * sy - p.iyy);
    }
    gx /= sum;
    gy /= sum;
    out.set([xx / sum - gx * gx, xy / sum - gx * gy, yy / sum - gy * gy], 3 * i);
  }
  return out;
}

/** p(component | x_t) of one point. @param {Component[]} components @param {Level} level @param {number} x @param {number} y */
export function responsibilities(components, level, x, y) {
  const logs = noised(components, level).map((p) => {
    const dx = x - p.mx, dy = y - p.my;
    return p.log - (p.ixx * dx * dx + 2 * p.ixy * dx * dy + p.iyy * dy * dy) / 2;
  });
  const most = Math.max(...logs), parts = logs.map((v) => Math.exp(v - most)), sum = parts.reduce((a, b) => a + b, 0);
  return parts.map((v) => v / sum);
}

/** @param {Component[]} components @returns {Denoise} */
export const denoiser = (components) => (x, level) => field(components, level, x).x0;

/** n draws of the mixture: component by the uniform of each sample, place by its normals; sample i is a function of
 * (seed, i). @param {Component[]} components @param {number} n @param {number} seed @param {number} [first] */
export function draws(components, n, seed, first = 0) {
  const total = components.reduce((sum, k) => sum + k.w, 0), z = normals(seed, first, n, 0);
  const u = uniforms(seed, first, n, 0), x = new Float64Array(2 * n);
  for (let i = 0; i < n; i++) {
    let k = 0, left = u[i] * total;
    while (k < components.length - 1 && left >= components[k].w) left -= components[k++].w;
    const {m, c} = components[k], l = Math.sqrt(c[0]), b = c[1] / l, d = Math.sqrt(Math.max(c[2] - b * b, 0));
    x[2 * i] = m[0] + l * z[2 * i];
    x[2 * i + 1] = m[1] + b * z[2 * i] + d * z[2 * i + 1];
  }
  return x;
}

/** Mean and standard deviation (root mean variance over the axes). @param {Component[]} components */
export function moments(components) {
  const total = components.reduce((sum, k) => sum + k.w, 0);
  const mean = [0, 1].map((j) => components.reduce((sum, k) => sum + k.w * k.m[j], 0) / total);
  const variance = components.reduce(
    (sum, k) => sum + k.w * (k.c[0] + k.c[2] + (k.m[0] - mean[0]) ** 2 + (k.m[1] - mean[1]) ** 2), 0) / total / 2;
  return {mean, std: Math.sqrt(variance)};
}

// ---- Any solver: its plan

/** sum of times * register. @param {Sum} of @param {(Float64Array | null)[]} held @param {number[]} mean @param {number} size */
function combined(of, held, mean, size) {
  const out = new Float64Array(size);
  for (const [which, times] of of) {
    if (which < 0) {
      for (let i = 0; i < size; i++) out[i] += times * mean[i % 2];
      continue;
    }
    const v = /** @type {Float64Array} */ (held[which]);
    for (let i = 0; i < size; i++) out[i] += times * v[i];
  }
  return out;
}

/** Where samples first .. of a seed start: N(mean, std^2). @param {Plan} plan @param {number} seed @param {number} first
 * @param {number} n @param {number[]} mean of the data */
export function start(plan, seed, first, n, mean) {
  const z = normals(seed, first, n, 0);
  for (let i = 0; i < z.length; i++) z[i] = plan.std * z[i] + plan.mean * mean[i % 2];
  return z;
}

/** The state after one step more. `registers` [x, latest prediction, ...] of the one before, or [x, x] at the start.
 * @param {PlanStep} step @param {Float64Array[]} registers @param {Denoise} denoise
 * @param {(draw: number) => Float64Array} noise @param {number[]} mean */
export function advance(step, registers, denoise, noise, mean) {
  const size = registers[0].length, held = [...registers, ...step.draws.map(noise)];
  for (const {of, alpha, sigma} of step.evaluations) held.push(denoise(combined(of, held, mean, size), {alpha, sigma}));
  return step.registers.map((of) => combined(of, held, mean, size));
}

/** x at every time of the plan. @param {Plan} plan @param {Float64Array} x @param {Denoise} denoise @param {number} seed
 * @param {number} first @param {number[]} mean */
export function follow(plan, x, denoise, seed, first, mean) {
  const path = [x], noise = (/** @type {number} */ draw) => normals(seed, first, x.length / 2, draw);
  let registers = [x, x];
  for (const step of plan.steps) {
    registers = advance(step, registers, denoise, noise, mean);
    path.push(registers[0]);
  }
  return path;
}

// ---- How far two clouds are apart

/** Sliced Wasserstein-2 distance of clouds of equal size, over `directions` at equal angles.
 * @param {Float64Array} x @param {Float64Array} y @param {number} [directions] */
export function slicedDistance(x, y, directions = 64) {
  const n = x.length / 2, a = new Float64Array(n), b = new Float64Array(n);
  let sum = 0;
  for (let d = 0; d < directions; d++) {
    const c = Math.cos(Math.PI * (d + 0.5) / directions), s = Math.sin(Math.PI * (d + 0.5) / directions);
    for (let i = 0; i < n; i++) {
      a[i] = c * x[2 * i] + s * x[2 * i + 1];
      b[i] = c * y[2 * i] + s * y[2 * i + 1];
    }
    a.sort();
    b.sort();
    for (let i = 0; i < n; i++) sum += (a[i] - b[i]) ** 2;
  }
  return Math.sqrt(sum / n / directions);
}

/** The component each point belongs to, by largest responsibility at no noise. @param {Component[]} components @param {Float64Array} x */
export function owners(components, x) {
  const parts = noised(components, {alpha: 1, sigma: 0}), of = new Uint16Array(x.length / 2);
  for (let i = 0; i < of.length; i++) {
    let most = -Infinity;
    for (let k = 0; k < parts.length; k++) {
      const p = parts[k], dx = x[2 * i] - p.mx, dy = x[2 * i + 1] - p.my;
      const log = p.log - (p.ixx * dx * dx + 2 * p.ixy * dx * dy + p.iyy * dy * dy) / 2;
      if (log > most) [of[i], most] = [k, log];
    }
  }
  return of;
}

/** The share of points that belong to each component. @param {Component[]} components @param {Float64Array} x */
export function shares(components, x) {
  const counts = new Float64Array(components.length), of = owners(components, x);
  for (const k of of) counts[k]++;
  return Array.from(counts, (c) => c / of.length);
}
