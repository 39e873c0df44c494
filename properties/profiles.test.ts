/**
 * Answers of a context with flash attention are judged by the profile that the subject states for it: with the right one
 * they are within bounds, with that of other contexts they are not, and without one nothing is claimed.
 */
import { describe, expect, it } from 'vitest';
import type { SubjectInfo } from '../contract/subject.ts';
import { oracleWhite } from '../oracle/white.ts';
import { modelBytes } from './campaign-models.ts';
import { oracleFor } from './oracle-rows.ts';
import { profileOf } from './profiles.ts';
import { reference } from './reference.ts';
import { solo } from './solo.ts';
import { plainSubject } from './subjects/plain/subject.ts';
import type { Case, Env } from './types.ts';

const MODEL = 'recipe:llama';
const bare = plainSubject();
const rounding = bare.info.rounding!;
const F16 = { ...rounding, kv: 'F16' } as const;

/** A subject whose flash attention keeps K and V in F16, whatever was asked for. */
function envOf(info: Partial<SubjectInfo>): Env {
  const right = bare.load(modelBytes(MODEL), MODEL);
  const flash = plainSubject({ deviation: 'f16-kv' }).load(modelBytes(MODEL), MODEL);
  const loaded = {
    info: right.info,
    close() {},
    open: (params: Parameters<typeof right.open>[0]) => (params.flash_attn ? flash : right).open(params),
  };
  return {
    seed: 'profiles',
    subject: { ...bare.info, ...info },
    model: right.info,
    modelName: MODEL,
    loaded,
    oracle: oracleWhite,
    coverage: {},
    restrict: { type_kv: 'F32' },
  };
}

function withFlash(c: Case, flash_attn: boolean): Case {
  const script = { ...c.script!, params: { ...c.script!.params, flash_attn } };
  return { ...c, script };
}

const run = (env: Env, flash_attn: boolean, property = reference) =>
  property.run(env, withFlash(property.generate(env, 1), flash_attn));

describe('a case with flash attention', () => {
  it('is within the bounds of its own profile', async () => {
    const outcome = await run(envOf({ rounding_flash: F16 }), true);
    expect(outcome).toMatchObject({ status: 'passed', divergent: 0 });
    expect(outcome.rounding).toBeGreaterThan(0);
  });

  it('is beyond those of the other profile', async () => {
    const outcome = await run(envOf({ rounding_flash: rounding }), true);
    expect(outcome.status).toBe('failed');
    expect(outcome.divergent).toBeGreaterThan(0);
  });

  it.each([reference, solo])('is skipped with the reason where none is stated: $name', async (property) => {
    const env = envOf({});
    const outcome = await run(env, true, property);
    expect(outcome).toMatchObject({ status: 'skipped', compared: 0 });
    expect(outcome.reason).toMatch(/does not state how it rounds with flash attention/);
    expect((await run(env, false, property)).status).toBe('passed');
  });
});

describe('rows of the oracle', () => {
  it('are kept apart by profile, and found again', () => {
    const env = envOf({ rounding_flash: F16 });
    const plain = oracleFor(env, {});
    const flash = oracleFor(env, { flash_attn: true });
    expect(plain.profile).toBe(rounding);
    expect(flash.profile).toBe(F16);
    expect(oracleFor(env, { flash_attn: false })).toBe(plain);
    const [a, b] = [plain, flash].map((rows) => rows.plain([5, 6, 7], 'F32').carried);
    expect(a!.v).toEqual(b!.v);
    expect(b!.s[0]).toBeGreaterThan(a!.s[0]! * 100);
  });

  it('are refused where the profile is not stated', () => {
    const env = envOf({});
    expect(profileOf(env.subject, { flash_attn: true })).toBeUndefined();
    expect(() => oracleFor(env, { flash_attn: true })).toThrow(/with flash attention/);
  });
});
