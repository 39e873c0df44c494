/**
 * Models that make embeddings of whole sequences, as the rest of the harness sees models: an encoder, alone or before a
 * decoder, whose batches are encoded; or any model that is given each batch in an empty memory. Rows are n_embd numbers,
 * and between batches it remembers nothing. So what compares rows of logits compares embeddings, and copies with noise
 * are run in the same way.
 */
import type { Batch } from '../contract/batch.ts';
import { IsobatchError } from '../contract/errors.ts';
import type { ContextParams, ModelInfo, SubjectContext, SubjectModel } from '../contract/subject.ts';
import { boundsBy } from './bounds-by.ts';
import type { Env } from './types.ts';

/** Properties whose cases are run through this view. */
export function makesEmbeddings(property: string): boolean {
  return property === 'encoder' || property === 'pooling';
}

/** `encodes`: by the encoder. */
function viewOfContext(ctx: SubjectContext, encodes: boolean): SubjectContext {
  return {
    async decode(batch: Batch) {
      if (!encodes) {
        await ctx.clear();
        return ctx.decode(batch);
      }
      if (ctx.encode === undefined) throw new IsobatchError('protocol', 'this subject has no encode');
      return ctx.encode(batch);
    },
    // There is nothing to change.
    seqRm: () => undefined,
    seqCp: () => undefined,
    seqKeep: () => undefined,
    seqAdd: () => undefined,
    seqDiv: () => undefined,
    clear: () => undefined,
    seqPosMin: () => -1,
    seqPosMax: () => -1,
    close: () => ctx.close(),
  };
}

function viewOfInfo(info: ModelInfo): ModelInfo {
  return { ...info, memory: 'none', encoder: 'only' };
}

function viewOfModel(model: SubjectModel): SubjectModel {
  const encodes = model.info.encoder !== undefined;
  return {
    info: viewOfInfo(model.info),
    async open(params: ContextParams) {
      return viewOfContext(await model.open({ pooling: 'none', ...params, embeddings: true }), encodes);
    },
    close: () => model.close(),
  };
}

const views = new WeakMap<SubjectModel, SubjectModel>();
const envs = new WeakMap<Env, Env>();

/** The environment whose rows are embeddings. What is known of a model is kept with its view, so there is one. */
export function encoderOf(env: Env): Env {
  let view = envs.get(env);
  if (view === undefined) {
    view = viewOf(env);
    envs.set(env, view);
  }
  return view;
}

function viewOf(env: Env): Env {
  let loaded = views.get(env.loaded);
  if (loaded === undefined) {
    loaded = viewOfModel(env.loaded);
    views.set(env.loaded, loaded);
  }
  const { load, loadFile, subject } = env;
  const { kv_unified: _, ...choices } = subject.choices ?? {};
  const bounds = boundsBy(env);
  return {
    ...env,
    // The cache belongs to the decoder, and `cross` tells what is wrong with dividing it.
    subject: env.model.encoder === 'with decoder' ? { ...subject, choices } : subject,
    model: viewOfInfo(env.model),
    loaded,
    // The oracle knows sequences in a memory, and no means over them.
    bounds: bounds === 'oracle' ? 'copies' : bounds,
    ...(load === undefined
      ? {}
      : { load: async (bytes: Uint8Array, name: string) => viewOfModel(await load(bytes, name)) }),
    ...(loadFile === undefined
      ? {}
      : { loadFile: async (path: string, name: string) => viewOfModel(await loadFile(path, name)) }),
  };
}
