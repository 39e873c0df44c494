/** The reader of case files against files that are wrong in one place, and in thousands of places. */
import { describe, expect, it } from 'vitest';
import { IsobatchError } from '../contract/errors.ts';
import { oracleWhite } from '../oracle/white.ts';
import { caseRandom } from '../properties/random.ts';
import { properties } from '../properties/registry.ts';
import { fakeEnv } from '../properties/testing.ts';
import type { Case, Difference, Env, Outcome } from '../properties/types.ts';
import type { CaseFile } from './case-file.ts';
import { parseCaseFile, readCaseFile } from './case-read.ts';
import { storyLines } from './story.ts';
import { WIDTH } from './text.ts';

const none = { compared: 0, equal: 0, rounding: 0, divergent: 0, tokens: 0 };
const passed: Outcome = { status: 'passed', ...none, compared: 1, equal: 1 };

function fileOf(c: Case, memory: 'attention' | 'recurrent'): CaseFile {
  const at =
    c.script === undefined
      ? undefined
      : c.script.calls.findIndex((call) => call.op === 'decode' && call.refused === undefined);
  const info = { arch: 'x', memory, n_vocab: 16, n_embd: 1, n_layer: 1, n_params: 1 };
  return {
    isobatch_case: 2,
    isobatch: '0.0.0',
    statement: 'it holds',
    case: c,
    failure: {
      message: 'solo: logits of token 0 of call 0: got 1.5, want 2',
      difference: {
        what: 'logits of token 0 of call 0',
        index: 3,
        got: 1.5,
        want: 2,
        ...(at === undefined || at < 0 ? {} : { at: { call: at, index: 0 } }),
        missed: { bound: 1e-5, sigmas: 138, worst_case: 40, grade: 'no roundings explain it' },
      },
      signature: 'solo/x/16/logits',
      explanation: {
        sentence: 'It fails for any n_ubatch.',
        facts: [{ what: 'n_ubatch', verdict: 'any value fails', runs: 4 }],
        runs: 4,
        seconds: 0.2,
        cut: false,
      },
      probe: ['query 1@0: state holds 0@0, which it must not'],
    },
    count: 3,
    seed: 's',
    index: c.index,
    original: c,
    model: c.model,
    model_sha256: '',
    model_info: info,
    fingerprint: 'f',
    subject: { kind: 'command', command: 'x' },
    subject_info: { name: 'x', version: '1', splits: { [memory]: ['equal', 'simple'] } },
    replay: 'isobatch replay x',
    again: 'isobatch verify',
  };
}

const story = (file: CaseFile, outcome = passed) => storyLines({ file, path: 'x.json', outcome });

/** Real cases of every property, on both kinds of memory. */
const FILES: readonly CaseFile[] = (['attention', 'recurrent'] as const).flatMap((memory) =>
  properties.flatMap((property) => {
    const env = fakeEnv(memory);
    if (property.skip(env.subject, env.model) !== null) return [];
    return [0, 1, 5].map((i) => fileOf(property.generate(env, i), memory));
  }),
);

const kindOf = (run: () => unknown): { kind: string; message: string } => {
  try {
    run();
    return { kind: 'none', message: '' };
  } catch (error) {
    if (error instanceof IsobatchError) return { kind: error.kind, message: error.message };
    return { kind: String(error), message: (error as Error).stack ?? '' };
  }
};

const solo = FILES.find((f) => f.case.property === 'solo')!;

/** The file with one field changed; a path such as `case.script.calls.0.op`. */
function changed(path: string, value: unknown, from: CaseFile = solo): string {
  const copy = JSON.parse(JSON.stringify(from));
  const keys = path.split('.');
  const last = keys.pop()!;
  const home = keys.reduce((node, key) => node[key], copy);
  if (value === undefined) delete home[last];
  else home[last] = value;
  return JSON.stringify(copy);
}

const message = (path: string, value: unknown, from?: CaseFile) => {
  const got = kindOf(() => parseCaseFile(changed(path, value, from), 'f.json'));
  expect(got.kind).toBe('file');
  return got.message;
};

