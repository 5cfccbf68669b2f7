// @ts-check
/** Where plans come from: the file itself where it was exported, else the server. What there is, is play/shown.py's. */

/** @typedef {import('./exact.js').Plan} Plan */
/** @typedef {{t: number[], alpha: number[], sigma: number[]}} Table  a schedule, at 201 times */
/** @typedef {{schedules: Record<string, Table>, plans: Record<string, Plan>, encode: Record<string, Plan>, decode: Record<string, Plan>}} Shown */

export const SCHEDULES = ['VP', 'sub-VP', 'VE', 'rectified'];
/** @type {Record<string, {code: string, stochastic: boolean}>} */
export const SOLVERS = {
  'default': {code: 'sf.solvers.recommended(schedule, nfe).solver', stochastic: false},
  'Euler (ODE)': {code: 'sf.Euler()', stochastic: false},
  'Heun': {code: 'sf.Heun()', stochastic: false},
  'DDIM': {code: 'sf.DDIM()', stochastic: false},
  'DPM-Solver++': {code: 'sf.DPMSolverPP()', stochastic: false},
  'UniPC': {code: 'sf.UniPC()', stochastic: false},
  'DDPM': {code: 'sf.DDPM()', stochastic: true},
  'Euler-Maruyama': {code: 'sf.EulerMaruyama()', stochastic: true},
  'predictor-corrector': {code: 'sf.PredictorCorrector()', stochastic: true},
  'SA-Solver': {code: 'sf.SASolver()', stochastic: true},
};
export const BUDGETS = [5, 10, 20, 40];
/** As Python. @type {Record<string, string>} */
export const SCHEDULE_CODE = {'VP': 'sf.VP()', 'sub-VP': 'sf.SubVP()', 'VE': 'sf.EDM()', 'rectified': 'sf.Rectified()'};

/** @type {Shown | null} */
let shown = null;

/** Everything at once, the first time from the server or the file. @returns {Promise<Shown>} */
export async function load() {
  if (shown) return shown;
  const packed = document.getElementById('shown')?.textContent;
  if (packed) {
    const bytes = Uint8Array.from(atob(packed.trim()), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'));
    shown = /** @type {Shown} */ (JSON.parse(await new Response(stream).text()));
  } else {
    const answer = await fetch('shown.json');
    if (!answer.ok) throw new Error(`the server says ${answer.status}`);
    shown = /** @type {Shown} */ (await answer.json());
  }
  return shown;
}

/** @param {Shown} all @param {string} solver @param {string} schedule @param {number} nfe @returns {Plan | undefined} */
export const planOf = (all, solver, schedule, nfe) => all.plans[`${solver}|${schedule}|${nfe}`];

/** A schedule between the times of its table, by straight lines. @param {Table} table @param {number} t @returns {import('./exact.js').Level} */
export function levelAt(table, t) {
  const n = table.t.length - 1, at = Math.min(Math.max(t, 0), 1) * n, i = Math.min(Math.floor(at), n - 1), f = at - i;
  return {alpha: table.alpha[i] + f * (table.alpha[i + 1] - table.alpha[i]), sigma: table.sigma[i] + f * (table.sigma[i + 1] - table.sigma[i])};
}
