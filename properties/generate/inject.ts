/** Puts refused calls between the calls of a history. */
import type { Batch } from '../../contract/batch.ts';
import type { Facts } from '../facts.ts';
import type { Random } from '../random.ts';
import { applyCall } from '../trace.ts';
import type { Call, Script } from '../types.ts';
import { Draft } from './draft.ts';

/**
 * The script with refused calls: before each call `chance` times one, and sometimes one at the end. `make` draws one
 * for the state of memory that the draft's lists hold; it gets the next batch as an example.
 */
export function inject(
  r: Random,
  facts: Facts,
  script: Script,
  chance: number,
  make: (d: Draft, next: Batch) => Call | null,
): Script {
  const names = Array.from({ length: script.params.n_seq_max }, (_, i) => i);
  const d = new Draft(r, facts, names, script.params.n_seq_max, script.params.n_rs_seq ?? 0);
  const calls: Call[] = [];
  let example: Batch | undefined;
  for (const call of script.calls) {
    if (call.op === 'decode') example = call.batch;
    if (example !== undefined && r.chance(chance)) {
      for (let n = r.between(1, 2); n > 0; n--) push(calls, make(d, example));
    }
    applyCall(d.lists, call);
    calls.push(call);
  }
  if (example !== undefined && r.chance(chance)) push(calls, make(d, example));
  return { params: script.params, calls };
}

function push(calls: Call[], call: Call | null): void {
  if (call !== null) calls.push(call);
}
