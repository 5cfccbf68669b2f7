// @ts-check
/** The talk with the server, `play/wire.py`: requests as JSON, replies as binary frames. */

/** @typedef {{shape: number[], data: Uint8Array | Float32Array}} Numbers */
/** @typedef {{said: Record<string, any>, arrays: Record<string, Numbers>}} Reply */
/** @typedef {{done: (reply: Reply) => void, failed: (error: Error) => void, progress: (evaluations: number) => void}} Waiting */

/** What a newer request took the place of. */
export class Stale extends Error {}

/** The JSON and the arrays of one message. @param {ArrayBuffer} buffer @returns {Reply} */
export function unpack(buffer) {
  const size = new DataView(buffer).getUint32(0, true), said = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, size)));
  let at = 4 + size;
  /** @type {Record<string, Numbers>} */ const arrays = {};
  for (const {name, dtype, shape} of said.arrays) {
    const count = shape.reduce((/** @type {number} */ a, /** @type {number} */ b) => a * b, 1), bytes = buffer.slice(at, at + count * (dtype === 'uint8' ? 1 : 4));
    arrays[name] = {shape, data: dtype === 'uint8' ? new Uint8Array(bytes) : new Float32Array(bytes)};
    at += bytes.byteLength;
  }
  return {said, arrays};
}

/** One connection, opened when something is asked, and again after it was lost. */
export class Wire {
  constructor() {
    /** @type {Map<number, Waiting>} */ this.waiting = new Map();
    /** @type {Promise<WebSocket> | undefined} */ this.socket = undefined;
    this.last = 0;
  }

  /** Whether there is a server to ask: a file has none. */
  static get possible() { return location.protocol.startsWith('http'); }

  /** The answer to a request. @param {Record<string, any>} request @param {(evaluations: number) => void} [progress] @returns {Promise<Reply>} */
  async ask(request, progress = () => {}) {
    const socket = await (this.socket ??= this.open()), id = ++this.last;
    return new Promise((done, failed) => {
      this.waiting.set(id, {done, failed, progress});
      socket.send(JSON.stringify({id, ...request}));
    });
  }

  /** @returns {Promise<WebSocket>} */
  open() {
    return new Promise((done, failed) => {
      const socket = new WebSocket(`ws://${location.host}/ask`);
      socket.binaryType = 'arraybuffer';
      socket.onopen = () => done(socket);
      socket.onmessage = (e) => this.heard(unpack(e.data));
      socket.onclose = (e) => {
        const error = new Error(e.reason ? `The server has closed the connection: ${e.reason}.` : 'The server does not answer: it has stopped, or too many pages are open.');
        this.socket = undefined;
        failed(error);
        for (const w of this.waiting.values()) w.failed(error);
        this.waiting.clear();
      };
    });
  }

  /** @param {Reply} reply */
  heard(reply) {
    const {id, kind, line, evaluations} = reply.said, w = this.waiting.get(id);
    if (!w) return;
    if (kind === 'progress') { w.progress(evaluations); return; }
    this.waiting.delete(id);
    if (kind === 'answer' || kind === 'runs') w.done(reply);
    else w.failed(kind === 'stale' ? new Stale('a newer request took its place') : new Error(line));
  }
}

/** @param {Uint8Array} bytes */
export function toBase64(bytes) {
  let text = '';
  for (let i = 0; i < bytes.length; i += 4096) text += String.fromCharCode(...bytes.subarray(i, i + 4096));
  return btoa(text);
}

/** The bytes, or null where these are not so many in base64. @param {unknown} text @param {number} length @returns {Uint8Array | null} */
export function fromBase64(text, length) {
  try {
    const bytes = Uint8Array.from(atob(String(text)), (c) => c.charCodeAt(0));
    return bytes.length === length ? bytes : null;
  } catch {
    return null;
  }
}
