/**
 * Asks a subject in another process how it splits a batch, and gives its answer as a white box that knows this one
 * answer. So the checks stay as they are: functions of two boxes, without promises.
 */
import type { CompleteBatch, SplitOptions } from '../../contract/batch.ts';
import { IsobatchError } from '../../contract/errors.ts';
import type { ShownRules, ShownSplit, WhiteBox } from '../../contract/white.ts';
import type { SplitInput } from './batches.ts';

export type AskedSplit = { readonly box: WhiteBox; readonly input: SplitInput } | { readonly skip: string };

/** The answer to one input; `input` is what the oracle must be asked, by the rules that the subject is held to. */
export async function askSplit(rules: ShownRules, { batch, options }: SplitInput): Promise<AskedSplit> {
  const { policy, n_keep_tail = 0 } = options;
  if (!rules.policies.includes(policy)) return { skip: `the subject does not show a split by ${policy}` };
  if (n_keep_tail > 0 && !rules.keep_tail) return { skip: 'the subject has no rule for tails' };
  const input = { batch, options: { ...options, quirks: rules.quirks } };
  return { box: boxOf(await answerTo(rules, batch, input.options)), input };
}

/** A refusal is an answer; a process that dies or answers nonsense is not. */
async function answerTo(
  rules: ShownRules,
  batch: CompleteBatch,
  options: SplitOptions,
): Promise<ShownSplit | IsobatchError> {
  try {
    return await rules.split(batch, options);
  } catch (error) {
    const e = error as Partial<IsobatchError>;
    if (error instanceof IsobatchError && (e.kind === 'batch.coupled' || e.kind === 'refused')) return error;
    throw error;
  }
}

function boxOf(answer: ShownSplit | IsobatchError): WhiteBox {
  const given = (): ShownSplit => {
    if (answer instanceof IsobatchError) throw answer;
    return answer;
  };
  return {
    split: () => given().ubatches,
    outputRows: () => ranks(given().out_ids),
    slots: notShown,
    cells: notShown,
    windows: notShown,
  };
}

function notShown(): never {
  throw new IsobatchError('internal', 'another process was asked for its split only');
}

/** Rows are sorted by batch index (spec: batching.md 3.2), so the k-th output ends in the row of its rank. */
function ranks(out_ids: readonly number[]): number[] {
  const order = out_ids.map((_, k) => k).sort((a, b) => out_ids[a]! - out_ids[b]!);
  const rows = new Array<number>(order.length);
  order.forEach((k, row) => {
    rows[k] = row;
  });
  return rows;
}
