/** What the tests of the plain subject share with the measurement of power: an environment around a model. */
import { oracleWhite } from '../../../oracle/white.ts';
import type { Env } from '../../types.ts';
import { type PlainModel, plainSubject } from './subject.ts';

/** An environment in which properties run on `loaded`. */
export function plainEnv(loaded: PlainModel, modelName: string, seed: string): Env {
  return {
    seed,
    subject: plainSubject().info,
    model: loaded.info,
    modelName,
    loaded,
    oracle: oracleWhite,
    coverage: {},
    restrict: {},
  };
}
