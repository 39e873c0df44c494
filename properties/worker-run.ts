/**
 * The work of a worker on cases: run a range and announce it, run one, name one. Knows nothing of pipes: events go
 * through `emit`.
 */
import { IsobatchError } from '../contract/errors.ts';
import { Undecidable } from './branches.ts';
import { RULES } from './campaign-models.ts';
import { skipped } from './skipped.ts';
import type { Case, Coverage, Env, Failure, Outcome, Property } from './types.ts';
import {
  addOutcome,
  type CampaignRequest,
  coverageSince,
  type Event,
  emptyTally,
  type Tally,
} from './worker-messages.ts';

export type Emit = (event: Event) => void;

/** Sums are sent at least this often, so that little is lost when the process dies. */
const FLUSH_MS = 200;
/** Failures of one signature that are told in full in one range; the others are counted. */
const TOLD = 1;
/** The event loop gets a turn this often, to see that the parent is gone or wants an end. */
const YIELD_MS = 50;

/** How failures of a model are grouped: by architecture, so that an f16 twin is not another finding. */
export function familyOf(env: Pick<Env, 'model'>): string {
  return env.model.arch;
}

/**
 * Runs one case. What a property does not catch is a failure too: a subject that died, or an engine that threw
 * something which is not a refusal.
 */
export async function runCase(property: Property, env: Env, c: Case): Promise<Outcome> {
  try {
    return await property.run(env, c);
  } catch (error) {
    if (error instanceof Undecidable) return skipped(error.message);
    // A bound that is no bound is a mistake of the harness and no finding about the subject.
    if (error instanceof IsobatchError && error.detail.harness === true) throw error;
    return thrownOutcome(env, c, error);
  }
}

function thrownOutcome(env: Env, c: Case, error: unknown): Outcome {
  const e = error as Partial<IsobatchError>;
  const told = error instanceof IsobatchError && error.kind === 'subject';
  const { end, did = 'answered nonsense' } = e.detail ?? {};
  const died = told && end !== undefined;
  const kind = died ? `died: ${end}` : told ? String(did) : `threw ${e.kind ?? e.name ?? 'something'}`;
  const text = String(e.message ?? error);
  const failure: Failure = {
    case: c,
    message: told ? text : `the subject threw an error that is not a refusal: ${text}`,
    difference: {
      what: died ? 'the process of the subject' : 'a call of the subject',
      got: kind,
      want: 'an answer or a refusal',
    },
    signature: `${c.property}/${familyOf(env)}/${kind}`,
  };
  return { status: 'failed', compared: 0, equal: 0, rounding: 0, divergent: 0, tokens: 0, failure };
}

/**
 * As `runCase`. A case whose subject dies is run once more, in the new process: a library may lose its memory to one
 * case and die of it in another, of another property or model, and then that case is not to blame.
 */
async function runSurely(property: Property, env: Env, c: Case): Promise<Outcome> {
  const outcome = await runCase(property, env, c);
  const { failure } = outcome;
  if (failure === undefined || !/\/died: |refused\.subject/.test(failure.signature)) return outcome;
  if ((await runCase(property, env, c)).status === 'failed') return outcome;
  const alone = 'run again in a new process, the case does not fail: what ran before it matters';
  return {
    ...outcome,
    failure: {
      ...failure,
      message: `${failure.message}; ${alone}`,
      signature: `${failure.signature}, not repeatable`,
    },
  };
}

/** A bug in a generator must not look like a finding about the subject. */
export function generate(property: Property, env: Env, index: number): Case {
  try {
    return property.generate(env, index);
  } catch (error) {
    throw new IsobatchError(
      'internal',
      `the property ${property.name} cannot generate its case ${index}: ${(error as Error).message}`,
      { property: property.name, index, stack: (error as Error).stack },
    );
  }
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Sums that were not sent yet. */
class Pending {
  tally: Tally = emptyTally();
  failures: Failure[] = [];
  first: number;
  readonly #emit: Emit;
  readonly #coverage: Coverage;
  #before: Coverage;
  #told: Record<string, number> = {};
  #sent = Date.now();

  constructor(first: number, env: Env, emit: Emit) {
    this.first = first;
    this.#emit = emit;
    this.#coverage = env.coverage;
    this.#before = structuredClone(env.coverage);
  }

  add(outcome: Outcome): void {
    addOutcome(this.tally, outcome);
    if (outcome.failure === undefined) return;
    const { signature } = outcome.failure;
    this.#told[signature] = (this.#told[signature] ?? 0) + 1;
    if (this.#told[signature] <= TOLD) this.failures.push(outcome.failure);
  }

  flush(end: number, force: boolean): void {
    if (!force && Date.now() - this.#sent < FLUSH_MS) return;
    const { first, tally, failures } = this;
    if (end > first) {
      const coverage = coverageSince(this.#coverage, this.#before);
      this.#emit({ event: 'outcome', first, count: end - first, tally, coverage, failures });
    }
    this.#before = structuredClone(this.#coverage);
    this.first = end;
    this.tally = emptyTally();
    this.failures = [];
    this.#sent = Date.now();
  }
}

/** Runs a range of cases: each block is announced before it runs, sums follow. */
export async function runRange(
  property: Property,
  env: Env,
  request: Pick<CampaignRequest, 'first' | 'count' | 'block'>,
  emit: Emit,
): Promise<void> {
  const end = request.first + request.count;
  const model = property.white ? RULES : env.modelName;
  const pending = new Pending(request.first, env, emit);
  let turned = Date.now();
  for (let first = request.first; first < end; first += request.block) {
    const count = Math.min(request.block, end - first);
    emit({ event: 'case', property: property.name, model, first, count });
    for (let i = first; i < first + count; i++)
      pending.add(await runSurely(property, env, generate(property, env, i)));
    pending.flush(first + count, false);
    if (Date.now() - turned < YIELD_MS) continue;
    await turn();
    turned = Date.now();
  }
  pending.flush(end, true);
}
