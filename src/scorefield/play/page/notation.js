// @ts-check
/** The two languages in which the same is written: the SDE's, (alpha, sigma), and DDPM's, alpha bar. */

/** @param {[string, string, string][]} rows what, as the SDE has it, as DDPM has it; HTML */
export const notation = (rows) => `
<div class="scroll" tabindex="0" role="region" aria-label="The same in two notations"><table class="notation">
<thead><tr><th scope="col"></th><th scope="col">SDE</th><th scope="col">DDPM</th></tr></thead>
<tbody>${rows.map(([what, sde, ddpm]) => `<tr><th scope="row">${what}</th><td>${sde}</td><td>${ddpm}</td></tr>`).join('')}</tbody></table></div>`;
