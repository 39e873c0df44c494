/** The text for upstream says what was run, what was expected and what was seen, and nothing of this machine. */
import { describe, expect, it } from 'vitest';
import { caseOf, DIED, failureAt, LLAMA, PAIR } from '../properties/subjects/llama/export/testing.ts';
import type { BisectRecord } from './bisect-record.ts';
import type { CaseFile } from './case-file.ts';
import { upstreamText, withoutFolders } from './upstream.ts';

const file: CaseFile = {
  isobatch_case: 2,
  isobatch: '0.1.0',
  statement: 'a sequence in any batch says what it says alone',
  case: caseOf(
    { ...PAIR, params: { ...PAIR.params, n_keep_tail: 0, isa: 'x' } },
    { alone: [{ call: 0, index: 3, tokens: [7, 8] }] },
  ),
  failure: failureAt(1e-5),
  seed: 's',
  index: 0,
  model: 'recipe:llama-loadable',
  model_sha256: 'abc',
  model_info: LLAMA,
  subject: { kind: 'llama', lib: '/home/me/build/bin/libllama.so' },
  subject_info: { name: 'llama.cpp', version: '/home/me/build/bin/libllama.so', splits: {} },
  log: '/home/me/ggml/src/ggml.c:12: GGML_ASSERT(a/b == 2) failed',
  replay: 'isobatch replay x',
  again: 'isobatch verify',
};
const model = { path: '/home/me/model.gguf', sha256: 'abc', written: true };

const bisect: BisectRecord = {
  isobatch_bisect: 1,
  isobatch: '0.1.0',
  signature: 's',
  case_sha256: 'x',
  releases: [
    { name: 'b6122', verdict: 'fails otherwise', detail: 'in /home/me/x.cpp' },
    { name: 'b6673', verdict: 'passes' },
  ],
  first_failing: 'b6122',
  last_failing: 'b6122',
  interrupted: false,
};

describe('the text for upstream', () => {
  const text = upstreamText({ file, model, bisect });

  it('tells the history with the names of llama.cpp, without parameters of ours', () => {
    expect(text).toContain('# llama: wrong logits (logits of token 3 of call 0');
    expect(text).toContain('`n_ctx` 32, `n_batch` 16, `n_ubatch` 8, `n_seq_max` 2, `type_kv` F16; then');
    expect(text).toContain('0. decode 4 tokens: {1} 5@0* 6@1*; {0} 7@0* 8@1*');
    expect(text).not.toMatch(/`(split|isa|n_keep_tail)`/);
  });

  it('says what must be equal, both values and the bound', () => {
    expect(text).toContain(
      'The row of token 3 of call 0 must be, but for rounding, what its sequence says alone',
    );
    expect(text).toContain('one token per call: 7 8');
    expect(text).toMatch(/element 17 \| 1\.5 \| 0\.5 \|/);
    expect(text).toContain('can differ by at most 0.00001');
  });

  it('holds no folder of this machine', () => {
    expect(text).not.toContain('/home');
    expect(text).toContain('ggml.c:12: GGML_ASSERT(a/b == 2) failed');
    expect(withoutFolders('see /a/b/c.so and a/b')).toBe('see c.so and a/b');
  });

  it('says where it fails, or that nobody looked', () => {
    expect(text).toContain('first failing b6122, last failing b6122.');
    expect(text).toContain('| b6122 | fails otherwise: in x.cpp |');
    expect(upstreamText({ file, model })).toContain('Only this build was looked at.');
  });

  it('calls a death a death', () => {
    const died = upstreamText({ file: { ...file, failure: DIED }, model });
    expect(died).toContain('# llama: a legal history ends the process');
    const hang = { ...DIED, signature: 'solo/llama/259/died: hang' };
    expect(upstreamText({ file: { ...file, failure: hang }, model })).toContain('never comes back');
  });
});
