// @ts-check
/** What the copied programs have in common: the law, the page's own draws, its distances, and the network it trained. */

import {PRESETS, mixtureCode, rowsOf, toHash} from './state.js';

/** @typedef {import('./app.js').App} App */

const DRAWS = `
from scorefield.randomness import Noise


def normals(n, seed, draw=0, first=0):
    return Noise(seed, torch.arange(first, first + n), (2,), f64).normal(draw)


def uniforms(n, seed, draw=0, first=0):
    return Noise(seed, torch.arange(first, first + n), (), f64).uniform(draw)


def draws(n, seed, first=0):  # of the law, as the page takes them
    k = torch.bucketize(uniforms(n, seed, 0, first), (weights / weights.sum()).cumsum(0), right=True)
    k = k.clamp(max=len(weights) - 1)
    return means[k] + (torch.linalg.cholesky(covariances)[k] @ normals(n, seed, 0, first)[:, :, None])[..., 0]
`;

const SLICED = `

def sliced(x, y):  # W2 over 64 directions at equal angles
    angle = torch.pi * (torch.arange(64, dtype=f64) + 0.5) / 64
    theta = torch.stack([angle.cos(), angle.sin()])
    return float(((x @ theta).sort(0).values - (y @ theta).sort(0).values).square().mean().sqrt())
`;

const SHARES = `

def shares(x):  # of the points that belong to each component
    parts = [w.log() + sf.Gaussian(m, c).log_prob(x) for w, m, c in zip(weights, means, covariances)]
    return torch.bincount(torch.stack(parts).argmax(0), minlength=len(weights)).double() / len(x)
`;

/** The network as the page trained it: the same draws, the same steps. @param {import('./app.js').Learned} of */
const network = ({net, seed, objective}) => `
width, size, steps, std = ${net.width}, 192, ${net.step}, float(law.variance.mean().sqrt())
shapes = [(3, width), (width, width), (width, 2)]
w = [normals(-(-a * b // 2), ${seed}, 1000 + k).flatten()[: a * b].reshape(a, b) * (2 / a) ** 0.5 for k, (a, b) in enumerate(shapes)]
w[2] = torch.zeros(width, 2, dtype=f64)
b = [torch.zeros(n, dtype=f64) for _, n in shapes]
adam = torch.optim.Adam([p.requires_grad_() for p in [*w, *b]], betas=(0.9, 0.99))


def network(h):
    for k in range(3):
        h = h @ w[k] + b[k]
        h = torch.nn.functional.silu(h) if k < 2 else h
    return h


for step in range(steps):
    first = step * size
    x0, s = draws(size, ${seed}, first), 0.02 * std * (80 / 0.02) ** uniforms(size, ${seed}, 2, first)[:, None]
    x, n = x0 + s * normals(size, ${seed}, 1, first), (s**2 + std**2).sqrt()
    goal = ${objective === 'explicit' ? 'law.denoise(x, 1.0, s[:, 0])' : 'x0'}
    target = (goal - (std / n) ** 2 * x) * n / (s * std)
    loss = (network(torch.cat([x / n, s.log() / 4], 1)) - target).square().sum(1).mean()
    adam.param_groups[0]["lr"] = 2e-3 * min(1, 3000 / (step + 1)) ** 0.5
    adam.zero_grad()
    loss.backward()
    adam.step()


@torch.no_grad()
def learned(x, alpha, sigma):  # E[x0 | x] as the network has it
    if alpha == 0 or sigma == 0:
        return x / alpha if alpha else torch.zeros_like(x)
    s = torch.as_tensor(sigma / alpha, dtype=f64)
    n = (s**2 + std**2).sqrt()
    level = (s.log() / 4).expand(len(x), 1)
    return (std / n) ** 2 * x / alpha + s * std / n * network(torch.cat([x / alpha / n, level], 1))


class Learned(sf.Denoiser):
    def __init__(self, schedule):
        super().__init__()
        self.schedule = schedule

    def forward(self, x_t, t):
        return learned(x_t, *map(float, self.schedule(t)))
`;

/** The command that draws what is on the screen, in that file; '' where none does: `scorefield demo` knows one of the presets.
 * @param {App} app @param {string} file @param {string} [preset] */
export function demo(app, file, preset = 'eight Gaussians') {
  const at = (/** @type {import('./exact.js').Component[]} */ components) => JSON.stringify(rowsOf(components).map((r) => r.map((v) => Number(v.toPrecision(10)))));
  return at(app.components) !== at(PRESETS[preset]) || app.usesLearned ? ''
    : `scorefield demo score-field --distribution eight-gaussians --seed ${app.seed}  # ${file}`;
}

/** The command that opens the page as it is. @param {import('./state.js').State} state @param {string[]} [runs] their paths */
export function reopened(state, runs = []) {
  const paths = runs.map((path) => /^[\w./-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`);
  return `${['scorefield play', ...paths].join(' ')} --at "${toHash(state)}"`; // in which all but letters, digits and .-_*+%&= is encoded
}

/** The law, and of the rest what is asked for. The learned field is there where the page shows it, or it is said that it is not.
 * @param {App} app @param {('draws' | 'sliced' | 'shares' | 'learned' | 'network')[]} [wants] `network`: whether or not the page shows it */
export function preamble(app, wants = []) {
  const {learned} = app, uses = app.usesLearned && learned && wants.includes('learned') || wants.includes('network') && learned;
  let out = mixtureCode(app.components) + '\n';
  if (uses) {
    const same = JSON.stringify(learned.components) === JSON.stringify(app.components);
    out = `${mixtureCode(learned.components)}\n${DRAWS}${network(learned)}`;
    if (!same) out += `\n# the density on the screen, which is not the one it was trained on\n${mixtureCode(app.components).split('\n').slice(4).join('\n')}\n`;
  } else {
    if (app.usesLearned) out = `# of the exact field: this scene does not use the learned one\n${out}`;
    if (wants.includes('draws')) out += DRAWS;
  }
  if (wants.includes('sliced')) out += SLICED;
  if (wants.includes('shares')) out += SHARES;
  return `${out}\n`;
}

/** `denoiser`, exact or learned, for the page's plans. @param {App} app @param {string} schedule as Python */
export const denoiserCode = (app, schedule) => (app.usesLearned ? `schedule = ${schedule}
denoiser = Learned(schedule)` : `schedule = ${schedule}
denoiser = sf.ExactDenoiser(law, schedule)`) + `
denoiser.data_mean, denoiser.data_std = 0.0, 1.0  # the page's plans are for data of that scale
`;

/** `score(x, sigma)`, exact or learned. @param {App} app */
export const scoreCode = (app) => app.usesLearned ? `
def score(x, sigma):  # learned; at the least noise it knows, if there is less
    sigma = max(sigma, 0.03 * std)
    return (learned(x, 1.0, sigma) - x) / sigma**2

` : `
def score(x, sigma):
    return law.score_at(x, 1.0, sigma)

`;
