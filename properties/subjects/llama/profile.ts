/**
 * Measures how a subject rounds, operator by operator, with the models of `profile-models.ts`; what cannot be measured is
 * stated as the weakest that is right for every release (rules: spec: verdicts.md 5 and 6).
 *
 * Stated, not measured:
 * - Sums (`products`, `rows`, `keys`) are `any`: ggml has several kernels for the same product (vector dot products of
 *   4 to 64 lanes, blocked matrix products, tiles of flash attention), and which one runs depends on the instruction
 *   set, on the number of columns and on alignment.
 * - `fma` is false: kernels with and without fused products live side by side, and a bound for products that are
 *   rounded first holds for fused ones too.
 * - GELU (`gelu`) of a subject that does not run gemma2 is by a table, as in all releases.
 *
 * An answer that is neither the one nor the other counts as the coarser rounding.
 */

import type {
  ContextParams,
  RoundingProfile,
  Subject,
  SubjectInfo,
  SubjectModel,
  TypeKv,
} from '../../../contract/subject.ts';
import { gelu } from '../../../oracle/gelu.ts';
import { roundToHalf } from '../../../oracle/half.ts';
import {
  type AttentionProbe,
  attentionProbe,
  FIRST,
  geluProbe,
  HEAD,
  READ,
  REFERENCE,
  SECOND,
  stepProbe,
} from './profile-models.ts';

export type MeasuredProfile = Pick<SubjectInfo, 'rounding' | 'rounding_flash'>;

export interface MeasureOptions {
  /** False: flash attention takes no K and V in F32 here, and to ask for that may end the process. */
  readonly flash_f32?: boolean;
}

/**
 * The profile of contexts without flash attention, and with it where it is offered. The subject must run llama and
 * mamba. Throws whatever it throws.
 */
export async function measureProfile(
  subject: Subject,
  { flash_f32 = true }: MeasureOptions = {},
): Promise<MeasuredProfile> {
  const { types_kv, choices } = subject.info;
  const common = {
    fma: false,
    products: { order: 'any' },
    rows: { order: 'any' },
    keys: { order: 'any' },
    softplus: await softplusOf(subject),
    gelu: await geluOf(subject),
  } as const;
  const models = new Models(subject);
  const measured = async (flash_attn: boolean): Promise<RoundingProfile> => {
    const probe = new Probe(models, flash_attn);
    const asks_f32 = types_kv.includes('F32') && (flash_f32 || !flash_attn);
    const finest = asks_f32 ? 'F32' : 'F16';
    return {
      ...common,
      rope: await ropeOf(probe, finest),
      f16_activations: await activationsOf(probe, types_kv.includes('F16')),
      attention: await accumulatorOf(probe),
      kv: asks_f32 ? await storedAs(probe) : flash_attn ? 'F16' : 'as asked',
    };
  };
  try {
    const rounding = await measured(false);
    if (!choices?.flash_attn?.includes(true)) return { rounding };
    return { rounding, rounding_flash: await measured(true) };
  } finally {
    await models.close();
  }
}

/** Loaded probes: the same ones serve with and without flash attention. */
class Models {
  readonly #subject: Subject;
  readonly #loaded = new Map<string, SubjectModel>();

  constructor(subject: Subject) {
    this.#subject = subject;
  }

  async of(probe: AttentionProbe): Promise<SubjectModel> {
    const key = JSON.stringify(probe);
    let model = this.#loaded.get(key);
    if (model === undefined) {
      model = await this.#subject.load(attentionProbe(probe), 'a probe of attention');
      this.#loaded.set(key, model);
    }
    return model;
  }

  async close(): Promise<void> {
    for (const model of this.#loaded.values()) await model.close();
  }
}

/** Runs probes in contexts with or without flash attention. */
class Probe {
  readonly #models: Models;
  readonly #flash_attn: boolean;

  constructor(models: Models, flash_attn: boolean) {
    this.#models = models;
    this.#flash_attn = flash_attn;
  }

