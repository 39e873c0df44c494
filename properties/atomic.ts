/** `atomic`: a failed call changes nothing: neither positions, nor any later row. */
import { BATCH_REFUSALS, HISTORY_CLASSES } from './coverage.ts';
import { endToEnd } from './end-to-end.ts';
import { fill, newDraft, scriptOf } from './generate/history.ts';
import { refusedCall } from './generate/illegal.ts';
import { inject } from './generate/inject.ts';
import { trace } from './trace.ts';
import { withoutRefused } from './transform.ts';

export const atomic = endToEnd({
  name: 'atomic',
  statement: 'a failed call changes nothing',
  classes: {
    ...HISTORY_CLASSES,
    refusals: [...BATCH_REFUSALS, 'ops.seq_id', 'ops.copy', 'ops.partial', 'memory.overflow'],
  },
  draw(r, facts) {
    const d = newDraft(r, facts);
    fill(d, { calls: r.between(1, 6) });
    const plain = scriptOf(d);
    // A batch can only be too large for memory if it is not too large for n_batch.
    const params = { ...plain.params, n_batch: Math.max(plain.params.n_batch, plain.params.n_ctx + 3) };
    // The only failure that shows when a part of the batch is done already needs keys and values in F16.
    const overflows = facts.overflow !== undefined && facts.types_kv.includes('F16');
    if (overflows && r.chance(0.5)) params.type_kv = 'F16';
    const script = inject(r, facts, { params, calls: plain.calls }, 0.7, (at, next) =>
      refusedCall(at, next, params),
    );
    return { script };
  },
  demand({ script }, t, facts) {
    const refused = (c: number): boolean => {
      const call = script.calls[c]!;
      return call.op !== 'clear' && call.refused !== undefined;
    };
    if (!script.calls.some((_, c) => refused(c))) return null;
    const positions: [number, number, number, number][] = [];
    trace(script, facts, (lists, c) => {
      if (!refused(c)) return;
      for (let seq = 0; seq < lists.n_seq_max; seq++) {
        positions.push([c, seq, lists.posMin(seq), lists.posMax(seq)]);
      }
    });
    return { ...withoutRefused(script, t), positions };
  },
});
