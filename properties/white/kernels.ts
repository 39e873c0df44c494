/**
 * `kernels`: each kernel alone, on every implementation, against the oracle's operator. The bound of an element is
 * rigorous (spec: verdicts.md 4): the worst that roundings can do in the order of sums that the subject states, with no
 * probability. Implementations that promise the same bits must have them.
 */
import { IsobatchError } from '../../contract/errors.ts';
import type {
  BoundedOutput,
  KernelBox,
  OperatorInput,
  OperatorName,
  OperatorOutput,
} from '../../contract/operators.ts';
import type { RoundingProfile } from '../../contract/subject.ts';
import { note } from '../coverage.ts';
import { caseRandom } from '../random.ts';
import { skipped } from '../skipped.ts';
import type { Case, Coverage, Env, Outcome, Property } from '../types.ts';
import { type BoundsTally, emptyBounds, emptyUse, judge, noteUse, type Verdict } from '../verdict.ts';
import { drawSpec, inputOf, type KernelSpec, OPERATORS, ROW_KINDS, smallerSpecs } from './kernel-inputs.ts';

const NAME = 'kernels';

/** The first element that is wrong. */
interface Wrong {
  readonly isa: string;
  /** "row 3, element 17", or "state 0, element 5" ... */
  readonly where: string;
  readonly index?: number;
  readonly got: number | string;
  readonly want: number | string;
  /** The bound, or why nothing else will do. */
  readonly why: string;
  /** What groups it with others of the same operator. */
  readonly kind: string;
}

/** What one case has given so far. */
class Comparison {
  readonly counts: Record<'compared' | Verdict, number> = {
    compared: 0,
    equal: 0,
    rounding: 0,
    divergent: 0,
  };
  readonly bounds: BoundsTally = emptyBounds();
  readonly op: OperatorName;
  wrong: Wrong | null = null;

  constructor(op: OperatorName) {
    this.op = op;
  }

  count(verdict: Verdict, n = 1): void {
    this.counts.compared += n;
    this.counts[verdict] += n;
  }

  fail(wrong: Wrong): void {
    this.count('divergent');
    this.wrong ??= wrong;
  }

  /** A result that has not the shape of the wanted one. */
  shape(isa: string, where: string, got: string, want: string): void {
    this.fail({ isa, where, got, want, why: 'nothing else is an answer', kind: 'shape' });
  }

  /** Judges each element of an output; how many of each verdict. */
  within(isa: string, got: OperatorOutput, want: BoundedOutput): Record<Verdict, number> {
    const found = { equal: 0, rounding: 0, divergent: 0 };
    this.bounds.use[this.op] ??= emptyUse();
    const use = this.bounds.use[this.op]!;
    for (let i = 0; i < want.values.length; i++) {
      const [y, v, bound] = [got.values[i]!, want.values[i]!, want.bounds[i]!];
      const verdict = judge(y, v, bound);
      found[verdict]++;
      this.count(verdict);
      if (bound === 0) this.bounds.exact++;
      else noteUse(use, Math.abs(y - v) / bound);
      if (verdict === 'divergent')
        this.wrong ??= {
          isa,
          ...placed(got, i),
          got: y,
          want: v,
          why: boundInWords(y, v, bound),
          kind: 'value',
        };
    }
    return found;
  }
}

function placed({ name, n }: OperatorOutput, i: number): { where: string; index: number } {
  const row = Math.floor(i / n);
  return { where: `${name === 'state' ? 'state' : 'row'} ${row}`, index: i - row * n };
}

function boundInWords(got: number, want: number, bound: number): string {
  if (bound === 0) return 'nothing is rounded here, so it must be equal';
  const share = Math.abs(got - want) / bound;
  return `the bound of its error is ${bound.toPrecision(3)}, and it is off by ${share.toPrecision(3)} times that`;
}

type Answer =
  | { readonly outputs: readonly OperatorOutput[] }
  | { readonly kind: string; readonly words: string };

