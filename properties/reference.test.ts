/**
 * `reference` on our engine: it holds, and what must not be is seen. Deviations are planted in the model that the subject
 * gets while the oracle has the right one, in its contexts, or in its answers.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { IsobatchError } from '../contract/errors.ts';
import type { ContextParams, Subject, SubjectContext, SubjectModel } from '../contract/subject.ts';
import { engineSubject } from '../engine/subject.ts';
import { buildRecipe } from '../golden/recipes.ts';
import { type GgufValue, readGguf, writeGguf } from '../model/gguf.ts';
import { oracleWhite } from '../oracle/white.ts';
import { missingClasses } from './coverage.ts';
import { entriesOf, oracleRowsOf } from './oracle-rows.ts';
import { reference } from './reference.ts';
import { solo } from './solo.ts';
import { isOutput } from './trace.ts';
import type { Env, Outcome } from './types.ts';
import { addBounds, emptyBounds, useQuantile } from './verdict.ts';
import { runCase } from './worker-run.ts';

const engine = engineSubject();
let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'isobatch-reference-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** What a subject may do differently. */
interface Twist {
  /** The bytes that it loads. */
  readonly bytes?: (bytes: Uint8Array) => Uint8Array;
  readonly params?: (params: ContextParams) => ContextParams;
  readonly logits?: (logits: Float32Array, call: number) => Float32Array;
  readonly subject?: Partial<Subject['info']>;
}

function envOf(modelName: string, bytes: Uint8Array, twist: Twist = {}): Env {
  const model = engine.load(twist.bytes?.(bytes) ?? bytes, modelName);
  const loaded: SubjectModel = {
    info: model.info,
    close() {},
    open(params) {
      const ctx = model.open(twist.params?.(params) ?? params);
      let call = 0;
      const decode: SubjectContext['decode'] = (batch) => {
        const { n_outputs, logits } = ctx.decode(batch);
        return { n_outputs, logits: twist.logits?.(logits.slice(), call++) ?? logits };
      };
      return new Proxy(ctx, {
        get: (target, name) => {
          if (name === 'decode') return decode;
          const value = Reflect.get(target, name);
          return typeof value === 'function' ? value.bind(target) : value;
        },
      });
    },
  };
  const subject = { ...engine.info, ...twist.subject };
  const coverage = {};
  return {
    seed: 'test',
    subject,
    model: model.info,
    modelName,
    loaded,
    oracle: oracleWhite,
    coverage,
    restrict: { isa: engine.info.isas.at(-1) },
  };
}

const recipe = (name: string, twist?: Twist): Env => envOf(`recipe:${name}`, buildRecipe(name), twist);

/** Cases 0 .. n-1 up to the first failure. */
async function run(env: Env, n: number) {
  const bounds = emptyBounds();
  let [compared, rounding] = [0, 0];
  for (let i = 0; i < n; i++) {
    const outcome = await reference.run(env, reference.generate(env, i));
    compared += outcome.compared;
    rounding += outcome.rounding;
    if (outcome.bounds) addBounds(bounds, outcome.bounds);
    if (outcome.status === 'failed') return { failed: outcome, at: i, compared, rounding, bounds };
  }
  return { failed: null as Outcome | null, at: n, compared, rounding, bounds };
}

/** The same file with one tensor or one key changed. */
function changed(
  bytes: Uint8Array,
  tensor: string | null,
  change: (data: Float32Array) => void,
  keys: Record<string, (value: GgufValue) => GgufValue> = {},
): Uint8Array {
  const file = readGguf(bytes, 'changed');
  const metadata = [...file.metadata].map(
    ([key, value]) => [key, keys[key]?.(value) ?? value] as [string, GgufValue],
  );
  const tensors = [...file.tensors.values()].map((t) => {
    if (t.name !== tensor) return t;
    const data = (t.data as Float32Array).slice();
    change(data);
    return { ...t, data };
  });
  return writeGguf({ metadata, tensors });
}

describe.each(['llama', 'llama-f16', 'mamba', 'mamba-f16'])('our engine on %s', (name) => {
  it('holds, far inside of the bounds, without a second look', async () => {
    const env = recipe(name);
    const { failed, compared, rounding, bounds } = await run(env, 60);
    expect(failed?.failure?.message).toBeUndefined();
    expect(compared).toBeGreaterThan(30_000);
    expect(rounding).toBeGreaterThan(compared / 2);
    const use = bounds.use[`recipe:${name}`]!;
    expect(use.max).toBeLessThan(0.7);
    expect(useQuantile(use, 0.5)).toBeGreaterThan(0.005);
    expect(useQuantile(use, 0.5)).toBeLessThan(0.1);
    expect(bounds.ill).toBe(0);
  });
});

