/**
 * `operations`: after any removal, copy, keep or move, positions and answers are those of the list of entries. Rows whose
 * list is plain are compared with the sequence alone; after a removal inside or a move, what remains was computed when more was
 * there, and the row is compared with the same history token by token.
 */
import { HISTORY_CLASSES, REFILL_CLASSES } from './coverage.ts';
import { aloneRows, endToEnd } from './end-to-end.ts';
import { newDraft, scriptOf } from './generate/history.ts';
import { operate } from './generate/operations.ts';
import { trace } from './trace.ts';
import { singly } from './transform.ts';

export const operations = endToEnd({
  name: 'operations',
  statement: 'positions and answers after any removal, copy, keep or move are those of the list of entries',
  classes: {
    ...HISTORY_CLASSES,
    ...REFILL_CLASSES,
    operations: ['seqRm', 'seqCp', 'seqKeep', 'seqAdd', 'seqDiv', 'clear'],
    removals: ['whole', 'suffix', 'prefix', 'middle'],
    'rolled back': ['1', '2', '3-4'],
    refusals: ['ops.seq_id', 'ops.copy', 'ops.partial'],
  },
  draw(r, facts) {
    const d = newDraft(r, facts);
    const rounds = r.between(2, 6);
    let left = r.between(44, 132);
    for (let i = 0; i < rounds && left > 0; i++) {
      left -= d.decode(i === rounds - 1 ? left : r.between(1, Math.ceil((1.5 * left) / (rounds - i))));
      if (i === rounds - 1) break;
      for (let k = r.below(4); k > 0; k--) operate(d);
    }
    return { script: scriptOf(d) };
  },
  demand({ script }, t, facts) {
    const positions: [number, number, number, number][] = [];
    const last = script.calls.length - 1;
    trace(script, facts, (lists, c) => {
      if (script.calls[c]!.op === 'decode' && c !== last) return;
      for (let seq = 0; seq < lists.n_seq_max; seq++) {
        positions.push([c, seq, lists.posMin(seq), lists.posMax(seq)]);
      }
    });
    const alone = aloneRows(t);
    const bent = t.calls.some(({ tokens }) => tokens.some((x) => x.output && x.seen === null));
    if (!bent) return alone.length === 0 ? null : { alone, positions };
    const { base, pairs } = singly(script, t);
    const isBent = ([call, index]: readonly number[]): boolean =>
      t.calls[call!]!.tokens[index!]!.seen === null;
    return { base, pairs: pairs.filter(isBent), alone, positions };
  },
});
