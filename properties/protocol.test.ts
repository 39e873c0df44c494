import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { IsobatchError } from '../contract/errors.ts';
import { encodeFrame, FrameDecoder, floatBytes, floatsOf } from './frames.ts';
import {
  batchField,
  checkVersion,
  errorOf,
  errorRecord,
  modelInfoOf,
  subjectInfoOf,
  VERBS,
} from './protocol.ts';

const document = readFileSync(new URL('PROTOCOL.md', import.meta.url), 'utf8');

describe('PROTOCOL.md', () => {
  const examples = [...document.matchAll(/```hex\n([\s\S]*?)```/g)].map((m) =>
    Buffer.from(m[1]!.replace(/\s+/g, ''), 'hex'),
  );
  const headers = [...document.matchAll(/`(\{"id":7.*?\})`/g)].map((m) => JSON.parse(m[1]!));

  it('has a worked example whose bytes are what we write and read', () => {
    expect(examples).toHaveLength(2);
    const payloads = [undefined, floatBytes(Float32Array.of(1, -0.5))];
    examples.forEach((bytes, i) => {
      const [frame] = new FrameDecoder().push(bytes);
      expect(frame!.header).toEqual(headers[i]);
      expect(encodeFrame(headers[i], payloads[i]).equals(bytes)).toBe(true);
    });
    const [answer] = new FrameDecoder().push(examples[1]!);
    expect([...floatsOf(answer!.payload, 2)]).toEqual([1, -0.5]);
  });

  it('documents every verb', () => {
    const documented = [...document.matchAll(/^\| `(\w+)` +\|/gm)].map((m) => m[1]);
    expect(documented.filter((verb) => verb !== 'length')).toEqual([...VERBS]);
  });
});

describe('errors on the wire', () => {
  it('come back with kind, message and detail', () => {
    const error = new IsobatchError('batch.token', 'token 99', { token: 99 });
    const back = errorOf(JSON.parse(JSON.stringify(errorRecord(error))));
    expect(back).toMatchObject({ kind: 'batch.token', message: 'token 99', detail: { token: 99 } });
  });

  it('are internal if they are not ours, and protocol if they say nothing', () => {
    expect(errorRecord(new TypeError('oops'))).toEqual({
      kind: 'internal',
      message: 'TypeError: oops',
      detail: {},
    });
    expect(errorRecord('text')).toMatchObject({ kind: 'internal', message: 'Error: text' });
    expect(errorOf({ message: 'no kind' }).kind).toBe('protocol');
    expect(errorOf(null).kind).toBe('protocol');
  });
});

describe('fields', () => {
  const info = {
    name: 'x',
    version: '1',
    protocol: 1,
    architectures: ['llama'],
    splits: { attention: ['equal'] },
    isas: [],
    types_kv: ['F32'],
    bit_invariant: false,
    shared_tokens: true,
    remove_anywhere: true,
  };

  it('take a complete description and name what is missing', () => {
    expect(subjectInfoOf(info)).toEqual(info);
    for (const field of Object.keys(info)) {
      const { [field]: _, ...rest } = info as Record<string, unknown>;
      expect(() => subjectInfoOf(rest)).toThrow(new RegExp(`^${field} must be`));
    }
    expect(() => subjectInfoOf({ ...info, splits: { brain: [] } })).toThrow(/splits/);
  });

  it('take a rounding profile, and name what is wrong in one', () => {
    const rounding = {
      fma: true,
      products: { order: 'blocks', size: 64 },
      rows: { order: 'lanes', lanes: 16 },
      keys: { order: 'double' },
      rope: 'F64',
      f16_activations: 'F16',
      attention: 'F32',
      softplus: 'log',
      gelu: 'F16 table',
      kv: 'as asked',
    };
    const base = {
      name: 'x',
      version: '1',
      protocol: 1,
      architectures: [],
      splits: {},
      isas: [],
      types_kv: [],
      bit_invariant: false,
      shared_tokens: true,
      remove_anywhere: true,
    };
    expect(subjectInfoOf({ ...base, rounding }).rounding).toEqual(rounding);
    expect(subjectInfoOf(base).rounding).toBeUndefined();
    const wrong: [object, string][] = [
      [{ products: { order: 'random' } }, 'rounding.products.order'],
      [{ products: { order: 'blocks' } }, 'rounding.products.size'],
      [{ rows: { order: 'lanes', lanes: 0 } }, 'rounding.rows.lanes'],
      [{ rope: 'F16' }, 'rounding.rope'],
      [{ softplus: undefined }, 'rounding.softplus'],
      [{ gelu: 'F16' }, 'rounding.gelu'],
      [{ fma: 'yes' }, 'fma'],
    ];
    for (const [part, field] of wrong)
      expect(() => subjectInfoOf({ ...base, rounding: { ...rounding, ...part } })).toThrow(field);
    expect(document).toContain('"lanes": 16');
  });

  it('refuse a kind of memory that there is not', () => {
    const model = { arch: 'a', memory: 'magnetic', n_vocab: 1, n_embd: 1, n_layer: 1, n_params: 1 };
    expect(() => modelInfoOf(model)).toThrow(/memory must be/);
  });

  it('check the types of a batch, not its rules', () => {
    const legal = { token: [-5, 99], pos: [7], seq_id: [[], [3, 3]], logits: [true] };
    expect(batchField({ batch: legal })).toEqual(legal);
    for (const wrong of [
      { token: 'x' },
      { token: [1.5] },
      { token: [1], pos: ['0'] },
      { token: [1], seq_id: [0] },
      { token: [1], logits: [1] },
    ])
      expect(() => batchField({ batch: wrong })).toThrow(expect.objectContaining({ kind: 'protocol' }));
  });

  it('refuse another version by number', () => {
    expect(() => checkVersion(1)).not.toThrow();
    expect(() => checkVersion(2)).toThrow(/speaks version 2 .* this is version 1/);
  });
});
