/**
 * Exported programs, compiled and run. Compiling needs a C compiler, running a release that was fetched before; what is
 * missing is named in the title of the skipped test.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ModelInfo } from '../../../../contract/subject.ts';
import { modelBytes } from '../../../campaign-models.ts';
import type { Case, Script } from '../../../types.ts';
import { platformRefusal, releaseNames } from '../builds.ts';
import { cachedRelease } from '../cache.ts';
import { contextLayouts } from '../layout.ts';
import { layoutOf, layoutTable } from './layouts.ts';
import { exportPlan, type Told } from './plan.ts';
import { programText, quoted } from './program.ts';
import { caseOf, DIED, failureAt, LLAMA, PAIR } from './testing.ts';

const compiler = spawnSync('cc', ['--version']).status === 0;
const here = platformRefusal() === undefined;
const cached = here ? releaseNames.filter((name) => cachedRelease(name) !== null) : [];
const needs = (ok: boolean, what: string): string => (ok ? '' : ` (skipped: ${what})`);

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'isobatch-export-'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const ALONE = [{ call: 0, index: 3, tokens: [7, 8] }];

function text(c: Case, told: Told, model: ModelInfo = LLAMA, ftype?: number): string {
  const facts = { about: ['a test'], model: join(dir, `${c.model}.gguf`), ftype };
  return programText(exportPlan(c, told, model), facts);
}

/** Compiles without a warning, and gives the program. */
function compile(name: string, source: string): string {
  const file = join(dir, `${name}.c`);
  writeFileSync(file, source);
  const done = spawnSync('cc', ['-Wall', '-Wextra', '-Werror', file, '-o', join(dir, name), '-ldl'], {
    encoding: 'utf8',
  });
  expect(done.stderr).toBe('');
  return join(dir, name);
}

function run(program: string, model: string, release: string): { code: number | null; out: string } {
  writeFileSync(join(dir, `${model}.gguf`), modelBytes(model));
  const done = spawnSync(program, [cachedRelease(release)!.libllama], { encoding: 'utf8', timeout: 60_000 });
  return { code: done.status, out: done.stdout + done.stderr };
}

describe('the text of an exported program', () => {
  it('knows the structs of every layout, or of the one release that was named', () => {
    const all = layoutTable();
    for (const { fields, releases } of contextLayouts) {
      expect(all).toContain(`"${releases.join(', ')}"`);
      expect(all).toContain(`{ "type_v", ${fields.type_v}, 4, 1 }`);
    }
    // -1f as a word: what marks an inserted field is checked by the program too.
    expect(all).toContain('{ "yarn_ext_factor", 44, 4, -1082130432 }');
    const one = layoutTable([layoutOf('b6122')!]);
    expect(one).toContain('"b6122", 119');
    expect(one).not.toContain('v0.5.0');
    expect(layoutOf('b1')).toBeUndefined();
  });

  it('keeps every name from ending a string or a comment', () => {
    expect(quoted('a"b\\c\n?é')).toBe('"a\\042b\\134c\\012\\077\\303\\251"');
    const plan = exportPlan(caseOf(PAIR, { alone: ALONE }), failureAt(1e-5), LLAMA);
    const [head] = programText(plan, { about: ['x */ int y;'], model: 'm' }).split('*/');
    expect(head).toContain('x * / int y;');
  });
});

describe.skipIf(!compiler)(`an exported program compiles${needs(compiler, 'no C compiler')}`, () => {
  it('with every kind of call and of comparison, without a warning', () => {
    const calls: Script['calls'] = [
      ...PAIR.calls,
      { op: 'seqRm', seq: 1, p0: 1, p1: -1 },
      { op: 'decode', batch: { token: [-(2 ** 31)] }, refused: 'batch.token' },
      { op: 'seqKeep', seq: 0 },
      { op: 'clear' },
      { op: 'seqCp', from: 0, to: 1, p0: -1, p1: -1 },
      { op: 'seqAdd', seq: 0, p0: 0, p1: -1, by: 2 },
      { op: 'seqDiv', seq: 0, p0: 0, p1: -1, by: 2 },
    ];
    const positions = [[1, 1, 0, 0]] as const;
    compile('calls', text(caseOf({ ...PAIR, calls }, { alone: ALONE, positions }), failureAt(1e-5)));
    compile('value', text(caseOf(PAIR), failureAt(1e-5)));
    compile('died', text(caseOf(PAIR, { alone: ALONE }), { ...DIED, signature: 'solo/x/1/died: hang' }));
  });
});