describe('a case file', () => {
  it('of every property is read back as it was written', () => {
    expect(FILES.length).toBeGreaterThan(60);
    for (const file of FILES)
      expect(parseCaseFile(JSON.stringify(file), 'f')).toEqual(JSON.parse(JSON.stringify(file)));
  });

  it('that is missing or no JSON is refused with its path', () => {
    expect(kindOf(() => readCaseFile('/no/such.json'))).toMatchObject({
      kind: 'file',
      message: expect.stringContaining('no such file'),
    });
    expect(kindOf(() => parseCaseFile('{"isobatch_case": 2,', 'f.json')).message).toContain(
      'f.json: it is no JSON',
    );
    expect(kindOf(() => parseCaseFile('[]', 'f.json')).message).toBe(
      'f.json: the file must be an object, got []',
    );
  });

  it('of another version is refused with the command that writes it anew', () => {
    const old = JSON.stringify({ isobatch_case: 1, again: 'isobatch verify --range 3..4' });
    expect(kindOf(() => parseCaseFile(old, 'f.json'))).toEqual({
      kind: 'file',
      message:
        'f.json is a case file of version 1, this isobatch reads version 2; to keep the case anew run: isobatch verify --range 3..4',
    });
    expect(kindOf(() => parseCaseFile('{"isobatch_case": 7}', 'f.json')).message).toContain('of version 7');
    expect(kindOf(() => parseCaseFile('{}', 'f.json')).message).toContain('is not a case file');
  });

  it('names the field that is wrong and what it must be', () => {
    const call = solo.case.script!.calls.findIndex((c) => c.op === 'decode' && c.refused === undefined);
    const at = `case.script.calls.${call}`;
    expect(message(`${at}.batch.token.0`, 'x')).toBe(
      `f.json: case.script.calls[${call}].batch.token[0] must be a whole number from 0, got "x"`,
    );
    expect(message(`${at}.op`, 'decde')).toContain(`calls[${call}].op must be one of decode, encode, seqRm`);
    expect(message(`${at}.batch.logits`, [true, 1])).toContain('.batch.logits must be a list of');
    expect(message(`${at}.batch.seq_id.0`, [99])).toMatch(
      /seq_id\[0\]\[0\] must be a whole number from 0 to/,
    );
    expect(message(`${at}.batch.seq_id.0`, [0, 0])).toContain('a list without doubles');
    expect(message('case.script.params.n_ctx', 0)).toContain('params.n_ctx must be a whole number from 1');
    expect(message('case.script.params.n_ctx', 1e12)).toContain('to 1048576');
    expect(message('case.script.params.split', 'eqal')).toContain(
      'params.split must be one of simple, equal',
    );
    expect(message('case.version', 2)).toContain('case.version must be 1, got 2');
    expect(message('subject', { kind: 'module' })).toContain('subject.path must be a text, got nothing');
    expect(message('failure.difference.missed.grade', 'bad')).toContain('missed.grade must be one of');
    expect(message('failure.explanation.facts.0.runs', -1)).toContain('facts[0].runs');
    expect(message('failure.probe.0', 5)).toContain('failure.probe[0] must be a text');
    expect(message('failure.difference.at', { call: 99, index: 0 })).toContain('difference.at.call');
  });

  it('refuses rows that are not there', () => {
    const script = {
      params: solo.case.script!.params,
      calls: [{ op: 'decode', batch: { token: [1, 2] } }, { op: 'clear' }],
    };
    const c = { ...solo.case, script, alone: [{ call: 0, index: 1, tokens: [1, 2] }] };
    const base = {
      ...solo,
      failure: { ...solo.failure, difference: { what: 'w' } },
      original: undefined,
      case: c,
    } as unknown as CaseFile;
    expect(kindOf(() => parseCaseFile(JSON.stringify(base), 'f')).kind).toBe('none');
    expect(message('case.alone.0.index', 0, base)).toContain(
      'case.alone[0].index must be the batch index of an output',
    );
    expect(message('case.alone.0.call', 1, base)).toContain('must be the number of a decode');
    expect(message('case.alone.0.tokens', [], base)).toContain('a list that is not empty');
    expect(message('case.pairs', [[0, 1, 0, 1]], base)).toContain('left out where there is no base');
    expect(
      message(
        'case.positions',
        [
          [1, 0, -1, -1],
          [0, 0, 0, 0],
        ],
        base,
      ),
    ).toContain('positions[1][0]');
    expect(message('case.script', undefined, base)).toContain('case.alone must be left out');
  });

  it('checks the input of the rules', () => {
    const split = FILES.find((f) => f.case.property === 'split')!;
    expect(message('case.white.options.policy', 'x', split)).toContain('case.white.options.policy');
    expect(message('case.white.batch.pos', [], split)).toContain('case.white.batch.pos must be a list of');
    expect(message('case.white', undefined, split)).toContain('case.white must be an object');
    const cells = FILES.find((f) => f.case.property === 'cells')!;
    expect(message('case.white.steps.0.sets', [[99]], cells)).toContain('case.white.steps[0].sets');
    const slots = FILES.find((f) => f.case.property === 'slots')!;
    expect(message('case.white.n_slots', 0, slots)).toContain('case.white.n_slots');
  });
});

