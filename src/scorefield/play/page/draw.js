// @ts-check
/** What scenes draw with: the plane on a canvas, heat, arrows, dots, ellipses, bars, curves. */

/** @typedef {import('./exact.js').Component} Component */

/** A part of the plane on a canvas: `half` is half its width in the data's units, the same scale on both axes. */
export class View {
  /** @param {HTMLCanvasElement} canvas @param {number} [half] */
  constructor(canvas, half = 3.2) {
    this.canvas = canvas;
    this.half = half;
    this.ctx = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d'));
    this.width = this.height = this.scale = this.ratio = 1;
  }

  /** To the size it has on the screen; true if that changed. */
  fit() {
    const ratio = Math.min(window.devicePixelRatio || 1, 2), box = this.canvas.getBoundingClientRect();
    const w = Math.max(1, Math.round(box.width * ratio)), h = Math.max(1, Math.round(box.height * ratio));
    const changed = this.canvas.width !== w || this.canvas.height !== h;
    if (changed) [this.canvas.width, this.canvas.height] = [w, h];
    [this.width, this.height, this.ratio] = [w, h, ratio];
    this.scale = Math.min(w, h * 4 / 3) / 2 / this.half;
    return changed;
  }

  /** @param {number} x @returns {number} pixel */
  px(x) { return this.width / 2 + x * this.scale; }
  /** @param {number} y @returns {number} pixel */
  py(y) { return this.height / 2 - y * this.scale; }

  /** The point of the plane under the pointer. @param {{clientX: number, clientY: number}} event @returns {[number, number]} */
  at(event) {
    const box = this.canvas.getBoundingClientRect(), r = this.width / box.width;
    return [((event.clientX - box.left) * r - this.width / 2) / this.scale,
      (this.height / 2 - (event.clientY - box.top) * r) / this.scale];
  }

  clear() {
    this.ctx.setTransform(1, 0, 0, 1, 0, 0);
    this.ctx.clearRect(0, 0, this.width, this.height);
  }
}

/** A colour of the page's theme. @param {string} name */
export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

/** Points of a grid over the view, row by row from the top: `(columns * rows)` of them.
 * @param {View} view @param {number} columns */
export function grid(view, columns) {
  const rows = Math.max(2, Math.round(columns * view.height / view.width)), x = new Float64Array(2 * columns * rows);
  for (let j = 0; j < rows; j++) {
    for (let i = 0; i < columns; i++) {
      const k = 2 * (j * columns + i);
      x[k] = ((i + 0.5) / columns - 0.5) * view.width / view.scale;
      x[k + 1] = (0.5 - (j + 0.5) / rows) * view.height / view.scale;
    }
  }
  return {x, columns, rows};
}

const small = typeof document === 'undefined' ? null : document.createElement('canvas');

/** Values in [0, 1] of a grid as shades between the theme's low and high.
 * @param {View} view @param {ArrayLike<number>} values @param {number} columns @param {number} rows */
export function heat(view, values, columns, rows) {
  const canvas = /** @type {HTMLCanvasElement} */ (small);
  [canvas.width, canvas.height] = [columns, rows];
  const ctx = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d'));
  const low = colour('low').split(',').map(Number), high = colour('high').split(',').map(Number);
  const image = ctx.createImageData(columns, rows), out = image.data;
  for (let i = 0; i < columns * rows; i++) {
    const v = Math.min(1, Math.max(0, values[i]));
    for (let c = 0; c < 3; c++) out[4 * i + c] = low[c] + (high[c] - low[c]) * v;
    out[4 * i + 3] = 255;
  }
  ctx.putImageData(image, 0, 0);
  view.ctx.imageSmoothingEnabled = true;
  view.ctx.drawImage(canvas, 0, 0, view.width, view.height);
}

/** Arrows at points, of `length(|v|)` in the plane's units. @param {View} view @param {Float64Array} x
 * @param {Float64Array} v @param {(size: number) => number} length @param {string} [ink] */
export function arrows(view, x, v, length, ink = colour('ink')) {
  const {ctx} = view, head = 4 * view.ratio;
  ctx.strokeStyle = ctx.fillStyle = ink;
  ctx.lineWidth = 1.2 * view.ratio;
  ctx.beginPath();
  for (let i = 0; i < x.length; i += 2) {
    const size = Math.hypot(v[i], v[i + 1]), along = length(size) * view.scale;
    if (!(size > 0) || along < 1) continue;
    const ux = v[i] / size, uy = -v[i + 1] / size, px = view.px(x[i]), py = view.py(x[i + 1]);
    const ex = px + ux * along, ey = py + uy * along, h = Math.min(head, along / 2);
    ctx.moveTo(px, py);
    ctx.lineTo(ex, ey);
    ctx.moveTo(ex - h * (ux + 0.6 * uy), ey - h * (uy - 0.6 * ux));
    ctx.lineTo(ex, ey);
    ctx.lineTo(ex - h * (ux - 0.6 * uy), ey - h * (uy + 0.6 * ux));
  }
  ctx.stroke();
}

