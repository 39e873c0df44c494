/**
 * Three voters on the same cases: the oracle, our engine and another subject. The cases are those of `reference` for
 * the other subject, so the oracle judges both of them with the same histories, contexts and seeds.
 */
import type { SubjectSpec } from './subjects/registry.ts';
import type { Case, Outcome } from './types.ts';
import { WorkerState } from './worker-env.ts';
import { generate, runCase } from './worker-run.ts';

const PROPERTY = 'reference';

export interface VoteOptions {
  readonly subject: SubjectSpec;
  readonly model: string;
  readonly first: number;
  readonly count: number;
  readonly seed: string;
}

/** Failures of one voter with one signature. */
export interface Dissent {
  readonly voter: 'engine' | 'subject';
  readonly signature: string;
  n: number;
  /** Number of the first case, and what it says. */
  readonly first: number;
  readonly message: string;
}

export interface VoteResult {
  /** By what engine and subject say of the oracle's answers: cases. */
  readonly votes: Readonly<Record<string, number>>;
  readonly dissents: readonly Dissent[];
  /** Elements, of both. */
  readonly compared: number;
}

/** Runs the cases first .. first+count-1 of a model on both. Throws what opening a subject or a model throws. */
export async function vote({ subject, model, first, count, seed }: VoteOptions): Promise<VoteResult> {
  const common = { seed, restrict: {}, call_timeout_s: 24 };
  const other = new WorkerState({ ...common, subject });
  const engine = new WorkerState({ ...common, subject: { kind: 'engine' } });
  const votes: Record<string, number> = {};
  const dissents = new Map<string, Dissent>();
  let compared = 0;
  const note = (voter: Dissent['voter'], index: number, { failure }: Outcome): void => {
    if (failure === undefined) return;
    const { signature, message } = failure;
    const known = dissents.get(`${voter} ${signature}`);
    if (known === undefined)
      dissents.set(`${voter} ${signature}`, { voter, signature, n: 1, first: index, message });
    else known.n++;
  };
  try {
    const property = await other.property(PROPERTY);
    const [there, here] = [await other.env(property, model), await engine.env(property, model)];
    for (let index = first; index < first + count; index++) {
      const c = generate(property, there, index);
      const [theirs, ours] = [await runCase(property, there, c), await runCase(property, here, forEngine(c))];
      const name = `engine ${voteOf(ours)}, subject ${voteOf(theirs)}`;
      votes[name] = (votes[name] ?? 0) + 1;
      note('subject', index, theirs);
      note('engine', index, ours);
      compared += theirs.compared + ours.compared;
    }
  } finally {
    await other.kill();
    await engine.kill();
  }
  return { votes, dissents: [...dissents.values()], compared };
}

function voteOf({ status }: Outcome): 'agrees' | 'differs' | 'not asked' {
  if (status === 'skipped') return 'not asked';
  return status === 'failed' ? 'differs' : 'agrees';
}

/**
 * Flash attention is another way to compute the same: our engine has one way, and is asked for it. It answers no
 * embeddings, so where the other subject is asked for them it is asked for the logits that are made of them.
 */
function forEngine(c: Case): Case {
  const { flash_attn: _, embeddings: __, ...params } = c.script!.params;
  return { ...c, script: { ...c.script!, params } };
}
