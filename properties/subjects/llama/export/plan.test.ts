/** What exported programs do and compare, and of which cases none can be made. */
import { describe, expect, it } from 'vitest';
import type { ModelInfo } from '../../../../contract/subject.ts';
import type { Call, Script } from '../../../types.ts';
import { exportPlan, type Step } from './plan.ts';
import { caseOf, DIED, failureAt, LLAMA, PAIR } from './testing.ts';

const alone = (tokens: readonly number[], call = 0, index = 3) => ({ call, index, tokens });
const withCalls = (calls: readonly Call[]): Script => ({ ...PAIR, calls });
const steps = (calls: readonly Call[], more = {}): readonly Step[] =>
  exportPlan(caseOf(withCalls(calls), { alone: [], ...more }), DIED, LLAMA).histories[0]!.steps;

describe('the plan of an exported program', () => {
  it('runs each token list once, and the lists that it begins with in the same context', () => {
    const c = caseOf(PAIR, { alone: [alone([7], 0, 2), alone([7, 8], 0, 3), alone([5, 6], 0, 1)] });
    const plan = exportPlan(c, failureAt(1e-5), LLAMA);
    expect(plan.histories.map(({ name, steps }) => [name, steps.length])).toEqual([
      ['script', 1],
      ['alone_0', 2],
      ['alone_1', 2],
    ]);
    expect(plan.rows.map(({ index, other }) => [index, other])).toEqual([
      [2, { history: 'alone_0', call: 0, index: 0 }],
      [3, { history: 'alone_0', call: 1, index: 0 }],
      [1, { history: 'alone_1', call: 1, index: 0 }],
    ]);
  });

  it('judges only the element that the case names, by the bound that it states', () => {
    const c = caseOf(PAIR, {
      base: PAIR,
      pairs: [
        [0, 1, 0, 1],
        [0, 3, 0, 3],
      ],
    });
    expect(exportPlan(c, failureAt(3e-5), LLAMA).rows.map(({ judged }) => judged)).toEqual([
      undefined,
      { element: 17, bound: 3e-5, want: 0.5, half: false },
    ]);
    expect(exportPlan(c, failureAt(undefined), LLAMA).rows[1]!.judged).toEqual({
      element: 17,
      bound: 0.5,
      want: 0.5,
      half: true,
    });
  });

  it('takes the wanted value from the case where only the oracle knows it', () => {
    const { rows } = exportPlan(caseOf(PAIR), failureAt(1e-5), LLAMA);
    expect(rows).toEqual([
      expect.objectContaining({ call: 0, index: 3, judged: expect.objectContaining({ want: 0.5 }) }),
    ]);
    expect(rows[0]!.other).toBeUndefined();
  });

  it('completes positions from what memory holds', () => {
    const calls: Call[] = [
      ...PAIR.calls,
      { op: 'seqRm', seq: 1, p0: 1, p1: -1 },
      { op: 'decode', batch: { token: [1, 2, 3], seq_id: [[0], [1], [1]] } },
    ];
    const last = steps(calls).at(-1)!;
    expect(last.do === 'decode' && last.planned.pos).toEqual([2, 1, 2]);
  });

  it('does not make calls that isobatch refuses itself, and expects refusals of the others', () => {
    const long = { token: new Array<number>(17).fill(1), seq_id: new Array<number[]>(17).fill([0]) };
    const calls: Call[] = [
      { op: 'decode', batch: long, refused: 'batch.size' },
      { op: 'seqKeep', seq: 9, refused: 'ops.seq_id' },
      { op: 'decode', batch: { token: [9999] }, refused: 'batch.token' },
    ];
    expect(steps(calls).map((s) => [s.do, 'refused' in s ? s.refused : undefined])).toEqual([
      ['nothing', undefined],
      ['nothing', undefined],
      ['decode', true],
    ]);
  });

  it('asks for positions after their call, but not for the smallest one of a window', () => {
    const positions = [[0, 1, 0, 1]] as const;
    const c = caseOf(PAIR, { positions });
    const told = {
      ...DIED,
      difference: { what: 'largest position of sequence 1 after call 0', got: 0, want: 1 },
    };
    const asked = (windowed: boolean) =>
      exportPlan(c, told, { ...LLAMA, windowed }).histories[0]!.steps.filter((s) => s.do === 'positions');
    expect(asked(false)).toEqual([{ do: 'positions', call: 0, seq: 1, min: 0, max: 1 }]);
    expect(asked(true)).toEqual([{ do: 'positions', call: 0, seq: 1, min: null, max: 1 }]);
  });

  it('keeps states by number, and opens a context with what is changed', () => {
    const calls: Call[] = [
      ...PAIR.calls,
      { op: 'stateSave', slot: 'a' },
      { op: 'stateSave', slot: 'b', seq: 1 },
      { op: 'newContext', params: { n_ubatch: 4 } },
      { op: 'stateLoad', slot: 'b', seq: 0, cut: 3, refused: 'state' },
      { op: 'stateLoad', slot: 'a' },
    ];
    expect(steps(calls).slice(1)).toEqual([
      { do: 'state_save', call: 1, slot: 0, seq: -1 },
      { do: 'state_save', call: 2, slot: 1, seq: 1 },
      { do: 'next_context', call: 3, params: { ...PAIR.params, n_ubatch: 4 }, refused: false },
      { do: 'state_load', call: 4, slot: 1, seq: 0, cut: 3, refused: true },
      { do: 'state_load', call: 5, slot: 0, seq: -1, cut: 0, refused: false },
    ]);
  });

  it('encodes from position 0 on, whatever was encoded before, and leaves memory to the decoder', () => {
    const t5: ModelInfo = { ...LLAMA, arch: 't5', encoder: 'with decoder' };
    const source = { token: [5, 6, 7], seq_id: [[0], [1], [0]] };
    const calls: Call[] = [
      { op: 'encode', batch: source },
      { op: 'decode', batch: { token: [0], seq_id: [[1]] } },
      { op: 'encode', batch: source },
      { op: 'decode', batch: { token: [9], seq_id: [[1]] } },
    ];
    const plan = exportPlan(caseOf(withCalls(calls), { property: 'cross', alone: [] }), DIED, t5);
    const [{ steps: made }] = plan.histories as [(typeof plan.histories)[0]];
    expect(made.map((step) => [step.do, 'planned' in step && step.planned.pos])).toEqual([
      ['encode', [0, 0, 1]],
      ['decode', [0]],
      ['encode', [0, 0, 1]],
      ['decode', [1]],
    ]);
  });

  it('asks for embeddings as `encoder` and `pooling` do: the encoder, or an empty memory for each batch', () => {
    const [decode] = PAIR.calls as [Extract<Call, { op: 'decode' }>];
    const twice: readonly Call[] = [decode, decode, { op: 'newContext' }, decode];
    const planned = (property: string, model: ModelInfo) => {
      const script = { ...withCalls(twice), params: { ...PAIR.params, pooling: 'mean' } as const };
      return exportPlan(caseOf(script, { property, alone: [] }), DIED, model).histories[0]!;
    };
    const did = ({ steps: made }: { readonly steps: readonly Step[] }) => made.map((step) => step.do);
    const pooled = planned('pooling', LLAMA);
    expect(did(pooled)).toEqual(['decode', 'clear', 'decode', 'next_context', 'clear', 'decode']);
    expect(pooled.params).toMatchObject({ embeddings: true, pooling: 'mean' });
    const bert: ModelInfo = { ...LLAMA, arch: 'bert', memory: 'none', encoder: 'only' };
    expect(did(planned('encoder', bert))).toEqual(['decode', 'decode', 'next_context', 'decode']);
    const t5: ModelInfo = { ...LLAMA, arch: 't5', encoder: 'with decoder' };
    expect(did(planned('encoder', t5))).toEqual(['encode', 'encode', 'next_context', 'encode']);
    expect(did(planned('solo', LLAMA))).toEqual(['decode', 'decode', 'next_context', 'decode']);
  });

  it('is refused where libllama cannot be asked', () => {
    const refusalOf = (run: () => unknown): string => {
      try {
        run();
        return 'none';
      } catch (error) {
        return `${(error as { kind?: string }).kind}: ${(error as Error).message}`;
      }
    };
    expect(refusalOf(() => exportPlan(caseOf(undefined, { white: {} }), DIED, LLAMA))).toBe(
      'usage: this kind of case (solo) cannot be exported to C: it asks a rule inside of a subject',
    );
    const unknown = { op: 'seqDrop', seq: 0 } as unknown as Call;
    expect(refusalOf(() => steps([...PAIR.calls, unknown]))).toContain(
      'cannot be exported to C: call 1 is a seqDrop',
    );
    const copy: Call = { op: 'seqCp', from: 0, to: 1, p0: -1, p1: -1, refused: 'ops.copy' };
    expect(refusalOf(() => steps([...PAIR.calls, copy]))).toContain('libllama has no answer to it');
    const inside = { ...DIED, signature: 'recurrent-cells/mamba/259/INV-RS-2 after decode' };
    expect(refusalOf(() => exportPlan(caseOf(PAIR, { alone: [] }), inside, LLAMA))).toContain(
      'it looks at cells inside of memory',
    );
    const lost = { ...failureAt(1e-5), difference: { ...failureAt(1e-5).difference, at: undefined } };
    expect(refusalOf(() => exportPlan(caseOf(PAIR), lost, LLAMA))).toContain('how far apart the rows may be');
  });
});
