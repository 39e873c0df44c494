import { expect, it } from 'vitest';
import { Field } from '../properties/fields.ts';
import { caseRandom } from '../properties/random.ts';
import { drawSpec } from '../properties/white/kernel-inputs.ts';
import { checkWhite, isWhite } from './case-read-white.ts';

const check = (white: unknown) => checkWhite('kernels', new Field(white, 'white', 'f'));

it('reads every input of `kernels` that is drawn', () => {
  expect(isWhite('kernels')).toBe(true);
  for (let i = 0; i < 300; i++) {
    const spec = drawSpec(caseRandom('s', 'kernels', 'rules', i));
    expect(() => check(JSON.parse(JSON.stringify(spec)))).not.toThrow();
  }
});

it('refuses inputs of `kernels` that no operator has, naming the field', () => {
  const rows = [{ key: 1, kind: 'plain' }];
  const sizes = { n: 4 };
  const good = { op: 'kvStore', seed: 1, type: 'F16', rows, keys: [], sizes };
  expect(() => check(good)).not.toThrow();
  for (const [change, field] of [
    [{ op: 'softmax' }, 'white.op'],
    [{ type: 'Q8' }, 'white.type'],
    [{ rows: [] }, 'white.rows'],
    [{ rows: [{ key: 1, kind: 'odd' }] }, 'white.rows[0].kind'],
    [{ sizes: { n: 3 } }, 'white.sizes.n must be a multiple of 2'],
    [{ sizes: {} }, 'white.sizes.n'],
    [{ sizes: { n: 1 << 20 } }, 'white.sizes.n'],
    [{ op: 'attention' }, 'white.keys'],
  ] as const)
    expect(() => check({ ...good, ...change })).toThrow(field);
});
