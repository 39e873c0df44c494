/**
 * The measurement finds how subjects round whose rounding is known: our engine, the plain subject, plain ones that
 * deviate on purpose, and ones that lose what the probe looks for.
 */
import { describe, expect, it } from 'vitest';
import type { ContextParams, Subject } from '../../../contract/subject.ts';
import { engineSubject } from '../../../engine/subject.ts';
import { readGguf, writeGguf } from '../../../model/gguf.ts';
import { loadModel } from '../../../model/load.ts';
import { logits } from '../../../oracle/forward.ts';
import { entriesAlone } from '../../oracle-rows.ts';
import { type PlainOptions, plainSubject } from '../plain/subject.ts';
import { measureProfile } from './profile.ts';
import { attentionProbe, FIRST, READ, REFERENCE, SECOND, stepProbe } from './profile-models.ts';

const PLAIN = { rope: 'F32', f16_activations: 'F32', attention: 'F32', softplus: 'log1p', kv: 'as asked' };

/** The plain subject with what it does seen and changed from outside. */
interface Twist {
  readonly deviation?: PlainOptions['deviation'];
  readonly bytes?: (bytes: Uint8Array) => Uint8Array;
  /** Chooses the deviation of a context. */
  readonly by?: (params: ContextParams) => PlainOptions['deviation'];
  readonly info?: Partial<Subject['info']>;
  readonly opened?: ContextParams[];
}

function twisted(twist: Twist): Subject {
  const subject = plainSubject({ deviation: twist.deviation });
  const { by } = twist;
  return {
    info: { ...subject.info, ...twist.info },
    close() {},
    load(bytes, name) {
      const used = twist.bytes?.(bytes) ?? bytes;
      const model = subject.load(used, name);
      return {
        info: model.info,
        close() {},
        open(params) {
          twist.opened?.push(params);
          const deviation = by?.(params);
          return (deviation === undefined ? model : plainSubject({ deviation }).load(used, name)).open(
            params,
          );
        },
      };
    },
  };
}

describe('subjects whose rounding is known', () => {
  it('our engine', async () => {
    const subject = engineSubject();
    const { rope, f16_activations, attention, softplus, kv } = subject.info.rounding!;
    expect(rope).toBe('F64');
    const { rounding } = await measureProfile(subject);
    expect(rounding).toMatchObject({ rope, f16_activations, attention, softplus, kv });
  });

  it('the plain subject, which has no flash attention', async () => {
    const { rounding, rounding_flash } = await measureProfile(plainSubject());
    expect(rounding).toMatchObject(PLAIN);
    expect(rounding_flash).toBeUndefined();
  });

  it.each([
    ['f16-kv', { kv: 'F16' }],
    ['f16-activations', { f16_activations: 'F16' }],
  ] as const)('plain with %s', async (deviation, found) => {
    expect((await measureProfile(plainSubject({ deviation }))).rounding).toMatchObject({
      ...PLAIN,
      ...found,
    });
  });

  it('one whose softplus loses small steps', async () => {
    // log(1 + e^x) in float32 is 0 where 1 + e^x is 1.
    const lossy = (bytes: Uint8Array): Uint8Array => {
      const { metadata, tensors } = readGguf(bytes, 'lossy');
      const bias = tensors.get('blk.0.ssm_dt.bias')?.data;
      bias?.forEach((x, i) => {
        if (Math.fround(1 + Math.exp(x)) === 1) bias[i] = -1000;
      });
      return writeGguf({ metadata, tensors: tensors.values() });
    };
    expect((await measureProfile(twisted({ bytes: lossy }))).rounding).toMatchObject({
      ...PLAIN,
      softplus: 'log',
    });
  });
});

describe('flash attention', () => {
  const info = { choices: { flash_attn: [false, true] } } as const;

  it('has a profile of its own', async () => {
    const by = ({ flash_attn }: ContextParams) => (flash_attn ? 'f16-kv' : undefined);
    const { rounding, rounding_flash } = await measureProfile(twisted({ info, by }));
    expect(rounding).toMatchObject(PLAIN);
    expect(rounding_flash).toMatchObject({ ...PLAIN, kv: 'F16' });
  });

  it('is never asked for with F32 where that is not taken, and K and V are F16 then', async () => {
    const opened: ContextParams[] = [];
    const { rounding, rounding_flash } = await measureProfile(twisted({ info, opened }), {
      flash_f32: false,
    });
    expect(rounding?.kv).toBe('as asked');
    expect(rounding_flash?.kv).toBe('F16');
    const flash = opened.filter((params) => params.flash_attn);
    expect(flash.length).toBeGreaterThan(0);
    expect(flash.every((params) => params.type_kv === 'F16')).toBe(true);
  });

  it('F16 only: nothing is opened with F32', async () => {
    const opened: ContextParams[] = [];
    const types_kv = ['F16'] as const;
    const { rounding } = await measureProfile(twisted({ info: { types_kv }, opened }));
    expect(rounding).toMatchObject(PLAIN);
    expect(opened.every((params) => params.type_kv === 'F16')).toBe(true);
  });
});

describe('the probes by the oracle', () => {
  const quotient = (bytes: Uint8Array, tokens: readonly number[], type_kv: 'F32' | 'F16' = 'F32'): number => {
    const row = logits(loadModel(bytes, 'probe'), entriesAlone(tokens), { type_kv }).at(-1)!;
    return row[READ]! / row[REFERENCE]!;
  };
  const fine = 1 + 2 ** -12;

  it('a value of 13 bits comes out, and F16 loses it', () => {
    const bytes = attentionProbe({ v: [fine, fine] });
    expect(quotient(bytes, [FIRST])).toBe(1 + fine);
    expect(quotient(bytes, [FIRST], 'F16')).toBe(2);
  });

  it('the second token sees both values alike', () => {
    const bytes = attentionProbe({ v: [2048, 1], gain: 2 ** -10 });
    expect(quotient(bytes, [FIRST, SECOND])).toBe(1 + 1024.5 / 1024);
  });

  it('both steps of Mamba add the same', () => {
    expect(quotient(stepProbe(2 ** -26), [FIRST])).toBeCloseTo(1, 4);
  });
});