describe('what must not be is seen', () => {
  const twists: [string, string, Twist][] = [
    [
      'a relative error of 1e-4 in one weight',
      'llama',
      {
        bytes: (b) =>
          changed(b, 'blk.1.ffn_up.weight', (w) => {
            const i = w.findIndex((x) => Math.abs(x) > 0.2);
            w[i] = w[i]! * (1 + 1e-4);
          }),
      },
    ],
    [
      'eps off by a factor of two',
      'mamba',
      {
        bytes: (b) =>
          changed(b, null, () => {}, {
            'mamba.attention.layer_norm_rms_epsilon': (v) =>
              ({ ...v, value: 2 * (v.value as number) }) as GgufValue,
          }),
      },
    ],
    ['F16 where F32 was promised', 'llama', { params: (p) => ({ ...p, type_kv: 'F16' }) }],
    [
      'one logit of a later call off by a part in a thousand',
      'mamba',
      {
        logits: (y, call) => {
          if (call > 0 && y.length > 0) y[y.length - 1] = y[y.length - 1]! * 1.001 + 1e-3;
          return y;
        },
      },
    ],
    [
      'two rows that change places',
      'llama',
      {
        logits: (y) => {
          if (y.length < 128) return y;
          const first = y.slice(0, 64);
          y.copyWithin(0, 64, 128);
          y.set(first, 64);
          return y;
        },
      },
    ],
  ];

  it.each(twists)('%s', async (_what, name, twist) => {
    const { failed, bounds } = await run(recipe(name, twist), 60);
    const { failure } = failed!;
    expect(failure!.signature).toMatch(/^reference\/.*\/logits$/);
    expect(bounds.escalated).toBeGreaterThan(0);
    const { missed, at, got, want } = failure!.difference;
    expect(missed!.sigmas).toBeGreaterThan(11.9);
    expect(Math.abs((got as number) - (want as number))).toBeGreaterThan(missed!.bound);
    expect(missed!.grade).not.toBe('not graded');
    const batch = failure!.case.script!.calls[at!.call]!;
    expect(batch.op === 'decode' && isOutput(batch.batch, at!.index)).toBe(true);
    expect(failure!.message).toMatch(/derived standard deviations/);
  });

  it('two rows that change places cannot be explained by any roundings', async () => {
    const { failed } = await run(recipe('llama', twists[4]![2]), 60);
    const { missed } = failed!.failure!.difference;
    expect(missed!.grade).toBe('no roundings explain it');
    expect(failed!.failure!.message).toContain('no roundings explain it');
  });
});

describe('histories', () => {
  it('reach all classes, rows after a removal inside among them', () => {
    const env = recipe('llama');
    let bent = 0;
    for (let i = 0; i < 200; i++) {
      const { script } = reference.generate(env, i);
      const entries = entriesOf(script!);
      for (const row of entries.flat()) {
        const held = row.saw.map((e) => e.pos);
        if (held.some((pos, k) => pos !== k)) bent++;
      }
    }
    expect(bent).toBeGreaterThan(100);
  });

  it('a campaign of a few hundred cases reaches every class', async () => {
    const env = recipe('llama');
    await run(env, 250);
    expect(missingClasses(env.coverage, reference, { subject: env.subject, memory: 'attention' })).toEqual(
      [],
    );
  });

  it('the oracle follows the entries: what was removed had been seen', () => {
    const env = recipe('llama');
    const decode = (token: number[], pos: number[]) =>
      ({ op: 'decode', batch: { token, pos, logits: token.map(() => true) } }) as const;
    const script = {
      params: { n_ctx: 8, n_batch: 8, n_ubatch: 8, n_seq_max: 1, split: 'simple' } as const,
      calls: [decode([1, 2, 3], [0, 1, 2]), { op: 'seqRm', seq: 0, p0: 1, p1: 2 } as const, decode([4], [3])],
    };
    const entries = entriesOf(script);
    const last = entries[2]![0]!;
    expect(last.saw.map((e) => e.token)).toEqual([1, 3, 4]);
    expect(last.saw[1]!.saw.map((e) => e.token)).toEqual([1, 2, 3]);
    expect([...oracleRowsOf(env, script).keys()]).toEqual(['0/0', '0/1', '0/2', '2/0']);
  });
});

