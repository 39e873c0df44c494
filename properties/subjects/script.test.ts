/** A history in one request gives what its calls give one by one, and stops where the history goes another way. */
import { expect, it } from 'vitest';
import { choicesOf, demandedChoices, isLegalThere } from '../choices.ts';
import { factsOf } from '../facts.ts';
import { runScript } from '../run-script.ts';
import { solo } from '../solo.ts';
import { fakeEnv, fakeSubject } from '../testing.ts';
import type { Call, Script } from '../types.ts';
import { AnsweredContext, answerScript, type ScriptCall } from './script.ts';

const env = fakeEnv('attention');
const scripts = Array.from({ length: 20 }, (_, i) => solo.generate(env, i).script!);

/** The same model, but it takes whole histories; `bend` changes what comes back. */
function whole(bend = (rows: Float32Array): Float32Array => rows) {
  const model = env.loaded;
  return {
    info: model.info,
    open: (params: Script['params']) => model.open(params),
    close() {},
    async openFor(params: Script['params'], calls: readonly unknown[], ask: readonly [number, number][]) {
      const answers = await answerScript(model, params, calls as ScriptCall[], ask);
      return new AnsweredContext({ ...answers, rows: bend(answers.rows) }, model.info.n_vocab);
    },
  };
}

it('gives the rows and positions of the calls one by one', async () => {
  for (const script of scripts) {
    const ask = script.calls.map((_, c) => [c, 0] as const);
    const single = await runScript(env.loaded, script, ask);
    const at_once = await runScript(whole() as never, script, ask);
    expect(at_once).toEqual(single);
    const shifted = await runScript(whole((rows) => rows.map((x) => x + 1)) as never, script, ask);
    expect(shifted.rows).not.toEqual(single.rows);
  }
});

it('tells a refusal at its call, and answers nothing after it', async () => {
  const bad: Call = { op: 'decode', batch: { token: [10_000] } };
  const script = { params: scripts[0]!.params, calls: [bad, ...scripts[0]!.calls] };
  const answers = await answerScript(env.loaded, script.params, script.calls as ScriptCall[], []);
  expect(answers.calls).toHaveLength(1);
  expect(answers.calls[0]).toHaveProperty('error.kind');
  expect((await runScript(whole() as never, script)).unexpected?.kind).toMatch(/^refused\./);
});

it('shared tokens demand one cache, where the subject says so', () => {
  const info = {
    ...fakeSubject('attention').info,
    choices: { kv_unified: [false, true] },
    legal: { shared_needs_unified: true },
  };
  const there = { ...env, subject: info };
  expect(choicesOf(there)).toEqual({ kv_unified: [false, true] });
  const facts = factsOf(there);
  const calls: Call[] = [{ op: 'decode', batch: { token: [1], seq_id: [[0, 1]] } }];
  expect(demandedChoices(calls, facts)).toEqual({ kv_unified: true });
  const params = { ...scripts[0]!.params, kv_unified: false };
  expect(isLegalThere({ params, calls }, facts)).toBe(false);
  expect(isLegalThere({ params: { ...params, kv_unified: true }, calls }, facts)).toBe(true);
});