/** What an implementation answers, or what it threw: by its kind a refusal is compared. */
function answerOf(run: () => readonly OperatorOutput[]): Answer {
  try {
    return { outputs: run() };
  } catch (error) {
    if (!(error instanceof IsobatchError)) return { kind: 'threw', words: String(error) };
    return { kind: error.kind, words: `${error.kind}: ${error.message}` };
  }
}

const words = (values: Float32Array) => new Int32Array(values.buffer, values.byteOffset, values.length);

/** The first element with other bits, or -1. Any NaN is any other. */
function otherBits(a: Float32Array, b: Float32Array): number {
  const [x, y] = [words(a), words(b)];
  for (let i = 0; i < x.length; i++)
    if (x[i] !== y[i] && !(Number.isNaN(a[i]!) && Number.isNaN(b[i]!))) return i;
  return -1;
}

/** The implementation that the others are compared with, and how it came out. */
interface First {
  readonly isa: string;
  readonly outputs: readonly OperatorOutput[];
  readonly found: readonly Record<Verdict, number>[];
}

/** One implementation. What has the bits of the first is as right as it. */
function compareOne(
  c: Comparison,
  isa: string,
  outputs: readonly OperatorOutput[],
  want: readonly BoundedOutput[],
  first: First | null,
  same_bits: boolean,
): First | null {
  const found: Record<Verdict, number>[] = [];
  for (const [k, output] of want.entries()) {
    const got = outputs[k];
    if (got === undefined || got.values.length !== output.values.length) {
      c.shape(isa, output.name, `${got?.values.length ?? 'no'} numbers`, `${output.values.length} numbers`);
      return null;
    }
    const other = first === null ? -1 : otherBits(got.values, first.outputs[k]!.values);
    if (first !== null && other < 0) {
      for (const verdict of ['equal', 'rounding', 'divergent'] as const)
        c.count(verdict, first.found[k]![verdict]);
      continue;
    }
    const alone = c.within(isa, got, output);
    found.push(alone);
    if (first === null || !same_bits || alone.divergent > 0) continue;
    const [a, b] = [got.values[other]!, first.outputs[k]!.values[other]!];
    const why = `${first.isa} gives ${b}, and all implementations promise the same bits`;
    c.fail({ isa, ...placed(got, other), got: a, want: b, why, kind: 'bits' });
  }
  return { isa, outputs, found };
}

/** What must come out: numbers with bounds, or the kind of a refusal. */
function wantedOf(run: () => readonly BoundedOutput[]): readonly BoundedOutput[] | string {
  try {
    return run();
  } catch (error) {
    if (error instanceof IsobatchError && error.kind === 'memory.overflow') return error.kind;
    throw error;
  }
}

/** All implementations against the oracle, and against each other. */
function compareAll(
  box: KernelBox,
  isas: readonly string[],
  want: readonly BoundedOutput[] | string,
  input: OperatorInput,
): Comparison {
  const c = new Comparison(input.op);
  let first: First | null = null;
  for (const isa of isas) {
    const answer = answerOf(() => box.run(isa, input));
    if ('kind' in answer || typeof want === 'string') {
      const got = 'kind' in answer ? answer.words : 'an answer';
      if ('kind' in answer && answer.kind === want) c.count('equal');
      else c.shape(isa, 'the call', got, typeof want === 'string' ? want : 'an answer');
      continue;
    }
    const done = compareOne(c, isa, answer.outputs, want, first, box.same_bits);
    first ??= done;
  }
  return c;
}

function cover(coverage: Coverage, spec: KernelSpec, isas: readonly string[]): void {
  note(coverage, 'operators', spec.op);
  for (const isa of isas) note(coverage, 'isas', isa);
  if (spec.op === 'matmul' || spec.op === 'embed') note(coverage, 'weight types', spec.type);
  if (spec.op === 'attention' || spec.op === 'kvStore') note(coverage, 'types of K and V', spec.type);
  for (const kind of new Set(spec.rows.map((row) => row.kind))) note(coverage, 'kinds of rows', kind);
  note(coverage, 'rows', classOf(spec.rows.length, ROWS));
  if (spec.op === 'matmul') note(coverage, 'terms of a sum', classOf(spec.sizes.k!, TERMS));
  if (spec.op === 'attention') note(coverage, 'keys', classOf(spec.keys.length, TERMS));
}