describe('F16 at its end', () => {
  it('a refusal is right, and so is none; both are counted', async () => {
    const large = (bytes: Uint8Array, by: number) =>
      changed(bytes, 'blk.0.attn_v.weight', (w) => {
        for (let i = 0; i < w.length; i++) w[i] = w[i]! * by;
      });
    const seen: number[] = [];
    for (const by of [20_000, 200]) {
      const bytes = large(buildRecipe('llama'), by);
      const path = join(folder, `large-${by}.gguf`);
      writeFileSync(path, bytes);
      const env = { ...envOf(path, bytes), restrict: { type_kv: 'F16' } as const };
      const { failed, bounds } = await run(env, 12);
      expect(failed?.failure?.message).toBeUndefined();
      seen.push(bounds.overflow);
    }
    expect(seen[0]).toBeGreaterThan(0);
    expect(seen[1]).toBe(0);
  });

  it('a refusal without need is a failure', async () => {
    const env = recipe('llama');
    const refusing: Env = {
      ...env,
      loaded: {
        ...env.loaded,
        open: (params) => {
          const ctx = env.loaded.open(params) as SubjectContext;
          return new Proxy(ctx, {
            get: (target, name) => {
              if (name !== 'decode') {
                const value = Reflect.get(target, name);
                return typeof value === 'function' ? value.bind(target) : value;
              }
              return () => {
                throw new IsobatchError('memory.overflow', 'too large');
              };
            },
          });
        },
      },
    };
    const { failed } = await run(refusing, 3);
    expect(failed!.failure!.signature).toMatch(/refused\.memory\.overflow$/);
  });
});

describe('a subject that promises no bits', () => {
  /** Answers that depend on how many rows the batch has, by a part of each logit. */
  const loose = (part: number) =>
    recipe('llama', {
      subject: { bit_invariant: false },
      logits: (y) => (y.length > 64 ? y.map((x) => Math.fround(x * (1 + part))) : y),
    });
  const runSolo = async (env: Env, n: number) => {
    const outcomes: Outcome[] = [];
    for (let i = 0; i < n; i++) outcomes.push(await solo.run(env, solo.generate(env, i)));
    return outcomes;
  };

  it('may differ from itself by what it rounds, and that is counted', async () => {
    const outcomes = await runSolo(loose(2 ** -24), 12);
    expect(outcomes.map((o) => o.failure?.message).filter(Boolean)).toEqual([]);
    expect(outcomes.some((o) => o.rounding > 0)).toBe(true);
    expect(outcomes.some((o) => o.bounds!.use['recipe:llama']!.max > 0)).toBe(true);
  });

  it('may not by more, and the failure says how far off it is', async () => {
    const failed = (await runSolo(loose(1e-3), 12)).find((o) => o.status === 'failed')!;
    expect(failed.divergent).toBeGreaterThan(0);
    expect(failed.failure!.difference.missed!.sigmas).toBeGreaterThan(11.9);
    expect(failed.failure!.message).toContain('derived standard deviations off');
  });

  it('what F16 cannot hold is left out of every property, with the reason', async () => {
    const bytes = changed(buildRecipe('llama'), 'blk.0.attn_v.weight', (w) => {
      for (let i = 0; i < w.length; i++) w[i] = w[i]! * 20_000;
    });
    const path = join(folder, 'solo.gguf');
    writeFileSync(path, bytes);
    const outcomes = await runSolo({ ...envOf(path, bytes), restrict: { type_kv: 'F16' } }, 6);
    expect(outcomes.filter((o) => o.status === 'failed')).toEqual([]);
    expect(outcomes.find((o) => o.status === 'skipped')!.reason).toMatch(/F16 cannot hold/);
  });
});

describe('a mistake of the harness', () => {
  it('is thrown and no finding; other errors are', async () => {
    const env = recipe('llama');
    const c = reference.generate(env, 0);
    const throwing = (error: Error) => ({ ...reference, run: () => Promise.reject(error) });
    const harness = new IsobatchError('internal', 'no bound', { harness: true });
    await expect(runCase(throwing(harness), env, c)).rejects.toBe(harness);
    const other = await runCase(throwing(new IsobatchError('internal', 'a list is torn')), env, c);
    expect(other.status).toBe('failed');
  });
});

describe('skipping', () => {
  it('says why', () => {
    const { subject, model } = recipe('llama');
    expect(reference.skip(subject, model)).toBeNull();
    expect(reference.skip({ ...subject, bit_invariant: false }, model)).toBeNull();
    expect(reference.skip({ ...subject, rounding: undefined }, model)).toMatch(
      /does not state how it rounds/,
    );
    expect(reference.skip(subject, { ...model, arch: 'rwkv9' })).toMatch(/no forward pass for rwkv9/);
  });
});
