/**
 * `outputs`: the final row of every output, against the oracle and against INV-OUT-1: row r belongs to the r-th
 * smallest batch index that is flagged (spec: batching.md 3).
 */
import type { CompleteBatch, Ubatch } from '../../contract/batch.ts';
import type { WhiteBox } from '../../contract/white.ts';
import { note, sizeClass } from '../coverage.ts';
import { askSplit } from './asked.ts';
import { drawBatch, drawOptions, type SplitInput, smallerInputs } from './batches.ts';
import { answerOf, type Broken, broken, type Checked, whiteProperty } from './frame.ts';

export const outputs = whiteProperty<SplitInput>({
  name: 'outputs',
  statement: "outputs come back in the batch's order, none lost, none doubled",
  classes: {
    outputs: ['0', '1', '2', '3-4', '5-8', '9-16', '17-32', '33-64', '65-128'],
    flags: ['some', 'all', 'none'],
    policies: ['simple', 'equal', 'equal-batch', 'equal-sequential', 'sequence', 'whole'],
  },
  draw(r, offered) {
    const batch = drawBatch(r);
    return { batch, options: drawOptions(r, batch, offered) };
  },
  check(subject, oracle, input) {
    const cut = answerOf(() => oracle.split(input.batch, input.options));
    // Where the policy cannot cut the batch there are no rows; the next best policy gives them.
    const ubatches =
      'value' in cut
        ? cut.value
        : oracle.split(input.batch, { ...input.options, policy: 'equal', n_keep_tail: 0 });
    return checkOutputs(subject, oracle, input.batch, ubatches);
  },
  /** Its own ubatches are taken for the order of execution: whether they are the right ones is what `split` asks. */
  async ask(rules, oracle, { batch, options }) {
    const coupled = options.policy === 'equal-sequential' && batch.seq_id.some((ids) => ids.length > 1);
    const can = coupled ? { policy: 'equal-batch' as const, n_ubatch: options.n_ubatch } : options;
    const asked = await askSplit(rules, { batch, options: can });
    if ('skip' in asked) return asked;
    return {
      check: () => checkOutputs(asked.box, oracle, batch, asked.box.split(batch, asked.input.options)),
    };
  },
  cover(coverage, { batch, options }) {
    let n = 0;
    for (const flag of batch.logits) if (flag) n++;
    note(coverage, 'outputs', sizeClass(n));
    note(coverage, 'flags', n === 0 ? 'none' : n === batch.token.length ? 'all' : 'some');
    note(coverage, 'policies', options.policy);
  },
  shrink: smallerInputs,
});

/** Also used by the small scope. */
export function checkOutputs(
  subject: WhiteBox,
  oracle: WhiteBox,
  batch: CompleteBatch,
  ubatches: readonly Ubatch[],
): Checked {
  const got = subject.outputRows(batch, ubatches);
  const want = oracle.outputRows(batch, ubatches);
  const wrong = rowsHold(batch, ubatches, got) ?? sameRows(got, want);
  return { compared: want.length + 1, tokens: batch.token.length, broken: wrong };
}

function sameRows(got: readonly number[], want: readonly number[]): Broken | null {
  for (let k = 0; k < want.length; k++) {
    if (got[k] !== want[k])
      return broken('oracle', `row of output ${k} in order of execution`, got[k], want[k]);
  }
  return got.length === want.length ? null : broken('oracle', 'number of outputs', got.length, want.length);
}

let rank = new Int32Array(512);

/** INV-OUT-1, straight from its words. */
function rowsHold(batch: CompleteBatch, ubatches: readonly Ubatch[], rows: readonly number[]): Broken | null {
  const { logits } = batch;
  if (rank.length < logits.length) rank = new Int32Array(2 * logits.length);
  let total = 0;
  for (let i = 0; i < logits.length; i++) rank[i] = logits[i] ? total++ : -1;
  let k = 0;
  for (const { index } of ubatches) {
    for (const i of index) {
      if (rank[i]! < 0) continue;
      if (rows[k] !== rank[i]) return broken('INV-OUT-1', `row of token ${i}`, rows[k] ?? 'none', rank[i]!);
      k++;
    }
  }
  return k === total && rows.length === total
    ? null
    : broken('INV-OUT-1', 'number of outputs', rows.length, total);
}
