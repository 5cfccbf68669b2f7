// @ts-check
import {annealed} from './annealed.js';
import {scoreField} from './field.js';
import {guidance} from './guidance.js';
import {langevin} from './langevin.js';
import {matching} from './matching.js';
import {yourModel} from './model.js';
import {paths} from './paths.js';
import {race} from './race.js';
import {theory} from './theory.js';
import {training} from './train.js';

/** In the order of the page. @type {import('../app.js').Scene[]} */
export const SCENES = [scoreField, matching, langevin, annealed, paths, race, guidance, training, yourModel, theory];
