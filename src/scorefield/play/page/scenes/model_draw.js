// @ts-check
/** What scene `Your model` draws of each answer. */

import {colour, label, short} from '../draw.js';
import {framed, hatched, overChannels, picture, shades} from '../pictures.js';

/** @typedef {import('./model.js').Run} Run */
/** @typedef {import('../pictures.js').Box} Box */

/** @param {Run} run @returns {import('../pictures.js').Size} */
const sizeOf = ({shape: [c, h, w]}) => ({c, h, w});

/** Text in the middle of the canvas. @param {import('../app.js').App} app @param {string} text */
export function lines({view}, text) {
  const {ctx, ratio: r} = view, rows = [''];
  ctx.font = `${16 * r}px system-ui, sans-serif`;
  for (const word of text.split(' ')) {
    const next = `${rows[rows.length - 1]} ${word}`.trim();
    if (ctx.measureText(next).width > Math.min(view.width - 40 * r, 560 * r)) rows.push(word); else rows[rows.length - 1] = next;
  }
  ctx.fillStyle = colour('ink');
  ctx.textAlign = 'center';
  rows.forEach((row, i) => ctx.fillText(row, view.width / 2, view.height / 2 + (i - (rows.length - 1) / 2) * 24 * r));
}

const PAD = 10, TITLE = 24, STRIP = 8; // frames of a film that are seen at once

/** The largest box of a picture's shape in a place, centred from the left. @param {import('../pictures.js').Size} size @param {number} x @param {number} y @param {number} w @param {number} h @returns {Box} */
function fitted({w: pw, h: ph}, x, y, w, h) {
  const scale = Math.min(w / pw, h / ph);
  return {x, y, w: pw * scale, h: ph * scale};
}

/** Several pictures in a row of boxes. @param {import('../app.js').App} app @param {Run} run @param {Box} place @param {number} n @param {(i: number, box: Box) => void | false} each false: nothing is there */
function row({view}, run, place, n, each) {
  const gap = 3 * view.ratio, w = (place.w + gap) / n - gap;
  for (let i = 0; i < n; i++) {
    const box = fitted(sizeOf(run), place.x + i * (w + gap), place.y, w, place.h);
    if (each(i, box) !== false) framed(view, box, colour('line'));
  }
}

/** A title above a place. @param {import('../app.js').App} app @param {string} text @param {number} x @param {number} y */
const titled = ({view}, text, x, y) => label(view, text, x + 3, y - TITLE * view.ratio / 2 + 1);

/** Samples: x_t and E[x0 | x_t] now, all samples, and one's way as two strips. @param {import('../app.js').App} app @param {Run} run
 * @param {import('../wire.js').Reply} answer @param {Record<string, any>} p */
export function film(app, run, {said, arrays}, p) {
  const {view} = app, r = view.ratio, size = sizeOf(run), each = size.w * size.h * size.c, pad = PAD * r, title = TITLE * r;
  const [frames, few] = arrays.film_x.shape, now = Math.min(Math.round(p.at * (frames - 1)), frames - 1), which = Math.min(p.which, few) - 1;
  const from = (/** @type {number} */ k) => (k * few + which) * each, wide = (view.width - 4 * pad) / 3;
  const strip = Math.min((view.width - 2 * pad) / STRIP * size.h / size.w, view.height * 0.17), tall = Math.min(view.height - 2 * (strip + title) - title - 3 * pad, wide * size.h / size.w);
  const big = fitted(size, pad, title + pad / 2, wide, tall);
  const noise = said.noise[now];
  picture(view, size, big, arrays.film_x.data, from(now));
  framed(view, big, colour('line'));
  titled(app, `x_t, σ/α ${noise === null ? '∞' : short(noise)}`, big.x, big.y);
  const next = {...big, x: 2 * pad + wide};
  picture(view, size, next, arrays.film_x0.data, from(now));
  framed(view, next, colour('line'));
  titled(app, 'E[x0 | x_t]', next.x, next.y);
  const n = arrays.samples.shape[0], columns = Math.ceil(Math.sqrt(n)), place = {...big, x: 3 * pad + 2 * wide}, gap = 2 * r;
  for (let i = 0; i < n; i++) {
    const w = place.w / columns, h = place.h / columns, x = place.x + (i % columns) * w, y = place.y + Math.floor(i / columns) * h, box = {x, y, w: w - gap, h: h - gap};
    picture(view, size, box, arrays.samples.data, i * each);
    if (i === which) framed(view, box, colour('other'), 2);
  }
  titled(app, n > 1 ? `${n} samples` : 'the sample', place.x, place.y);
  const shownFrames = Math.min(frames, STRIP), frame = (/** @type {number} */ i) => shownFrames > 1 ? Math.round(i * (frames - 1) / (shownFrames - 1)) : 0;
  const nearest = Array.from({length: shownFrames}, (_, i) => i).reduce((a, i) => Math.abs(frame(i) - now) < Math.abs(frame(a) - now) ? i : a, 0);
  [arrays.film_x, arrays.film_x0].forEach(({data}, k) => {
    const y = big.y + big.h + pad + title + k * (strip + title);
    titled(app, k ? 'E[x0 | x_t] there' : `sample ${which + 1} on its way, ${frames - 1} steps`, pad, y);
    row(app, run, {x: pad, y, w: view.width - 2 * pad, h: strip}, STRIP, (i, box) => {
      if (i >= shownFrames) return false;
      picture(view, size, box, data, from(frame(i)));
      if (i === nearest) framed(view, {x: box.x + r, y: box.y + r, w: box.w - 2 * r, h: box.h - 2 * r}, colour('other'), 3);
    });
  });
}