/** What marks are scaled by in a small picture. @param {View} view */
const compact = (view) => Math.min(1, Math.max(0.6, view.width / view.ratio / 700));

/** Dots. @param {View} view @param {Float64Array} x @param {{ink?: string, size?: number, alpha?: number, ring?: boolean}} [how] */
export function dots(view, x, {ink = colour('particle'), size = 1.6, alpha = 0.75, ring = false} = {}) {
  const {ctx} = view, r = size * view.ratio * compact(view);
  ctx.globalAlpha = alpha;
  ctx.fillStyle = ctx.strokeStyle = ink;
  ctx.lineWidth = view.ratio;
  ctx.beginPath();
  for (let i = 0; i < x.length; i += 2) {
    const px = view.px(x[i]), py = view.py(x[i + 1]);
    if (ring || r > 2.5) {
      ctx.moveTo(px + r, py);
      ctx.arc(px, py, r, 0, 2 * Math.PI);
    } else ctx.rect(px - r, py - r, 2 * r, 2 * r);
  }
  if (ring) ctx.stroke(); else ctx.fill();
  ctx.globalAlpha = 1;
}

/** A path through points (x0, y0, x1, y1, ...). @param {View} view @param {ArrayLike<number>} path @param {string} ink @param {number} [width] */
export function line(view, path, ink, width = 1.2) {
  const {ctx} = view;
  ctx.strokeStyle = ink;
  ctx.lineWidth = width * view.ratio;
  ctx.beginPath();
  for (let i = 0; i < path.length; i += 2) {
    if (i) ctx.lineTo(view.px(path[i]), view.py(path[i + 1])); else ctx.moveTo(view.px(path[i]), view.py(path[i + 1]));
  }
  ctx.stroke();
}

/** The ellipse of a covariance [xx, xy, yy], `sds` standard deviations wide: half axes and turn.
 * @param {[number, number, number]} c */
export function axesOf([xx, xy, yy]) {
  const middle = (xx + yy) / 2, apart = Math.hypot((xx - yy) / 2, xy);
  return {a: Math.sqrt(middle + apart), b: Math.sqrt(Math.max(middle - apart, 0)), turn: Math.atan2(2 * xy, xx - yy) / 2};
}

/** @param {number} a @param {number} b @param {number} turn @returns {[number, number, number]} */
export function covarianceOf(a, b, turn) {
  const c = Math.cos(turn), s = Math.sin(turn), A = a * a, B = b * b;
  return [A * c * c + B * s * s, (A - B) * c * s, A * s * s + B * c * c];
}

/** Each component's ellipse of one standard deviation, under the noise, and its number.
 * @param {View} view @param {Component[]} components @param {{alpha: number, sigma: number}} level @param {number} chosen */
export function ellipses(view, components, level, chosen = -1) {
  const {ctx} = view, ratio = view.ratio;
  components.forEach(({m, c}, i) => {
    const v = level.sigma ** 2, k = level.alpha ** 2;
    const {a, b, turn} = axesOf([k * c[0] + v, k * c[1], k * c[2] + v]);
    const x = view.px(level.alpha * m[0]), y = view.py(level.alpha * m[1]);
    ctx.strokeStyle = colour(i === chosen ? 'other' : 'data');
    ctx.lineWidth = (i === chosen ? 3 : 1.5) * ratio;
    ctx.beginPath();
    ctx.ellipse(x, y, a * view.scale, b * view.scale, -turn, 0, 2 * Math.PI);
    ctx.stroke();
    ctx.fillStyle = ctx.strokeStyle;
    ctx.beginPath();
    ctx.arc(x, y, 4 * ratio, 0, 2 * Math.PI);
    ctx.fill();
  });
}

/** A line of text with a backing, so that it is legible on anything. @param {View} view @param {string} said @param {number} x
 * @param {number} y pixels @param {{ink?: string, align?: CanvasTextAlign}} [how] */