/** Values that stand where something else was expected. */
const ODD = [
  null,
  true,
  -1,
  0,
  1,
  2 ** 31,
  1e300,
  0.5,
  '',
  'x',
  '__proto__',
  [],
  [[]],
  [0],
  {},
  { op: 'decode' },
  [null],
];

/** Changes one to three places of a JSON value: replaced, deleted, doubled, or given to another place. */
function mutate(value: unknown, below: (n: number) => number): unknown {
  const root = { value: structuredClone(value) };
  for (let k = 1 + below(3); k > 0; k--) {
    const places: [Record<string, unknown>, string][] = [];
    const walk = (node: unknown) => {
      if (typeof node !== 'object' || node === null) return;
      for (const key of Object.keys(node)) {
        places.push([node as Record<string, unknown>, key]);
        walk((node as Record<string, unknown>)[key]);
      }
    };
    walk(root);
    if (places.length === 0) return null;
    const [node, key] = places[below(places.length)]!;
    const [other, otherKey] = places[below(places.length)]!;
    const how = below(10);
    const numbers = places.filter(([home, name]) => typeof home[name] === 'number');
    if (how < 6 && numbers.length > 0) {
      // Still a number: such files are often read, and then must be told.
      const [home, name] = numbers[below(numbers.length)]!;
      home[name] = (home[name] as number) + below(5) - 2;
    } else if (how < 7) node[key] = structuredClone(ODD[below(ODD.length)]);
    else if (how < 8) delete node[key];
    else if (how < 9 && Array.isArray(node)) node.push(structuredClone(node[Number(key)]));
    else node[key] = structuredClone(other[otherKey]);
  }
  return root.value;
}

describe('mutated case files', () => {
  it('are refused with kind file, or read and told: nothing else ever comes out', () => {
    const r = caseRandom('mutated case files', 'read', 'x', 0);
    const random = (n: number) => r.below(n);
    // The smaller ones, whose fields are hit more often; the original is read as the case is.
    const files = FILES.map((file) => ({ file, size: JSON.stringify(file.case).length }))
      .sort((a, b) => a.size - b.size)
      .slice(0, 40)
      .map(({ file }, i) => (i % 4 === 0 ? file : { ...file, original: undefined }));
    const seen = { refused: 0, told: 0 };
    for (let i = 0; i < 3000; i++) {
      const from = files[i % files.length]!;
      const text = JSON.stringify(mutate(from, random)) ?? 'null';
      const cut = i % 50 === 0 ? text.slice(0, random(text.length)) : text;
      const got = kindOf(() => {
        const file = parseCaseFile(cut, 'f.json');
        if (!story(file).every((line) => typeof line === 'string')) throw new Error('no lines');
      });
      if (got.kind !== 'none' && got.kind !== 'file') throw new Error(`${got.kind}\n${got.message}\n${cut}`);
      seen[got.kind === 'file' ? 'refused' : 'told']++;
    }
    expect(seen.refused).toBeGreaterThan(900);
    expect(seen.told).toBeGreaterThan(600);
  });
});

describe('what was read can be run', () => {
  it('however it was changed: the worst that comes out is a refusal', async () => {
    const r = caseRandom('mutated case files', 'run', 'x', 0);
    const envs = new Map<string, Env>();
    let ran = 0;
    const files = FILES.filter((file) => JSON.stringify(file.case).length < 4000);
    for (let i = 0; i < 2000; i++) {
      const from = files[i % files.length]!;
      const text = JSON.stringify({
        ...from,
        case: mutate(from.case, (n) => r.below(n)),
        original: undefined,
      });
      if (kindOf(() => parseCaseFile(text, 'f')).kind !== 'none') continue;
      const { case: c } = parseCaseFile(text, 'f');
      const property = properties.find((p) => p.name === c.property);
      if (property === undefined) continue;
      const memory = from.model_info!.memory as 'attention' | 'recurrent';
      if (!envs.has(memory)) envs.set(memory, { ...fakeEnv(memory), white: oracleWhite });
      ran++;
      try {
        await property.run(envs.get(memory)!, c);
      } catch (error) {
        if (!(error instanceof IsobatchError)) throw new Error(`${(error as Error).stack}\n${text}`);
      }
    }
    expect(ran).toBeGreaterThan(300);
  });

  it('inputs of the small scope, and cases that could not be generated, are refused', () => {
    expect(message('case.property', 'small-scope')).toContain('not replayed; run: isobatch verify');
    const nothing = { version: 1, property: 'solo', model: 'm', seed: 's', index: 1 };
    expect(message('case', nothing)).toContain('case.script must be an object, got nothing');
  });
});

