/**
 * The plainest use of a model: a context of one sequence, one token, its row. It shows that the build is driven as it
 * wants to be (a field in the wrong place gives a context of another size, or none), and that the model can be used at
 * all: some releases load architectures that end the process at the first token (spec: libllama.md 1). A campaign on
 * such a model would only say so thousands of times.
 */
import { IsobatchError } from '../../../contract/errors.ts';
import type { ContextParams, DecodeResult, ModelInfo, TypeKv } from '../../../contract/subject.ts';

const PARAMS: ContextParams = { n_ctx: 32, n_batch: 8, n_ubatch: 8, n_seq_max: 1, split: 'equal' };
const TOKEN = { token: [1], pos: [0], seq_id: [[0]], logits: [true] };

/** What is needed of a model. */
export interface Usable {
  readonly info: Pick<ModelInfo, 'encoder' | 'memory'>;
  open(params: ContextParams): {
    encode(batch: typeof TOKEN): unknown;
    decode(batch: typeof TOKEN): DecodeResult;
    seqPosMax(seq: number): number;
    close(): void;
  };
}

/** Throws `model` where the answer cannot be one; whatever the library does else is passed on. */
export function useOnce(model: Usable, name: string, type_kv: TypeKv): void {
  const { encoder, memory } = model.info;
  // An encoder alone has no logits.
  const rows = encoder === 'only' ? ({ embeddings: true, pooling: 'none' } as const) : {};
  const context = model.open({ ...PARAMS, ...rows, type_kv });
  try {
    if (encoder !== undefined) context.encode(TOKEN);
    if (encoder === 'only') return;
    const { n_outputs, logits } = context.decode(TOKEN);
    const last = memory === 'none' ? 0 : context.seqPosMax(0);
    const why =
      n_outputs !== 1
        ? `${n_outputs} rows for one token`
        : !logits.every(Number.isFinite)
          ? 'a row that is not finite'
          : last !== 0
            ? `${last} as the last position of one token`
            : undefined;
    if (why !== undefined)
      throw new IsobatchError('model', `${name} cannot be used here: its first token gives ${why}`, { name });
  } finally {
    context.close();
  }
}