export function label(view, said, x, y, {ink = colour('ink'), align = 'left'} = {}) {
  const {ctx} = view, size = 13 * view.ratio;
  ctx.font = `${size}px system-ui, sans-serif`;
  ctx.textAlign = align;
  ctx.textBaseline = 'middle';
  const wide = ctx.measureText(said).width, left = align === 'left' ? x : align === 'right' ? x - wide : x - wide / 2;
  ctx.fillStyle = colour('paper');
  ctx.globalAlpha = 0.85;
  ctx.fillRect(left - 3, y - size * 0.7, wide + 6, size * 1.4);
  ctx.globalAlpha = 1;
  ctx.fillStyle = ink;
  ctx.fillText(said, x, y);
}

/** A bar of `length` in the plane's units with what it stands for, at the lower right. @param {View} view @param {number} length @param {string} said */
export function scaleBar(view, length, said) {
  const ratio = view.ratio, x = view.width - 16 * ratio, y = view.height - 22 * ratio, {ctx} = view;
  ctx.strokeStyle = colour('ink');
  ctx.lineWidth = 2 * ratio;
  ctx.beginPath();
  ctx.moveTo(x - length * view.scale, y);
  ctx.lineTo(x, y);
  ctx.stroke();
  label(view, said, x, y - 14 * ratio, {align: 'right'});
}

/** @typedef {{name: string, points: [number, number][], ink: string, dash?: number[], dots?: boolean}} Curve */

/** Curves on axes of their own, each scale linear or logarithmic, with labels and a legend.
 * @param {View} view @param {Curve[]} curves @param {{x: string, y: string, logX?: boolean, logY?: boolean, range?: [number, number], domain?: [number, number]}} axes */
export function chart(view, curves, axes) {
  view.fit();
  view.clear();
  const {ctx, width: w, height: h} = view, r = view.ratio;
  ctx.font = `${13 * r}px system-ui, sans-serif`;
  let row = 0, along = 62 * r;
  const places = curves.map(({name}) => { // of the legend, above, in as many rows as it takes
    const wide = ctx.measureText(name).width + 40 * r;
    if (along + wide > w && along > 62 * r) [row, along] = [row + 1, 62 * r];
    along += wide;
    return {x: along - wide, y: (12 + 18 * row) * r};
  });
  const box = {l: 62 * r, r: w - 14 * r, t: (26 + 18 * row) * r, b: h - 38 * r};
  const all = curves.flatMap((c) => c.points).filter(([x, y]) => (!axes.logX || x > 0) && (!axes.logY || y > 0) && isFinite(y));
  if (!all.length) {
    label(view, 'nothing measured yet', w / 2, h / 2, {align: 'center', ink: colour('soft')});
    return;
  }
  const span = (/** @type {number[]} */ v, /** @type {boolean | undefined} */ log) => {
    let low = Math.min(...v), high = Math.max(...v);
    if (low === high) [low, high] = log ? [low / 2, high * 2] : [low - 0.5, high + 0.5];
    return log ? [low / 1.1, high * 1.1] : [low, high];
  };
  const [x0, x1] = axes.domain ?? span(all.map((p) => p[0]), axes.logX);
  const [y0, y1] = axes.range ?? span(all.map((p) => p[1]), axes.logY);
  const place = (/** @type {number} */ v, /** @type {number} */ low, /** @type {number} */ high, /** @type {boolean | undefined} */ log) =>
    log ? Math.log(v / low) / Math.log(high / low) : (v - low) / (high - low);
  const X = (/** @type {number} */ v) => box.l + place(v, x0, x1, axes.logX) * (box.r - box.l);
  const Y = (/** @type {number} */ v) => box.b - place(v, y0, y1, axes.logY) * (box.b - box.t);
  ctx.strokeStyle = colour('line');
  ctx.lineWidth = r;
  ctx.font = `${12 * r}px system-ui, sans-serif`;
  ctx.fillStyle = colour('ink');
  let last = -Infinity; // where a number was written: the next keeps away from it
  for (const v of ticks(x0, x1, axes.logX)) {
    if (X(v) - last < 44 * r) continue;
    last = X(v);
    ctx.beginPath();
    ctx.moveTo(X(v), box.b);
    ctx.lineTo(X(v), box.b + 4 * r);
    ctx.stroke();
    ctx.textAlign = 'center';
    ctx.fillText(short(v), X(v), box.b + 13 * r);
  }
  last = Infinity;
  for (const v of ticks(y0, y1, axes.logY)) {
    if (last - Y(v) < 16 * r) continue;
    last = Y(v);
    ctx.beginPath();
    ctx.moveTo(box.l - 4 * r, Y(v));
    ctx.lineTo(box.l, Y(v));
    ctx.stroke();
    ctx.textAlign = 'right';
    ctx.fillText(short(v), box.l - 7 * r, Y(v) + 4 * r);
  }
  ctx.strokeRect(box.l, box.t, box.r - box.l, box.b - box.t);
  ctx.textAlign = 'right';
  ctx.fillText(axes.x, box.r, box.b + 30 * r);
  ctx.save();
  ctx.translate(14 * r, box.t);
  ctx.rotate(-Math.PI / 2);
  ctx.textAlign = 'right';
  ctx.fillText(axes.y, 0, 0);
  ctx.restore();
  curves.forEach((c, i) => {
    ctx.strokeStyle = ctx.fillStyle = c.ink;
    ctx.lineWidth = 2 * r;
    ctx.setLineDash((c.dash ?? []).map((d) => d * r));
    ctx.beginPath();
    c.points.filter(([x, y]) => (!axes.logX || x > 0) && (!axes.logY || y > 0)).forEach(([x, y], k) => {
      const at = [X(x), Math.min(Math.max(Y(y), box.t), box.b)];
      if (k) ctx.lineTo(at[0], at[1]); else ctx.moveTo(at[0], at[1]);
    });
    ctx.stroke();
    ctx.setLineDash([]);
    if (c.dots) {
      for (const [x, y] of c.points) {
        ctx.beginPath();
        ctx.arc(X(x), Y(y), 3.5 * r, 0, 2 * Math.PI);
        ctx.fill();
      }
    }
    const {x, y} = places[i];
    ctx.setLineDash((c.dash ?? []).map((d) => d * r));
    ctx.beginPath();
    ctx.moveTo(x, y);
    ctx.lineTo(x + 18 * r, y);
    ctx.stroke();
    ctx.setLineDash([]);
    label(view, c.name, x + 23 * r, y, {ink: c.ink});
  });
}

