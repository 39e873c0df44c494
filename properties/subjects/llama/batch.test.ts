/** `llama_batch` in native memory, as a compiled function that gets it by value reads it. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import koffi from 'koffi';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Batch } from '../../../contract/batch.ts';
import { NativeBatch } from './batch.ts';
import { BatchStruct } from './library.ts';
import { compiled, compiler } from './library-testing.ts';

/** The struct of the oldest release, and what it holds, as text: a part that is null is "-". */
const READER = `
  int sprintf(char *to, const char *format, ...);
  struct batch {
    int n_tokens; int *token; float *embd; int *pos; int *n_seq_id; int **seq_id; signed char *logits;
    int all_pos_0, all_pos_1, all_seq_id;
  };
  const char *read_batch(struct batch b) {
    static char text[1 << 20];
    char *t = text;
    t += sprintf(t, "%d tokens, embd %d, all %d %d %d\\n", b.n_tokens, b.embd != 0, b.all_pos_0, b.all_pos_1, b.all_seq_id);
    for (int i = 0; i < b.n_tokens; i++) {
      t += sprintf(t, "%d", b.token[i]);
      t += b.pos ? sprintf(t, " @%d", b.pos[i]) : sprintf(t, " -");
      if (!b.seq_id != !b.n_seq_id) t += sprintf(t, " HALF");
      if (!b.seq_id) t += sprintf(t, " -");
      else {
        t += sprintf(t, " {");
        for (int k = 0; k < b.n_seq_id[i]; k++) t += sprintf(t, k ? " %d" : "%d", b.seq_id[i][k]);
        t += sprintf(t, "}");
      }
      t += b.logits ? sprintf(t, " %d\\n", b.logits[i]) : sprintf(t, " -\\n");
    }
    if (b.seq_id) t += sprintf(t, b.seq_id[b.n_tokens] ? "no end" : "end");
    return text;
  }`;

describe.skipIf(!compiler)(`a native batch${compiler ? '' : ' (skipped: no g++)'}`, () => {
  let dir: string;
  let read: (batch: { d: BigUint64Array }) => string;
  beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), 'isobatch-batch-'));
    void BatchStruct;
    const library = koffi.load(compiled(dir, 'reader', READER));
    read = library.func('const char *read_batch(IsobatchBatch batch)');
  });
  afterAll(() => rmSync(dir, { recursive: true, force: true }));

  const native = new NativeBatch();
  /** The lines that the function answers. */
  function filled(batch: Batch, pos: readonly number[] | null = batch.pos ?? null): string[] {
    native.fill(batch, pos);
    return read({ d: native.struct }).trimEnd().split('\n');
  }

  it('holds what the record says', () => {
    const token = [7, 8, 9];
    const seq_id = [[0], [2, 0, 1], [1]];
    expect(filled({ token, pos: [4, 0, 11], seq_id, logits: [true, false, true] })).toEqual([
      '3 tokens, embd 0, all 0 1 0',
      '7 @4 {0} 1',
      '8 @0 {2 0 1} 0',
      '9 @11 {1} 1',
      'end',
    ]);
  });

  it('has null for what is left out', () => {
    expect(filled({ token: [5, 6] }).slice(1)).toEqual(['5 - - -', '6 - - -']);
    expect(filled({ token: [5], pos: [3] }).slice(1)).toEqual(['5 @3 - -']);
    expect(filled({ token: [5], seq_id: [[1]] }).slice(1)).toEqual(['5 - {1} -', 'end']);
    expect(filled({ token: [5], logits: [true] }).slice(1)).toEqual(['5 - - 1']);
  });

  it('can be empty, even the first one', () => {
    for (const first of [native, new NativeBatch()]) {
      first.fill({ token: [] }, null);
      expect(read({ d: first.struct })).toBe('0 tokens, embd 0, all 0 1 0\n');
      // There is a list of tokens, of which none is read.
      expect(first.struct[1]).not.toBe(0n);
      first.free();
    }
  });

  it('has the positions that the caller completed, and none where the caller leaves them to the library', () => {
    expect(filled({ token: [5, 6] }, [8, 9]).slice(1)).toEqual(['5 @8 - -', '6 @9 - -']);
    expect(filled({ token: [5], pos: [8] }, null).slice(1)).toEqual(['5 - - -']);
  });

  it('carries illegal values as they are', () => {
    const lines = filled({
      token: [-1, 2 ** 31 - 1],
      pos: [-5, 0],
      seq_id: [[], [-1, 99]],
      logits: [false, false],
    });
    expect(lines.slice(1)).toEqual(['-1 @-5 {} 0', '2147483647 @0 {-1 99} 0', 'end']);
  });

  it('forgets the batch before', () => {
    filled({ token: [1, 2], pos: [0, 1], seq_id: [[3], [4]], logits: [true, true] });
    expect(filled({ token: [6, 7], seq_id: [[0], [1]] }).slice(1)).toEqual(['6 - {0} -', '7 - {1} -', 'end']);
  });

  it.each([63, 64, 65, 128, 129, 1000])('grows to %i tokens, and keeps its room for fewer', (n) => {
    const range = Array.from({ length: n }, (_, i) => i);
    const seq_id = range.map((i) => [i % 5, 5 + (i % 3)]);
    const want = (m: number) => [
      ...range.slice(0, m).map((i) => `${i + 3} @${2 * i} {${seq_id[i]!.join(' ')}} ${i % 2}`),
      'end',
    ];
    const of = (m: number) =>
      filled({
        token: range.slice(0, m).map((i) => i + 3),
        pos: range.slice(0, m).map((i) => 2 * i),
        seq_id: seq_id.slice(0, m),
        logits: range.slice(0, m).map((i) => i % 2 === 1),
      }).slice(1);
    expect(of(n)).toEqual(want(n));
    const [, token] = native.struct;
    expect(of(3)).toEqual(want(3));
    expect(native.struct[1]).toBe(token);
  });

  it("takes tokens of many sequences: the limit is the library's", () => {
    const all = Array.from({ length: 300 }, (_, i) => i);
    const lines = filled({ token: [1, 2, 3], seq_id: [[9], all, [8, 7]] });
    expect(lines.slice(1)).toEqual(['1 - {9} -', `2 - {${all.join(' ')}} -`, '3 - {8 7} -', 'end']);
  });

  it('gives its memory back, twice too, and can be filled again', () => {
    native.free();
    native.free();
    expect(filled({ token: [4], pos: [0], seq_id: [[0]], logits: [true] }).slice(1)).toEqual([
      '4 @0 {0} 1',
      'end',
    ]);
  });
});