const runs = compiler && cached.length > 0;
const why = compiler ? 'no release of llama.cpp was fetched' : 'no C compiler';
describe.skipIf(!runs)(`an exported program runs${needs(runs, why)}`, () => {
  const c = caseOf(PAIR, { alone: ALONE });
  const last = cached.at(-1)!;

  it(`ends with 0 where the rows are equal, in each of ${cached.join(', ')}`, () => {
    const program = compile('holds', text(c, failureAt(0.05)));
    for (const release of cached) {
      const { code, out } = run(program, c.model, release);
      expect(`${release} ${code} ${out}`).toMatch(
        new RegExp(`^${release} 0 .*it holds in this build\n$`, 's'),
      );
      expect(out).toContain('must equal token 0 of call 1 of the sequence alone');
      expect(out).toMatch(/element 17 .*\(this one decides\)\n {2}bound 0.05\n/);
    }
  });

  it('ends with 1 where the element that decides is beyond its bound', () => {
    // What the sequence "says alone" is that of another sequence here.
    const other = caseOf(PAIR, { alone: [{ call: 0, index: 3, tokens: [7, 9] }] });
    const { code, out } = run(compile('fails', text(other, failureAt(0.05))), c.model, last);
    expect(code).toBe(1);
    expect(out).toContain('FAILS: element 17 of the row of token 3 of call 0 (sequence 0, position 1)');
  });

  it('ends with 1 where memory reports another position, and where an illegal batch is taken', () => {
    const told = {
      ...DIED,
      difference: { what: 'largest position of sequence 1 after call 0', got: 1, want: 5 },
    };
    const position = run(
      compile('position', text(caseOf(PAIR, { positions: [[0, 1, 0, 5]] }), told)),
      c.model,
      last,
    );
    expect(position.code).toBe(1);
    expect(position.out).toContain('the largest position of sequence 1 is 1, want 5');
    const legal: Script = {
      ...PAIR,
      calls: [{ ...PAIR.calls[0]!, refused: 'batch.token' } as Script['calls'][0]],
    };
    const taken = run(compile('taken', text(caseOf(legal), DIED)), c.model, last);
    expect(taken.code).toBe(1);
    expect(taken.out).toContain('llama_decode answered 0, and the batch is one that must be refused');
  });

  it('moves positions', () => {
    const calls: Script['calls'] = [...PAIR.calls, { op: 'seqAdd', seq: 0, p0: 1, p1: -1, by: 3 }];
    const told = { ...DIED, difference: { what: 'largest position of sequence 0', got: 1, want: 4 } };
    const moved = (max: number) => caseOf({ ...PAIR, calls }, { positions: [[1, 0, 0, max]] });
    expect(run(compile('moved-on', text(moved(4), told)), c.model, last).code).toBe(0);
    const { code, out } = run(compile('stayed', text(moved(1), told)), c.model, last);
    expect([code, out]).toEqual([1, expect.stringContaining('call 1: seq_add(0, 1, -1, 3)')]);
  });

  it('saves and loads states, and shows a load that is not refused', () => {
    const calls: Script['calls'] = [
      ...PAIR.calls,
      { op: 'stateSave', slot: 'a', seq: 0 },
      { op: 'newContext', params: { n_ubatch: 4 } },
      { op: 'stateLoad', slot: 'a', seq: 1, cut: 1, refused: 'state' },
      { op: 'stateLoad', slot: 'a', seq: 1 },
      { op: 'decode', batch: { token: [9], pos: [2], seq_id: [[1]], logits: [true] } },
    ];
    const row = [{ call: 5, index: 0, tokens: [7, 8, 9] }];
    const told = failureAt(0.05);
    const at = { ...told, difference: { ...told.difference, at: { call: 5, index: 0 } } };
    const good = caseOf({ ...PAIR, calls }, { alone: row, positions: [[4, 1, 0, 1]] });
    const holds = run(compile('state', text(good, at)), c.model, last);
    expect(holds.out).toMatch(/bound 0.05\nit holds in this build\n$/);
    expect(holds.code).toBe(0);
    const bad = calls.map((call) => (call.op === 'stateLoad' ? { ...call, refused: 'state' } : call));
    const fails = run(compile('loaded', text(caseOf({ ...PAIR, calls: bad }), DIED)), c.model, last);
    expect(fails.code).toBe(1);
    expect(fails.out).toMatch(
      /FAILS: the history, call 4: loading the state answered \d+, and it is cut short/,
    );
  });

  const PAIRED = [
    [0, 1, 0, 1],
    [0, 3, 0, 3],
  ] as const;
  const T5: ModelInfo = { ...LLAMA, arch: 't5', encoder: 'with decoder' };
  const SOURCE = { token: [7, 8, 9], pos: [0, 0, 1], seq_id: [[0], [1], [1]] };

  it('encodes before it decodes, and sees that another source says something else', () => {
    const history = (batch: typeof SOURCE): Script => ({
      params: { ...PAIR.params, type_kv: 'F32' },
      calls: [{ op: 'encode', batch }, ...PAIR.calls],
    });
    const made = (other: Script) =>
      caseOf(history(SOURCE), {
        property: 'cross',
        model: 'recipe:t5',
        base: other,
        pairs: PAIRED.map(([, a, , b]) => [1, a, 1, b] as const),
      });
    const told = failureAt(1e-6);
    const at = { ...told, difference: { ...told.difference, at: { call: 1, index: 3 } } };
    const same = run(compile('encoded', text(made(history(SOURCE)), at, T5)), 'recipe:t5', last);
    expect(same.out).toContain('call 0: llama_encode, 3 tokens: 0');
    expect(same.code).toBe(0);
    // Token 3 is of sequence 0.
    const moved = text(made(history({ ...SOURCE, token: [6, 8, 9] })), at, T5);
    expect(run(compile('moved', moved), 'recipe:t5', last).code).toBe(1);
  });

  it('compares pooled embeddings of sequences', () => {
    const pooled = (pooling: 'mean' | 'last') => ({ ...PAIR, params: { ...PAIR.params, pooling } });
    const made = (other: Script) =>
      caseOf(pooled('mean'), { property: 'pooling', base: other, pairs: PAIRED });
    const same = run(compile('pooled', text(made(pooled('mean')), failureAt(1e-6))), c.model, last);
    expect([same.code, same.out]).toEqual([0, expect.stringContaining('bound 1e-06')]);
    const other = text(made(pooled('last')), failureAt(1e-6));
    expect(run(compile('other', other), c.model, last).code).toBe(1);
  });

  it('has the library quantize the model, which moves its answers', () => {
    const told = failureAt(1e-6);
    const Q8_0 = 7;
    const plain = run(compile('plain', text(c, told)), c.model, last);
    const program = compile('quantized', text(c, told, LLAMA, Q8_0));
    const { code, out } = run(program, c.model, last);
    expect(code).not.toBe(2);
    const firstRow = (printed: string) => /element 0 .*/.exec(printed)?.[0];
    expect(firstRow(out)).toBeDefined();
    expect(firstRow(out)).not.toBe(firstRow(plain.out));
    expect(readdirSync(tmpdir()).filter((name) => name.startsWith('reproduce-'))).toEqual([]);
  });

  it('ends with 2 where it cannot be run', () => {
    const program = compile('cannot', text(c, failureAt(0.05)));
    expect(spawnSync(program, []).status).toBe(2);
    expect(spawnSync(program, ['/no/such/libllama.so']).status).toBe(2);
    const lib = cachedRelease(last)!.libllama;
    const done = spawnSync(program, [lib, '/no/such.gguf'], { encoding: 'utf8' });
    expect(done.status).toBe(2);
    expect(done.stderr).toContain('cannot run: /no/such.gguf is not loaded');
  });

  it.skipIf(!cached.includes('b6122'))(
    `shows an assertion of b6122 as a failure${needs(cached.includes('b6122'), 'b6122 was not fetched')}`,
    () => {
      const script = { ...PAIR, params: { ...PAIR.params, type_kv: 'F32', kv_unified: false } } as const;
      const hybrid = { ...caseOf(script, { alone: ALONE }), model: 'recipe:jamba' };
      const program = compile('hybrid', text(hybrid, DIED, { ...LLAMA, arch: 'jamba', memory: 'hybrid' }));
      const { code, out } = run(program, hybrid.model, 'b6122');
      expect(code).toBe(1);
      expect(out).toContain(
        'FAILS: the library aborted (signal 6) while llama_decode ran, the history, call 0',
      );
    },
  );
});
