/** States of a context, on a compiled library that tells, writes and reads as many bytes as a test says. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ContextParams, ModelInfo } from '../../../contract/subject.ts';
import { Api } from './api.ts';
import { CellReader } from './cells.ts';
import { LlamaContext } from './context.ts';
import { imageOf, membersOf } from './layout-testing.ts';
import { Library } from './library.ts';
import { compiler, fakeBuild } from './library-testing.ts';

/** Bytes that are told, written and read; a state is 1, 2, 3, ... */
const CODE = `
  static unsigned long told, written, read;
  void bytes(int a, int b, int c) { told = a; written = b; read = c; }
  void *llama_get_memory(void *ctx) { return ctx; }
  static unsigned long put(unsigned char *out) { for (int i = 0; i < written; i++) out[i] = i + 1; return written; }
  unsigned long llama_state_get_size(void *) { return told; }
  unsigned long llama_state_get_data(void *, unsigned char *out, unsigned long) { return put(out); }
  unsigned long llama_state_set_data(void *, void *, unsigned long) { return read; }
  unsigned long llama_state_seq_get_size(void *, int) { return told; }
  unsigned long llama_state_seq_get_data(void *, unsigned char *out, unsigned long, int) { return put(out); }
  unsigned long llama_state_seq_set_data(void *, void *, unsigned long, int) { return read; }`;

describe.skipIf(!compiler)(`a state${compiler ? '' : ' (skipped: no g++)'}`, () => {
  let dir: string;
  let ctx: LlamaContext;
  let bytes: (told: number, written: number, read: number) => void;
  beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), 'isobatch-context-'));
    const exports = ['llama_log_set', 'llama_backend_init', 'llama_memory_seq_rm'];
    const defaults = imageOf(membersOf('v0.5.0'));
    const library = new Library(fakeBuild(dir, 'states', { defaults, exports, code: CODE }));
    const set = library.func('void bytes(int told, int written, int read)');
    bytes = (...numbers) => void set(...numbers);
    const params: ContextParams = { n_ctx: 8, n_batch: 8, n_ubatch: 8, n_seq_max: 2, split: 'equal' };
    const info = { arch: 'llama', memory: 'attention', n_vocab: 8, n_embd: 8, n_layer: 1 } as ModelInfo;
    const unasked = () => {
      throw new RangeError('nobody asks for cells here');
    };
    const cells = new CellReader(unasked, unasked);
    ctx = new LlamaContext(new Api(library), 'v0.5.0', 16n, info, params, cells);
  });
  afterAll(() => rmSync(dir, { recursive: true, force: true }));

  it.each([undefined, 1])('has the bytes that were told and written (sequence %s)', (seq) => {
    bytes(3, 3, 3);
    expect([...ctx.stateGet(seq)]).toEqual([1, 2, 3]);
    ctx.stateSet(new Uint8Array(3), seq);
  });

  it.each([undefined, 1])('of another size than was told is a fault (sequence %s)', (seq) => {
    bytes(4, 3, 3);
    expect(() => ctx.stateGet(seq)).toThrow(
      expect.objectContaining({ kind: 'protocol', message: '3 bytes of state were written, 4 were told' }),
    );
    bytes(4, 0, 0);
    expect(() => ctx.stateGet(seq)).toThrow(expect.objectContaining({ kind: 'refused' }));
  });

  it.each([undefined, 1])('that is read in part is a fault, and no refusal (sequence %s)', (seq) => {
    bytes(3, 3, 2);
    expect(() => ctx.stateSet(new Uint8Array(3), seq)).toThrow(
      expect.objectContaining({ kind: 'protocol', message: '2 of 3 bytes of state were read' }),
    );
    bytes(3, 3, 0);
    expect(() => ctx.stateSet(new Uint8Array(3), seq)).toThrow(expect.objectContaining({ kind: 'state' }));
  });

  it('is not asked of a sequence that cannot be', () => {
    bytes(3, 3, 3);
    for (const seq of [-1, 2]) {
      expect(() => ctx.stateSet(new Uint8Array(3), seq)).toThrow(
        expect.objectContaining({ kind: 'ops.seq_id' }),
      );
      expect(() => ctx.stateGet(seq)).toThrow(expect.objectContaining({ kind: 'ops.seq_id' }));
    }
  });
});
