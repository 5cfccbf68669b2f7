// @ts-check
/** What scene `Your model` asks, as Python that prints the same numbers. */

/** @typedef {import('./model.js').Run} Run */

const imports = (/** @type {string[]} */ ...names) => names.map((n) => `import ${n}`).join('\n');
const text = (/** @type {string} */ v) => JSON.stringify(v);

export const HOW = 'Start it as "scorefield play RUN", with a folder of "scorefield train" or "scorefield quickstart".';
export const NO_RUNS = `print('${HOW}')
`;

/** The picture in the data's units. @param {Run} run @param {Record<string, any>} q */
function raw(run, q) {
  const [c, h, w] = run.shape, label = q.label === undefined ? '' : `, label=${q.label}`;
  if (!q.picture) return `raw = run.sample(1, seed=${q.seed}${label}).raw`;
  return `grey = torch.frombuffer(bytearray(base64.b64decode(${text(q.picture)})), dtype=torch.uint8)
raw = (grey.double() * ${run.levels - 1} / 255).round().long().reshape(${h}, ${w}, ${c}).movedim(-1, 0)[None]`;
}

/** @param {Run} run @param {Record<string, any>} q a request */
export function code(run, q) {
  const [c, h, w] = run.shape, load = `run = sf.load(${text(run.path)})`;
  const told = (/** @type {number} */ n) => q.label === undefined ? '' : `, cond={"label": torch.full((${n},), ${q.label})}`;
  const sum = `the grey values of ${q.ask === 'sample' ? 'sample 1' : 'the first'} add up to {int(raw[0].sum())}`;
  if (q.ask === 'sample') {
    const guided = q.guidance === undefined ? '' : `.guided(${q.guidance})`;
    const options = [
      `${q.n}`, ...(q.label === undefined ? [] : [`label=${q.label}`]), ...(q.solver && q.solver !== 'tuned' ? [`solver=${text(q.solver)}`] : []),
      ...(q.nfe === undefined ? [] : [`nfe=${q.nfe}`]), `seed=${q.seed}`, ...(q.solver === 'tuned' ? [] : ['tuned=False']),
    ];
    return `${imports('scorefield as sf')}

${load}
drawn = run${guided}.sample(${options.join(', ')})
raw = drawn.raw
print(f"{type(drawn.solver).__name__}, {drawn.nfe} evaluations a sample; ${sum}")
`;
  }
  if (q.ask === 'interpolate') {
    return `${imports('torch', 'scorefield as sf')}
from scorefield.data import units
from scorefield.randomness import Noise

${load}
one = torch.zeros(1, dtype=torch.int64)
a, b = (Noise(seed, one, run.event_shape).normal(0) for seed in (${q.seed}, ${q.other}))
z = torch.cat([sf.slerp(a, b, float(w)) for w in torch.linspace(0, 1, ${q.steps}, dtype=torch.float64)])
x = sf.decode(run.denoiser, z, nfe=${q.nfe}${told(q.steps)})
raw = units.raw(x, run.transform)
print(f"${sum}")
`;
  }
  if (q.ask === 'likelihood') {
    return `${imports('base64', 'torch', 'scorefield as sf')}
from scorefield.likelihood import bits_per_dim, default_probes

${load}
${raw(run, q)}
found = bits_per_dim(run.denoiser, raw, run.transform, probes=default_probes(${c * h * w}), seed=${q.seed}${told(1)})
print(f"{float(found.bits):.6f} bits per dimension")
`;
  }
  const operator = q.ask === 'ct'
    ? `operator = operators.Radon((${c}, ${h}, ${w}), torch.pi * torch.arange(${q.views}, dtype=torch.float64) / ${q.views})`
    : `hidden = torch.frombuffer(bytearray(base64.b64decode(${text(q.mask)})), dtype=torch.uint8).reshape(${h}, ${w}) != 0
operator = operators.Mask(~hidden, (${c}, ${h}, ${w}))`;
  return `${imports('base64', 'torch', 'scorefield as sf')}
from scorefield import inverse
from scorefield.inverse import Units, operators

${load}
${raw(run, q)}
${operator}
units = Units.of(run.transform)
truth = units.of_raw(raw)
likelihood = inverse.simulate(operator, truth, ${q.noise}, seed=${q.seed})
posterior = run.posterior(units.in_model(likelihood), seed=${q.seed}${told(1)})
x = units.of_model(posterior.sample(${q.draws}, nfe=${q.nfe}, seed=${q.seed}, dtype=torch.float32).x)
psnr = -10 * (x.mean(1) - truth).square().mean().log10()
print(f"PSNR of the mean {float(psnr):.4f} dB; mean sd {float(x.std(1).mean()):.6f}")
`;
}
