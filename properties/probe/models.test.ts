/** `probe:NAME` is a model wherever a model is named. */
import { expect, test } from 'vitest';
import { buildProbe, probeNames } from '../../golden/probes/registry.ts';
import { checkModelName, modelBytes, sha256Of } from '../campaign-models.ts';

test('probes are models by name, and a name that is nearly right is suggested', () => {
  for (const name of probeNames) expect(() => checkModelName(`probe:${name}`)).not.toThrow();
  expect(sha256Of(modelBytes('probe:mamba'))).toBe(sha256Of(buildProbe('mamba')));
  expect(() => checkModelName('probe:llama-sett')).toThrow(
    /unknown probe llama-sett; did you mean llama-set\? Known are llama-set, llama-set-wide/,
  );
  expect(() => modelBytes('probe:')).toThrow(/unknown probe/);
});
