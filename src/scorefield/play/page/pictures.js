// @ts-check
/** Pictures on the canvas: of bytes, of numbers as shades, and of files. */

import {colour} from './draw.js';

/** @typedef {{w: number, h: number, c: number}} Size */
/** @typedef {{x: number, y: number, w: number, h: number}} Box */

const scratch = document.createElement('canvas');

/** Draws pixels into a box, each as a square. @param {import('./draw.js').View} view @param {Size} size @param {Box} box
 * @param {(pixel: number, channel: number) => number} value from 0 to 255 */
function pixels(view, {w, h}, box, value) {
  [scratch.width, scratch.height] = [w, h];
  const ctx = /** @type {CanvasRenderingContext2D} */ (scratch.getContext('2d')), image = ctx.createImageData(w, h);
  for (let i = 0; i < w * h; i++) {
    for (let k = 0; k < 3; k++) image.data[4 * i + k] = value(i, k);
    image.data[4 * i + 3] = 255;
  }
  ctx.putImageData(image, 0, 0);
  view.ctx.imageSmoothingEnabled = false;
  view.ctx.drawImage(scratch, box.x, box.y, box.w, box.h);
}

/** A picture of bytes (h, w, c). @param {import('./draw.js').View} view @param {Size} size @param {Box} box @param {ArrayLike<number>} bytes @param {number} [from] */
export function picture(view, size, box, bytes, from = 0) {
  pixels(view, size, box, (i, k) => bytes[from + size.c * i + (size.c === 3 ? k : 0)]);
}

/** Of numbers (h, w, c) the root mean square over the channels, (h, w). @param {Size} size @param {ArrayLike<number>} values */
export function overChannels({w, h, c}, values) {
  return Float64Array.from({length: w * h}, (_, i) => {
    let sum = 0;
    for (let k = 0; k < c; k++) sum += values[c * i + k] ** 2;
    return Math.sqrt(sum / c);
  });
}

/** Numbers (h, w) from 0 to `most` as shades between the theme's low and high.
 * @param {import('./draw.js').View} view @param {Size} size @param {Box} box @param {ArrayLike<number>} values @param {number} most */
export function shades(view, size, box, values, most) {
  const low = colour('low').split(',').map(Number), high = colour('high').split(',').map(Number);
  pixels(view, size, box, (i, k) => low[k] + (high[k] - low[k]) * Math.min(1, values[i] / (most || 1)));
}

/** A line around a box. @param {import('./draw.js').View} view @param {Box} box @param {string} ink @param {number} [width] */
export function framed(view, box, ink, width = 1) {
  view.ctx.strokeStyle = ink;
  view.ctx.lineWidth = width * view.ratio;
  view.ctx.strokeRect(box.x, box.y, box.w, box.h);
}

/** What is hidden, hatched. @param {import('./draw.js').View} view @param {Size} size @param {Box} box @param {Uint8Array} mask */
export function hatched(view, {w, h}, box, mask) {
  const {ctx} = view, sx = box.w / w, sy = box.h / h;
  ctx.fillStyle = colour('other');
  ctx.globalAlpha = 0.75;
  for (let i = 0; i < w * h; i++) if (mask[i]) ctx.fillRect(box.x + (i % w) * sx, box.y + Math.floor(i / w) * sy, sx, sy);
  ctx.globalAlpha = 1;
}

/** A file as bytes (h, w, c): its middle, in the shape of the size, made to fit. @param {File} file @param {Size} size @returns {Promise<Uint8Array>} */
export async function readPicture(file, {w, h, c}) {
  if (file.size > 20e6) throw new Error(`${file.name} is larger than 20 MB`);
  let bitmap;
  try { bitmap = await createImageBitmap(file); } catch { throw new Error(`${file.name} is no picture that this browser can read`); }
  const scale = Math.max(w / bitmap.width, h / bitmap.height), sw = w / scale, sh = h / scale;
  [scratch.width, scratch.height] = [w, h];
  const ctx = /** @type {CanvasRenderingContext2D} */ (scratch.getContext('2d'));
  [ctx.imageSmoothingEnabled, ctx.imageSmoothingQuality, ctx.fillStyle] = [true, 'high', '#fff'];
  ctx.fillRect(0, 0, w, h); // behind what is transparent
  ctx.drawImage(bitmap, (bitmap.width - sw) / 2, (bitmap.height - sh) / 2, sw, sh, 0, 0, w, h);
  const {data} = ctx.getImageData(0, 0, w, h), out = new Uint8Array(w * h * c);
  for (let i = 0; i < w * h; i++) {
    const [r, g, b] = data.subarray(4 * i, 4 * i + 3);
    if (c === 3) out.set([r, g, b], 3 * i); else out[i] = Math.round(0.299 * r + 0.587 * g + 0.114 * b);
  }
  return out;
}