describe('the story', () => {
  it('of every real case fits into a hundred columns, but for what cannot be broken', () => {
    for (const file of FILES)
      for (const line of story(file)) if (line.length > WIDTH) expect(line.trim()).toMatch(/^(\S+: )?\S+$|"/);
  });

  it('has its sections in order', () => {
    const failed: Outcome = {
      status: 'failed',
      ...none,
      compared: 1,
      divergent: 1,
      failure: { case: solo.case, ...solo.failure },
    };
    const text = story(solo, failed).join('\n');
    const order = [
      'Property solo: it holds',
      '  subject  x 1',
      'What is done',
      'Batch by batch, by the rules',
      'What differs first',
      '  got   1.5 (bits 0x3fc00000)',
      '  bound 0.00001: no correct subject is farther off by rounding',
      '  size  138 standard deviations of the derived rounding error, 40 times',
      '  grade no roundings explain it',
      'What a probe model saw',
      '  query 1@0: state holds 0@0, which it must not',
      'What matters',
      '  It fails for any n_ubatch.',
      '  n_ubatch  any value fails     4',
      'To run it again',
      '  isobatch replay x.json',
    ];
    let from = 0;
    for (const part of order) {
      expect(text.indexOf(part, from), part).toBeGreaterThanOrEqual(0);
      from = text.indexOf(part, from);
    }
  });

  it('draws the history in which something differs, and the other one where that is drawn differently', () => {
    const calls = [{ op: 'decode' as const, batch: { token: [3, 4], logits: [true, true] } }];
    const params = { n_ctx: 4, n_batch: 4, n_ubatch: 2, n_seq_max: 1, split: 'simple' as const };
    const c: Case = {
      ...{ version: 1, property: 'ubatch', model: 'm', seed: 's', index: 0 },
      script: { params, calls },
      base: { params: { ...params, n_ubatch: 1 }, calls },
      pairs: [[0, 1, 0, 1]],
    };
    const told = (difference: Difference) =>
      story({ ...fileOf(c, 'attention'), failure: { message: 'm', difference, signature: 's/x/y' } });
    const pair = told({ what: 'logits', index: 0, got: 1.5, want: 2, at: { call: 0, index: 1 } });
    const title = pair.findIndex((line) => line.startsWith('The same in the other context'));
    expect(pair.slice(0, title)).toContain('  ubatch         0  0');
    expect(pair.slice(title)).toContain('  ubatch         0  1');
    expect(pair).toContain('  want  2 (bits 0x40000000), the same row in the other context');
    expect(pair).toContain('  a context with n_ubatch 1');
    const base = told({ what: 'base history: decode, call 0', got: 'refused: x', want: 'accepted' });
    expect(base).toContain('Batch by batch, in the other context, where it went wrong');
    expect(base).toContain('  ^ this call differs');
    expect(base).toContain('  ubatch         0  1');
    expect(base).not.toContain('  ubatch         0  0');
    expect(base).toContain('  in the other history: decode, call 0');
  });

  it('says nothing of explanations that a case does not have, or that are of another failure', () => {
    const { explanation: _, probe: __, ...plain } = solo.failure;
    const bare = story({ ...solo, failure: plain }).join('\n');
    expect(bare).not.toContain('What matters');
    expect(bare).not.toContain('probe');
    expect(bare).toContain('What differed first when the case was kept');
    const failure = {
      case: solo.case,
      message: 'm',
      difference: { what: 'w' },
      signature: 'solo/x/16/position',
    };
    const other = story(solo, { status: 'failed', ...none, failure }).join('\n');
    expect(other).not.toContain('What matters');
    expect(other).toContain('another failure than the one that was kept: solo/x/16/logits');
  });
});