  /** What was added to channel READ at the last of these tokens: in calls of one token, and all in one call. */
  async outputs(probe: AttentionProbe, tokens: readonly number[], type_kv: TypeKv): Promise<number[]> {
    const model = await this.#models.of(probe);
    const more = this.#flash_attn ? { type_kv, flash_attn: true } : { type_kv };
    const shapes = tokens.length === 1 ? [[tokens]] : [tokens.map((token) => [token]), [tokens]];
    const out: number[] = [];
    for (const calls of shapes) {
      const added = (await quotient(model, calls, more)) - 1;
      out.push(added / (probe.gain ?? 1));
    }
    return out;
  }
}

/** The logit of READ over that of REFERENCE at the last token of these calls. */
async function quotient(
  model: SubjectModel,
  calls: readonly (readonly number[])[],
  more: Partial<ContextParams>,
): Promise<number> {
  const sizes = { n_ctx: 64, n_batch: 64, n_ubatch: 64, n_seq_max: 1 } as const;
  // Legal for every kind of memory.
  const ctx = await model.open({ ...sizes, split: 'sequence', ...more });
  try {
    let answer = Number.NaN;
    for (const token of calls) {
      const { logits } = await ctx.decode({ token });
      answer = logits[READ]! / logits[REFERENCE]!;
    }
    return answer;
  } finally {
    await ctx.close();
  }
}

/** Whether all answers are the exact one, as seen from what they would be with the coarser rounding. */
function isExact(answers: readonly number[], exact: number, coarse: number): boolean {
  return answers.every((got) => Math.abs(got - exact) < Math.abs(coarse - exact) / 4);
}

/** The share of the first of two keys, by the difference of their scores. */
function shareOf(difference: number): number {
  return 1 / (1 + Math.exp(-difference));
}

/** A number of 13 bits, which F16 rounds down to 1. */
const FINE = 1 + 2 ** -12;
/** A channel of the head that no position turns, and one more. */
const STILL = HEAD - 2;
const STILL_TOO = HEAD - 4;
const SCALE = 1 / Math.sqrt(HEAD);
/** The second token sees both; what comes out is the share of the first. */
const BOTH = [FIRST, SECOND] as const;
const PICK_FIRST = [1, 0] as const;

/** Whether K and V that were asked for in F32 keep a value of 13 bits. */
async function storedAs(probe: Probe): Promise<RoundingProfile['kv']> {
  const v = await probe.outputs({ v: [FINE, FINE] }, [FIRST], 'F32');
  // Two keys that differ in the last of 13 bits, magnified by the query.
  const size = 2 ** 13;
  const keys = { q: { [STILL]: [size, size] }, k: { [STILL]: [FINE, 1] }, v: PICK_FIRST } as const;
  const k = await probe.outputs(keys, BOTH, 'F32');
  const share = shareOf(size * (FINE - 1) * SCALE);
  return isExact(v, FINE, 1) && isExact(k, share, 1 / 2) ? 'as asked' : 'F16';
}

/** Whether what meets F16 weights, or K or V in F16, is rounded to F16 before the product. */
async function activationsOf(probe: Probe, f16_kv: boolean): Promise<RoundingProfile['f16_activations']> {
  // One token and many: the kernels of vectors and of matrices may differ. FIRST has 1 in every channel.
  const many = Array.from({ length: 16 }, () => FIRST);
  for (const tokens of [[FIRST], many]) {
    const sums = await probe.outputs({ output: 'F16', norm: FINE }, tokens, f16_kv ? 'F16' : 'F32');
    if (!isExact(sums, FINE - 1, 0)) return 'F16';
  }
  if (!f16_kv) return 'F32';
  // q has 12 bits, and its first part is cancelled by the other channel of the key.
  const size = 2 ** 13;
  const query = { [STILL]: [size + 4, size + 4], [STILL_TOO]: [size, size] } as const;
  const key = { [STILL]: [1, 0], [STILL_TOO]: [-1, 0] } as const;
  const shares = await probe.outputs({ q: query, k: key, v: PICK_FIRST }, BOTH, 'F16');
  if (!isExact(shares, shareOf(4 * SCALE), 1 / 2)) return 'F16';
  // Two weights whose sum is 1 exactly, and is not once each has 11 bits: 1/3 and 2/3 have long fractions.
  const third = { q: { [STILL]: [1, 1] }, k: { [STILL]: [THIRD, 0] }, v: PICK_FIRST } as const;
  const weights = await probe.outputs(third, BOTH, 'F16');
  const exact = shareOf(THIRD * SCALE);
  return isExact(weights, exact, roundedShare(exact)) ? 'F32' : 'F16';
}

/** A key, exact in F16, with which the share of the first is farthest from what F16 makes of it. */
const THIRD = farthestKey();

function farthestKey(): number {
  let [best, most] = [0, 0];
  for (let key = 1; key < 3; key += 2 ** -6) {
    const share = shareOf(key * SCALE);
    const lost = Math.abs(share - roundedShare(share));
    if (lost > most) [best, most] = [key, lost];
  }
  return best;
}

/** Shares from 1/2 to 1 in F16, which has steps of 2^-11 there. */
function roundedShare(share: number): number {
  return Math.round(share * 2 ** 11) / 2 ** 11;
}

/** 2048 and 1, weighted alike: F16 cannot hold their sum. */
async function accumulatorOf(probe: Probe): Promise<RoundingProfile['attention']> {
  const gain = 2 ** -10;
  const sums = await probe.outputs({ v: [2048, 1], gain }, BOTH, 'F16');
  return isExact(sums, 1024.5, 1024) ? 'F32' : 'F16';
}

/** Turns the angles of the second position by so much that what float32 loses of them shows. */
const FAR = 2 ** 20;

/**
 * Angle of the second pair at position 1: base^(-2 / HEAD), far out. The query turns, the key at position 0 does not,
 * so the score is the cosine.
 */
async function ropeOf(probe: Probe, type_kv: TypeKv): Promise<RoundingProfile['rope']> {
  const q = { 2: [16, 16] } as const;
  const k = { 2: [1, 0] } as const;
  const shares = await probe.outputs(
    { q, k, v: PICK_FIRST, freq_base: ROPE_BASE, freq_scale: FAR },
    BOTH,
    type_kv,
  );
  const share = (turn: number): number => shareOf(16 * SCALE * Math.cos(FAR * turn));
  const turn = ROPE_BASE ** (-2 / HEAD);
  return isExact(shares, share(turn), share(Math.fround(turn))) ? 'F64' : 'F32';
}

/** A base whose second frequency lies far from any float32, so that the share of the key tells most. */
const ROPE_BASE = farthestBase();

function farthestBase(): number {
  let [best, most] = [0, 0];
  for (let base = 5000; base < 15_000; base++) {
    const turn = base ** (-2 / HEAD);
    const score = (t: number): number => 16 * SCALE * Math.cos(FAR * t);
    const lost = Math.abs(shareOf(score(turn)) - shareOf(score(Math.fround(turn))));
    if (lost > most) [best, most] = [base, lost];
  }
  return best;
}

/** A step that log(1 + e^x) loses wholly: 1 + 2^-26 is 1 in float32. */
const SMALL_STEP = 2 ** -26;

async function softplusOf(subject: Subject): Promise<RoundingProfile['softplus']> {
  const model = await subject.load(stepProbe(SMALL_STEP), 'a probe of softplus');
  try {
    const { types_kv } = subject.info;
    const got = await quotient(model, [[FIRST]], { type_kv: types_kv[0] });
    // Both channels have got the same, or only the reference has.
    return isExact([got], 1, 1 / 2) ? 'log1p' : 'log';
  } finally {
    await model.close();
  }
}

/** From here on a table gives x itself. */
const BEYOND_TABLE = 12;

/** GELU of 0.5 to 2 by a table, or not; of about -4, where 1 + tanh y is a difference, with its digits or without. */
async function geluOf(subject: Subject): Promise<RoundingProfile['gelu']> {
  if (!subject.info.architectures.includes('gemma2')) return 'F16 table';
  const answer = async (x: number): Promise<number> => {
    const model = await subject.load(geluProbe(x, BEYOND_TABLE), 'a probe of GELU');
    try {
      return BEYOND_TABLE * (await quotient(model, [[FIRST]], { type_kv: subject.info.types_kv[0] }));
    } finally {
      await model.close();
    }
  };
  const tabled = farthest(0.5, 2, (x) => roundToHalf(gelu(roundToHalf(x))));
  if (!isExact([await answer(tabled)], gelu(tabled), roundToHalf(gelu(roundToHalf(tabled)))))
    return 'F16 table';
  const cancelled = farthest(-4.5, -4, byTangent);
  return isExact([await answer(cancelled)], gelu(cancelled), byTangent(cancelled)) ? 'logistic' : 'tanh';
}

/** x (1 + tanh y) / 2 with a float32 tangent. */
function byTangent(x: number): number {
  const y = Math.sqrt(2 / Math.PI) * x * (1 + 0.044715 * x * x);
  return (x * (1 + Math.fround(Math.tanh(y)))) / 2;
}

/** The number from which a coarser GELU is farthest, measured by its size. */
function farthest(from: number, to: number, coarse: (x: number) => number): number {
  let [best, most] = [from, 0];
  for (let i = 0; i <= 4096; i++) {
    const x = Math.fround(from + ((to - from) * i) / 4096);
    const lost = Math.abs(coarse(x) - gelu(x)) / Math.abs(gelu(x));
    if (lost > most) [best, most] = [x, lost];
  }
  return best;
}
