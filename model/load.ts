/**
 * From the bytes of a file to a checked `Model`: hyperparameters, and every tensor that the architecture needs in
 * the shape that it needs. One file an architecture says what is needed (`archs/`); here are the checks that all share.
 *
 * Nothing is ignored that would change the answer: a key of the architecture or a tensor that we do not know is
 * refused by name (spec: architectures.md 0, 1, 3).
 */
import { IsobatchError } from '../contract/errors.ts';
import type { Architecture, Wanted } from './archs/parts.ts';
import { architectures, archs } from './archs/registry.ts';
import { type GgufFile, readGguf } from './gguf.ts';
import { Keys } from './keys.ts';
import type { Hparams, Model, Tensor } from './types.ts';

export { architectures } from './archs/registry.ts';

/** Loads a model from the bytes of a GGUF file; `name` is for messages. Throws `gguf` or `model`. */
export function loadModel(bytes: Uint8Array, name: string): Model {
  return modelOf(readGguf(bytes, name), name);
}

/** The model in a file that was read already. Throws `model`. */
export function modelOf(file: GgufFile, name: string): Model {
  const arch = architectureOf(file, name);
  const keys = new Keys(file.metadata, name, arch.name);
  const n_vocab = vocabularySize(file, keys);
  const hparams = arch.hparams(keys, n_vocab, (tensor) => file.tensors.has(tensor));
  keys.refuseUnknown();
  const tensors = checkTensors(file, arch.tensors(hparams), arch, name);
  let n_params = 0;
  for (const t of tensors.values()) n_params += t.data.length;
  const bos = keys.optionalInteger('tokenizer.ggml.bos_token_id', 0, n_vocab - 1);
  return { name, hparams, tensors, n_params, ...(bos === undefined ? {} : { bos }) };
}

function architectureOf(file: GgufFile, name: string): Architecture<Hparams> {
  const found = new Keys(file.metadata, name, 'general').string('general.architecture');
  const arch = archs.get(found);
  if (arch !== undefined) return arch;
  throw new IsobatchError(
    'model',
    `${name}: general.architecture ${JSON.stringify(found.slice(0, 80))} is not known; known are ${architectures.join(', ')}`,
    { file: name, key: 'general.architecture', found, wanted: architectures },
  );
}

/** Rows of the token embeddings; the other places that state the size of the vocabulary must agree. */
function vocabularySize(file: GgufFile, keys: Keys): number {
  const embd = file.tensors.get('token_embd.weight');
  if (embd === undefined) keys.fail('tensor token_embd.weight', 'is missing');
  const n_vocab = embd.ne[1] ?? 1;
  const tokens = file.metadata.get('tokenizer.ggml.tokens');
  if (tokens !== undefined) {
    if (tokens.type !== 'array' || tokens.of !== 'string') {
      keys.fail('key tokenizer.ggml.tokens', 'is not an array of strings');
    }
    if (tokens.value.length !== n_vocab) {
      keys.fail(
        'key tokenizer.ggml.tokens',
        `has ${tokens.value.length} tokens, but token_embd.weight has ${n_vocab} rows`,
        {
          wanted: n_vocab,
          found: tokens.value.length,
        },
      );
    }
  }
  const stated = keys.integer('vocab_size', { min: 1, default: n_vocab });
  if (stated !== n_vocab) {
    keys.fail(`key ${keys.arch}.vocab_size`, `is ${stated}, but token_embd.weight has ${n_vocab} rows`, {
      wanted: n_vocab,
      found: stated,
    });
  }
  return n_vocab;
}

function checkTensors(
  file: GgufFile,
  wanted: readonly Wanted[],
  arch: Architecture<Hparams>,
  name: string,
): Map<string, Tensor> {
  const fail = (tensor: string, what: string, detail: Record<string, unknown> = {}): never => {
    throw new IsobatchError('model', `${name}: tensor ${tensor} ${what}`, { file: name, tensor, ...detail });
  };
  const tensors = new Map<string, Tensor>();
  for (const want of wanted) {
    if (want.unless !== undefined && file.tensors.has(want.unless)) continue;
    const found = file.tensors.get(want.name);
    if (found === undefined) {
      if (want.optional) continue;
      return fail(want.name, `is missing; wanted ${shape(want.ne)}`, { wanted: want.ne });
    }
    if (!sameShape(found.ne, want.ne)) {
      fail(want.name, `has the shape ${shape(found.ne)}; wanted ${shape(want.ne)}`, {
        wanted: want.ne,
        found: found.ne,
      });
    }
    if (!want.types.includes(found.type)) {
      fail(want.name, `is ${found.type}; wanted ${want.types.join(' or ')}`, {
        wanted: want.types,
        found: found.type,
      });
    }
    const bad = firstNonFinite(found);
    if (bad >= 0) fail(want.name, `has an element that is not finite, number ${bad}`, { element: bad });
    tensors.set(want.name, { ...found, ne: want.ne });
  }
  for (const tensor of file.tensors.keys()) {
    if (tensors.has(tensor)) continue;
    fail(tensor, arch.explain(tensor) ?? `is not part of the architecture ${arch.name}`);
  }
  return tensors;
}

/** Shapes are equal up to trailing ones, as in ggml, where every tensor has four dimensions. */
function sameShape(a: readonly number[], b: readonly number[]): boolean {
  return Array.from({ length: Math.max(a.length, b.length) }, (_, d) => (a[d] ?? 1) === (b[d] ?? 1)).every(
    Boolean,
  );
}

function shape(ne: readonly number[]): string {
  return `[${ne.join(', ')}]`;
}

/** Index of the first NaN or infinity, or -1. */
function firstNonFinite(t: Tensor): number {
  if (t.data instanceof Float32Array) return t.data.findIndex((x) => !Number.isFinite(x));
  return t.data.findIndex((bits) => (bits & 0x7c00) === 0x7c00);
}
