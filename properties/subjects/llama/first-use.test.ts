import { describe, expect, it } from 'vitest';
import type { ContextParams } from '../../../contract/subject.ts';
import { type Usable, useOnce } from './first-use.ts';

/** A model that does as it is told, and what was done with it. */
function model(
  info: Usable['info'],
  answer: { readonly rows?: number; readonly row?: readonly number[]; readonly last?: number } = {},
): { model: Usable; done: string[]; opened: ContextParams[] } {
  const { rows = 1, row = [1, 2], last = 0 } = answer;
  const done: string[] = [];
  const opened: ContextParams[] = [];
  const open = (params: ContextParams) => {
    opened.push(params);
    return {
      encode: () => done.push('encode'),
      decode: () => {
        done.push('decode');
        return { n_outputs: rows, logits: Float32Array.from(row) };
      },
      seqPosMax: () => last,
      close: () => void done.push('close'),
    };
  };
  return { model: { info, open }, done, opened };
}

const ATTENTION = { memory: 'attention' } as const;

describe('the first use of a model', () => {
  it('is one token in a context of one sequence, which is closed', () => {
    const { model: m, done, opened } = model(ATTENTION);
    useOnce(m, 'm', 'F16');
    expect(done).toEqual(['decode', 'close']);
    expect(opened).toMatchObject([{ n_seq_max: 1, type_kv: 'F16' }]);
  });

  it.each([
    [{ rows: 0 }, 'm cannot be used here: its first token gives 0 rows for one token'],
    [{ row: [1, Number.NaN] }, 'm cannot be used here: its first token gives a row that is not finite'],
    [{ last: -1 }, 'm cannot be used here: its first token gives -1 as the last position of one token'],
  ])('refuses an answer that cannot be one: %j', (answer, message) => {
    const { model: m, done } = model(ATTENTION, answer);
    expect(() => useOnce(m, 'm', 'F32')).toThrow(expect.objectContaining({ kind: 'model', message }));
    expect(done.at(-1)).toBe('close');
  });

  it('encodes first what is encoded first, and asks an encoder alone for embeddings', () => {
    const both = model({ memory: 'attention', encoder: 'with decoder' });
    useOnce(both.model, 'm', 'F32');
    expect(both.done).toEqual(['encode', 'decode', 'close']);
    const only = model({ memory: 'none', encoder: 'only' });
    useOnce(only.model, 'm', 'F32');
    expect(only.done).toEqual(['encode', 'close']);
    expect(only.opened).toMatchObject([{ embeddings: true, pooling: 'none' }]);
  });
});
