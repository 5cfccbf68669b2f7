// @ts-check
/** Where plans come from: the file itself where it was exported, else the server. What there is, is play/shown.py's. */

/** @typedef {import('./exact.js').Plan} Plan */
/** @typedef {{t: number[], alpha: number[], sigma: number[]}} Table  a schedule, at 201 times */
/** @typedef {{schedules: Record<string, Table>, plans: Record<string, Plan>, encode: Record<string, Plan>, decode: Record<string, Plan>}} Shown */

export const SCHEDULES = ['VP', 'sub-VP', 'VE', 'rectified'];
/** As Python; the default chooses for itself. @type {Record<string, string>} */
export const SOLVERS = {
  'default': '',
  'Euler (ODE)': 'sf.Euler()',
  'Heun': 'sf.Heun()',
  'DDIM': 'sf.DDIM()',
  'DPM-Solver++': 'sf.DPMSolverPP()',
  'UniPC': 'sf.UniPC()',
  'DDPM': 'sf.DDPM()',
  'Euler-Maruyama': 'sf.EulerMaruyama()',
  'predictor-corrector': 'sf.PredictorCorrector()',
  'SA-Solver': 'sf.SASolver()',
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

/** A solver and its grid, as Python. @param {string} solver @param {number} nfe */
export const solverCode = (solver, nfe) => SOLVERS[solver] ? `${SOLVERS[solver]}.within(denoiser, ${nfe})` : `sf.solvers.recommended(denoiser.schedule, ${nfe}, data_std=1.0)`;