/** Interpolation: where one is, and the whole way. @param {import('../app.js').App} app @param {Run} run @param {import('../wire.js').Reply} answer @param {Record<string, any>} p */
export function walk(app, run, {arrays}, p) {
  const {view} = app, r = view.ratio, size = sizeOf(run), each = size.w * size.h * size.c, pad = PAD * r, title = TITLE * r;
  const n = arrays.path.shape[0], now = Math.round(p.at * (n - 1)), strip = Math.min((view.width - 2 * pad) / n, view.height * 0.2);
  const big = fitted(size, pad, title + pad / 2, view.width - 2 * pad, view.height - strip - 2 * title - 3 * pad), y = big.y + big.h + pad + title;
  big.x = (view.width - big.w) / 2;
  picture(view, size, big, arrays.path.data, now * each);
  framed(view, big, colour('line'));
  titled(app, `picture ${now + 1} of ${n}`, big.x, big.y);
  titled(app, 'the way', pad, y);
  row(app, run, {x: pad, y, w: view.width - 2 * pad, h: strip}, n, (i, box) => {
    picture(view, size, box, arrays.path.data, i * each);
    if (i === now) framed(view, {x: box.x + r, y: box.y + r, w: box.w - 2 * r, h: box.h - 2 * r}, colour('other'), 3);
  });
}

/** Likelihood: the picture, and its bits on a line. @param {import('../app.js').App} app @param {Run} run @param {import('../wire.js').Reply} answer */
export function bits(app, run, {said, arrays}) {
  const {view} = app, {ctx, ratio: r} = view, size = sizeOf(run), pad = PAD * r, title = TITLE * r;
  const big = fitted(size, pad, title + pad / 2, view.width * 0.45, view.height - 2 * title - 2 * pad);
  picture(view, size, big, arrays.picture.data);
  framed(view, big, colour('line'));
  titled(app, `in ${run.levels} grey values`, big.x, big.y);
  const most = Math.max(said.uniform, said.high ?? 0) * 1.1, left = big.x + big.w + 4 * pad, right = view.width - 3 * pad, y = big.y + big.h / 2;
  const at = (/** @type {number} */ b) => left + (right - left) * Math.max(b, 0) / most;
  ctx.strokeStyle = colour('ink');
  ctx.lineWidth = 1.5 * r;
  ctx.beginPath();
  ctx.moveTo(left, y);
  ctx.lineTo(right, y);
  for (const b of [0, said.uniform]) { ctx.moveTo(at(b), y - 8 * r); ctx.lineTo(at(b), y + 8 * r); }
  ctx.stroke();
  label(view, '0', at(0), y + 22 * r, {align: 'center'});
  label(view, `all alike: ${short(said.uniform)}`, at(said.uniform), y + 22 * r, {align: 'center'});
  ctx.fillStyle = colour('other');
  ctx.globalAlpha = 0.4;
  ctx.fillRect(at(said.low), y - 12 * r, at(said.high) - at(said.low), 24 * r);
  ctx.globalAlpha = 1;
  ctx.fillRect(at(said.bits) - 1.5 * r, y - 16 * r, 3 * r, 32 * r);
  label(view, `${said.bits?.toFixed(3)} bits`, Math.min(Math.max(at(said.bits), left + 40 * r), right - 40 * r), y - 28 * r, {align: 'center', ink: colour('other')});
}

/** A posterior: truth, what is measured, mean, sd, draws; returns where the truth is. @param {import('../app.js').App} app @param {Run} run
 * @param {import('../wire.js').Reply} answer @param {Uint8Array | null} mask @returns {Box} */
export function posterior(app, run, {arrays}, mask) {
  const {view} = app, r = view.ratio, size = sizeOf(run), each = size.w * size.h * size.c, pad = PAD * r, title = TITLE * r;
  const n = arrays.draws.shape[0], wide = (view.width - 5 * pad) / 4, below = view.height - wide * size.h / size.w - 2 * title - 3 * pad;
  const tallest = (/** @type {number} */ k) => Math.min((view.width - 2 * pad) / k * size.h / size.w, below / Math.ceil(n / k)) - 3 * r;
  const columns = Array.from({length: n}, (_, i) => i + 1).reduce((a, k) => tallest(k) > tallest(a) ? k : a, 1), rows = Math.ceil(n / columns);
  const small = tallest(columns);
  const tall = view.height - rows * (small + 3 * r) - 2 * title - 3 * pad, sd = overChannels(size, arrays.sd.data), most = sd.reduce((a, v) => Math.max(a, v), 0);
  const box = (/** @type {number} */ i) => fitted(size, pad + i * (wide + pad), title + pad / 2, wide, tall), truth = box(0);
  [arrays.truth, arrays.back, arrays.mean].forEach(({data}, i) => picture(view, size, box(i), data));
  if (mask) hatched(view, size, truth, mask);
  shades(view, size, box(3), sd, most);
  [mask ? 'paint here' : 'truth', mask ? 'what is left' : 'measured', 'mean', `sd ≤ ${short(Number(most.toPrecision(2)))}`].forEach((name, i) => {
    framed(view, box(i), colour('line'));
    titled(app, name, box(i).x, box(i).y);
  });
  const y = truth.y + truth.h + pad + title;
  titled(app, `${n} draws`, pad, y);
  for (let k = 0; k < rows; k++) {
    row(app, run, {x: pad, y: y + k * (small + 3 * r), w: columns * (small * size.w / size.h + 3 * r), h: small}, columns, (i, b) => {
      if (k * columns + i >= n) return false;
      picture(view, size, b, arrays.draws.data, (k * columns + i) * each);
    });
  }
  return truth;
}
