/** Where the bounds of a model come from: the first of these that can be had. */
import { IsobatchError } from '../contract/errors.ts';
import { readGgufHead } from '../model/gguf-head.ts';
import { loadModel } from '../model/load.ts';
import { architectures } from '../oracle/forward.ts';
import { modelBytes, modelPath, quantizedName } from './campaign-models.ts';
import { isLarge } from './sample.ts';
import type { Env } from './types.ts';

/**
 * `oracle`: derived by its formulas. `copies`: measured on copies whose weights are all moved. `norms`: measured on
 * copies whose norms carry all the noise, because the model is too large for more or has weights that are not floats.
 */
export type BoundsBy = 'oracle' | 'copies' | 'norms';

const known = new WeakMap<object, BoundsBy>();

export function boundsBy(env: Env): BoundsBy {
  let by = env.bounds ?? known.get(env.loaded);
  if (by === undefined) {
    by = decide(env);
    known.set(env.loaded, by);
  }
  return by;
}

function decide(env: Env): BoundsBy {
  if (isLarge(env.model)) return 'norms';
  if (architectures.includes(env.model.arch) && oracleTakes(env.modelName, fileOf(env))) return 'oracle';
  return isQuantized(fileOf(env)) ? 'norms' : 'copies';
}

/** The file of a model, if it is one. */
export function fileOf({ modelFile, modelName }: Pick<Env, 'modelFile' | 'modelName'>): string | undefined {
  return modelFile ?? modelPath(modelName);
}

/** A file of the user's may have a tensor or a key that the formulas do not know. */
function oracleTakes(name: string, path: string | undefined): boolean {
  if (path === undefined) return true;
  if (quantizedName(name) !== undefined) return false;
  try {
    loadModel(modelBytes(name), name);
    return true;
  } catch (error) {
    if (error instanceof IsobatchError && (error.kind === 'model' || error.kind === 'gguf')) return false;
    throw error;
  }
}

function isQuantized(path: string | undefined): boolean {
  if (path === undefined) return false;
  const types = [...readGgufHead(path).tensors.values()].map(({ type }) => type?.name ?? '');
  return types.some((type) => type !== 'F32' && type !== 'F16');
}