/** @param {number} low @param {number} high @param {boolean | undefined} log */
function ticks(low, high, log) {
  if (log) {
    const out = [];
    for (let e = Math.floor(Math.log10(low)); e <= Math.floor(Math.log10(high)); e++) out.push(...[1, 2, 5].map((k) => k * 10 ** e));
    const inside = out.filter((v) => v >= low && v <= high), decades = inside.filter((v) => Number.isInteger(Number(Math.log10(v).toFixed(9))));
    return decades.length >= 3 ? decades : inside;
  }
  const raw = (high - low) / 4, unit = 10 ** Math.floor(Math.log10(raw)), step = [1, 2, 5, 10].map((k) => k * unit).find((s) => s >= raw) ?? unit;
  const out = [];
  for (let v = Math.ceil(low / step) * step; v <= high + 1e-9 * step; v += step) out.push(Math.abs(v) < 1e-9 * step ? 0 : v);
  return out;
}

/** A number in few characters. @param {number} v */
export function short(v) {
  if (!isFinite(v)) return String(v);
  if (v === 0) return '0';
  const size = Math.abs(v);
  return size >= 1e4 || size < 1e-3 ? v.toExponential(1).replace('e+', 'e').replace('.0e', 'e') : String(Number(v.toPrecision(3)));
}

/** Shares beside the truth: a bar for each, a line where it should end, and its sampling error.
 * @param {View} view @param {number[]} shares @param {number[]} truth @param {number} n draws */
export function bars(view, shares, truth, n) {
  const {ctx} = view, r = view.ratio, c = compact(view), w = 26 * r * c, gap = 8 * r * c, tall = 90 * r * c, x0 = 14 * r, y0 = view.height - 26 * r;
  const most = Math.max(...truth, ...shares, 0.01);
  ctx.fillStyle = colour('paper');
  ctx.globalAlpha = 0.85;
  ctx.fillRect(x0 - 8 * r, y0 - tall - 26 * r, shares.length * (w + gap) + 14 * r, tall + 46 * r);
  ctx.globalAlpha = 1;
  shares.forEach((s, i) => {
    const x = x0 + i * (w + gap), t = y0 - truth[i] / most * tall, e = 2 * Math.sqrt(truth[i] * (1 - truth[i]) / n) / most * tall;
    ctx.fillStyle = colour('noise');
    ctx.fillRect(x, y0 - s / most * tall, w, s / most * tall);
    ctx.strokeStyle = colour('ink');
    ctx.lineWidth = 2 * r;
    ctx.beginPath();
    ctx.moveTo(x - 2 * r, t);
    ctx.lineTo(x + w + 2 * r, t);
    ctx.moveTo(x + w / 2, t - e);
    ctx.lineTo(x + w / 2, t + e);
    ctx.stroke();
    label(view, String(i + 1), x + w / 2, y0 + 11 * r, {align: 'center'});
  });
  label(view, 'shares, and the truth ± 2 se', x0 - 4 * r, y0 - tall - 14 * r);
}
