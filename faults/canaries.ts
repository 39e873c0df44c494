/**
 * Faults at both ends of the scale. Canaries are so gross that a campaign which misses one is broken. Equivalent
 * mutants change the work but, provably, no answer and no rule: a campaign that finds one cries wolf.
 */
import type { Fault } from './apply.ts';
import type { Canary } from './planted.ts';

const standsFor = 'a campaign that cannot see this cannot see anything';

export const canaries: readonly Canary[] = [
  {
    name: 'mask-next-token',
    file: 'engine/mask.ts',
    find: 'countBelow(cells, seq, pos + 1)',
    replace: 'countBelow(cells, seq, pos + 2)',
    standsFor:
      'X01, mlx-lm PR 390: a mask that was one position too wide; it shows in any ubatch of two tokens',
    describe: 'a query sees the token behind it if that is in the same ubatch',
  },
  {
    name: 'canary-wrong-answers',
    file: 'engine/context.ts',
    find: 'batch.token[splitter.index[begin + j]]',
    replace: '(batch.token[splitter.index[begin + j]] + batch.n_tokens) % 64',
    standsFor,
    describe: 'every token is taken for another, which depends on the size of the batch',
  },
  {
    name: 'canary-throws',
    file: 'engine/context.ts',
    find: 'this.memory.begin(this.batch)',
    replace: 'this.memory.start(this.batch)',
    standsFor,
    describe: 'every decode throws a TypeError',
  },
  {
    name: 'canary-kills',
    file: 'engine/context.ts',
    find: 'this.memory.begin(this.batch)',
    replace: "process.kill(process.pid, 'SIGKILL')",
    standsFor,
    describe: 'every decode kills its process',
  },
  {
    name: 'canary-hangs',
    file: 'engine/context.ts',
    find: 'this.memory.begin(this.batch)',
    replace: 'for (;;);',
    standsFor,
    describe: 'no decode ever ends',
    watchdog_s: 2,
  },
  {
    name: 'canary-nan',
    file: 'engine/context.ts',
    find: 'this.memory.commit(this.batch)',
    replace: '(result.logits.fill(NaN, 0, 1), this.memory.commit(this.batch))',
    standsFor,
    describe: 'the first logit of every answer is NaN',
  },
  {
    name: 'canary-accepts-illegal',
    file: 'engine/batch.ts',
    find: 'pos !== want',
    replace: 'pos < 0',
    standsFor,
    describe: 'a batch may have any positions',
  },
];

export const equivalents: readonly Fault[] = [
  {
    name: 'equivalent-search',
    file: 'engine/mask.ts',
    find: '(low + high) >>> 1',
    replace: 'low + ((high - low) >>> 2)',
    standsFor: 'nothing: a search by quarters ends where a search by halves does',
    describe: 'the end of the visible range is searched at a quarter instead of the half',
  },
  {
    name: 'equivalent-tile',
    file: 'native/attention.inl.h',
    find: '++n == FEW_ROWS',
    replace: '++n == 2',
    standsFor: 'nothing: by the bit contract no sum of a query meets one of another query',
    describe: 'attention takes two pairs of query and head at a time instead of four',
  },
];