/** Classes of sizes by where kernels change: one, some vectors, a block of 64, one of 256. */
const ROWS = ['1', '2-4', '5-16', '17-40'] as const;
const TERMS = ['1-16', '17-64', '65-256', '257-4096'] as const;

function classOf(n: number, classes: readonly string[]): string {
  return classes.find((name) => n <= Number(name.split('-').at(-1))) ?? classes.at(-1)!;
}

/** K and V of F16 where the subject keeps no others. */
function asKept(spec: KernelSpec, profile: RoundingProfile): KernelSpec {
  const inMemory = spec.op === 'attention' || spec.op === 'kvStore';
  return inMemory && profile.kv === 'F16' ? { ...spec, type: 'F16' } : spec;
}

function caseOf(env: Env, index: number, white: KernelSpec): Case {
  return { version: 1, property: NAME, model: 'rules', seed: env.seed, index, white };
}

function outcomeOf(c: Comparison, spec: KernelSpec, theCase: Case): Outcome {
  const sums = { ...c.counts, tokens: spec.rows.length, bounds: c.bounds };
  if (c.wrong === null) return { status: 'passed', ...sums };
  const { isa, where, index, got, want, why, kind } = c.wrong;
  const what = `${spec.op} on ${isa}, ${where}`;
  const at = index === undefined ? what : `${what}, element ${index}`;
  const failure = {
    case: theCase,
    message: `${NAME}: ${at}: got ${got}, want ${want}; ${why}`,
    difference: { what, index, got: shown(got), want: shown(want) },
    signature: `${NAME}/rules/${spec.op} ${kind}`,
  };
  return { status: 'failed', ...sums, failure };
}

/** JSON has no NaN and no infinity. */
function shown(x: number | string): number | string {
  return typeof x === 'number' && !Number.isFinite(x) ? String(x) : x;
}

const NO_KERNELS = 'the subject does not show its kernels';
const NO_PROFILE = 'the subject does not state how it rounds, so no bound can be derived';

export const kernels: Property = {
  name: NAME,
  statement: 'each kernel gives its operator within the rigorous bound, on every implementation',
  white: true,
  classes: {
    operators: OPERATORS,
    'weight types': ['F32', 'F16'],
    'types of K and V': ['F32', 'F16'],
    'kinds of rows': ROW_KINDS,
    rows: ROWS,
    'terms of a sum': TERMS,
    keys: TERMS,
  },
  skip: (subject) => (subject.rounding === undefined ? NO_PROFILE : null),
  skipRules: (white) => (white.kernels === undefined ? NO_KERNELS : null),
  generate: (env, index) => caseOf(env, index, drawSpec(caseRandom(env.seed, NAME, 'rules', index))),
  run(env, theCase) {
    const { white, oracle, subject, restrict } = env;
    if (white?.kernels === undefined) return skipped(NO_KERNELS);
    if (subject.rounding === undefined) return skipped(NO_PROFILE);
    const spec = theCase.white as KernelSpec;
    const isas = restrict.isa === undefined ? white.kernels.isas : [restrict.isa];
    cover(env.coverage, spec, isas);
    const profile: RoundingProfile = subject.rounding;
    const input = inputOf(asKept(spec, profile));
    const want = wantedOf(() => oracle.operators!.run(profile, input));
    return outcomeOf(compareAll(white.kernels, isas, want, input), spec, theCase);
  },
  *shrink(env, c) {
    for (const spec of smallerSpecs(c.white as KernelSpec)) yield caseOf(env, c.index, spec);
  },
};
