/** What counts as one bug, and what does not. */
import { describe, expect, it } from 'vitest';
import type { FailureRecord } from './campaign-result.ts';
import { groupsOf, shapeOf } from './groups.ts';
import type { Call, Script } from './types.ts';

const params = { n_ctx: 8, n_batch: 8, n_ubatch: 2, n_seq_max: 9, split: 'equal' as const };

function script(...calls: Call[]): Script {
  return { params, calls };
}

const decode = (token: number[], seq_id: number[][], logits?: boolean[]): Call => ({
  op: 'decode',
  batch: { token, seq_id, logits },
});

function record(signature: string, s?: Script, model = 'recipe:x'): FailureRecord {
  const property = signature.split('/')[0]!;
  const c = { version: 1 as const, property, model, seed: 's', index: 0, script: s };
  const failure = { case: c, message: 'm', difference: { what: 'w' }, signature };
  return { signature, property, model, count: 1, failure, original: c, shrink: { tried: 0, accepted: 0 } };
}

const names = (records: FailureRecord[]) =>
  groupsOf(records).map(({ first, also }) => [first, ...also].map((r) => `${r.property} ${r.model}`));

describe('the shape of a script', () => {
  it('does not depend on tokens, sizes, outputs and the names of sequences', () => {
    const a = script(decode([1, 2], [[0], [3]]), { op: 'seqRm', seq: 3, p0: -1, p1: -1 });
    const b = {
      params: { ...params, n_ubatch: 5 },
      calls: [decode([7, 7], [[5], [0]], [true, false]), { op: 'seqRm', seq: 0, p0: 0, p1: -1 } as const],
    };
    expect(shapeOf(a)).toBe('decode {0} {1}; rm 1 0..end');
    expect(shapeOf(b)).toBe(shapeOf(a));
  });

  it('depends on sets, order, operations and ranges', () => {
    const base = script(decode([1, 2], [[0], [1]], [true, false]), { op: 'seqRm', seq: 1, p0: 0, p1: -1 });
    const others = [
      script(decode([1, 2], [[0], [0]], [true, false]), { op: 'seqRm', seq: 1, p0: 0, p1: -1 }),
      script(decode([1, 2], [[0], [1]], [true, false]), { op: 'seqRm', seq: 0, p0: 0, p1: -1 }),
      script(decode([1, 2], [[0], [1]], [true, false]), { op: 'seqRm', seq: 1, p0: 1, p1: -1 }),
      script(decode([1, 2], [[0], [1]], [true, false]), { op: 'seqKeep', seq: 1 }),
      script(decode([1, 2], [[0], [1, 2]], [true, false]), { op: 'seqRm', seq: 1, p0: 0, p1: -1 }),
      script(decode([1, 2], [[0], [1]], [true, false])),
    ];
    expect(new Set([base, ...others].map(shapeOf)).size).toBe(others.length + 1);
  });
});

describe('groups', () => {
  const small = script(decode([1, 2], [[0], [0]]));
  const renamed = script(decode([9, 8], [[4], [4]]));
  const larger = script(decode([1, 2, 3], [[0], [0], [0]]));

  it('join one signature, and one shape on one architecture', () => {
    expect(
      names([
        record('solo/llama/64/logits', small),
        record('split/rules/oracle'),
        record('ubatch/llama/64/logits', renamed),
        record('solo/llama/259/text/logits', small, 'golden:y'),
        record('solo/llama/64/logits', larger),
      ]),
    ).toEqual([['solo recipe:x', 'ubatch recipe:x', 'solo golden:y', 'solo recipe:x'], ['split recipe:x']]);
  });

  it('keep apart what differs in shape, architecture or kind, and what has no calls', () => {
    const apart = [
      record('solo/llama/64/logits', small),
      record('ubatch/llama/64/logits', larger),
      record('solo/mamba/64/logits', small),
      record('permute/llama/64/position', small),
      record('validity/llama/open', script()),
      record('solo/llama/open', script()),
      record('cells/rules/oracle'),
      record('mask/rules/oracle'),
    ];
    expect(groupsOf(apart)).toHaveLength(apart.length);
  });
});
