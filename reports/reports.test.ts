import { describe, expect, it } from 'vitest';
import type { CampaignResult, FailureRecord, UnitResult } from '../properties/campaign-result.ts';
import { emptyTally } from '../properties/worker-messages.ts';
import { batchInWords } from './call-words.ts';
import { caseFileOf, shellWord } from './case-file.ts';
import { differenceLines } from './difference.ts';
import { escapeXml, junitXml } from './junit.ts';
import { progressLine, progressReporter } from './progress.ts';
import { caseLines } from './story.ts';
import { propertyRows, totalsOf } from './summarize.ts';
import { terminalLines } from './terminal.ts';
import { paintFor, table } from './text.ts';

const NASTY = 'a <b> & "c" \'d\' ]]> \u0000\u001b[31m\ud800 ünï\nnew';

function unit(property: string, model: string, change: Partial<UnitResult> = {}): UnitResult {
  const tally = { ...emptyTally(), cases: 10, passed: 10, compared: 100, equal: 100, tokens: 50 };
  return { property, model, white: false, status: 'passed', tally, range: [0, 10], busy_s: 2, ...change };
}

const failure: FailureRecord = {
  signature: `solo/${NASTY}`,
  property: 'solo',
  model: 'm2',
  count: 3,
  failure: {
    case: { version: 1, property: 'solo', model: 'm2', seed: "it's", index: 4 },
    message: NASTY,
    difference: { what: 'logits', index: 7, got: 1.5, want: '2' },
    signature: `solo/${NASTY}`,
  },
  original: { version: 1, property: 'solo', model: 'm2', seed: "it's", index: 4 },
  shrink: { tried: 2, accepted: 1 },
  log: NASTY,
};

const result: CampaignResult = {
  version: 1,
  isobatch: '0.0.0',
  ok: false,
  verdict: 'does not hold: 1 different failure',
  settings: {
    subject: { kind: 'command', command: "python 'my engine.py'" },
    models: ['m1', 'm2'],
    properties: [],
    seed: "it's",
    jobs: 2,
    shrink_seconds: 10,
    max_failures: 20,
    p: 1e-10,
    watchdog_s: 30,
  },
  subject: {
    name: 'x',
    version: '1',
    protocol: 1,
    architectures: [],
    splits: {},
    isas: [],
    types_kv: [],
    bit_invariant: true,
    shared_tokens: true,
    remove_anywhere: true,
  },
  models: [],
  units: [
    unit('solo', 'm1'),
    unit('solo', 'm2', { status: 'failed' }),
    unit('share', 'm1', { status: 'skipped', reason: NASTY, tally: emptyTally(), busy_s: 0 }),
    unit('split', 'rules', { white: true, busy_s: 4 }),
  ],
  failures: [failure],
  excused: [],
  coverage: {},
  missing: { split: ['lengths: 5-8'] },
  interrupted: false,
  stopped: false,
  elapsed_s: 4,
  fingerprint: 'f',
};

/** A reader for the XML that we write: nesting, attributes, entities. Throws on anything that is not well-formed. */
function readXml(xml: string): { name: string; attributes: Record<string, string>; depth: number }[] {
  const open: string[] = [];
  const found: { name: string; attributes: Record<string, string>; depth: number }[] = [];
  const body = xml.replace(/^<\?xml version="1.0" encoding="UTF-8"\?>\n/, '');
  const token = /<(\/?)([a-z]+)((?: [a-z]+="[^"<]*")*)(\/?)>|([^<]+)/gy;
  let at = 0;
  for (let m = token.exec(body); m !== null; m = token.exec(body)) {
    at = token.lastIndex;
    const [, closing, name, attributes = '', empty, text] = m;
    const raw = text ?? attributes;
    if (/&(?!#\d+;)/.test(raw)) throw new Error(`a bare ampersand in ${raw}`);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: those that XML forbids
    if (/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ud800-\udfff\ufffe\uffff]/.test(raw))
      throw new Error('a character that XML cannot hold');
    if (text !== undefined) continue;
    if (closing === '/') {
      if (open.pop() !== name) throw new Error(`</${name}> closes something else`);
      continue;
    }
    const pairs = [...attributes.matchAll(/ ([a-z]+)="([^"]*)"/g)].map((a) => [a[1]!, a[2]!]);
    found.push({ name: name!, attributes: Object.fromEntries(pairs), depth: open.length });
    if (empty !== '/') open.push(name!);
  }
  if (at !== body.length || open.length > 0)
    throw new Error(`not well-formed at ${at}: ${body.slice(at, at + 40)}`);
  return found;
}

describe('JUnit', () => {
  it('escapes what XML cannot hold', () => {
    expect(escapeXml('a<b>&"\'\n')).toBe('a&#60;b&#62;&#38;&#34;&#39;&#10;');
    expect(escapeXml('x\u0000\ud800y')).toBe('x\ufffd\ufffdy');
  });

  it('is well-formed, and its counts are those of its tests', () => {
    const elements = readXml(junitXml(result, () => 'cases/1.json'));
    const suites = elements.filter((e) => e.name === 'testsuite');
    expect(
      suites.map((s) => [s.attributes.name, s.attributes.tests, s.attributes.failures, s.attributes.skipped]),
    ).toEqual([
      ['solo', '2', '1', '0'],
      ['share', '1', '0', '1'],
      ['split', '2', '1', '0'],
    ]);
    const count = (name: string) => elements.filter((e) => e.name === name).length;
    expect([count('testcase'), count('failure'), count('skipped')]).toEqual([5, 2, 1]);
    expect(elements.filter((e) => e.name === 'testcase').every((e) => e.depth === 2)).toBe(true);
  });

  it('is read by a reader that refuses what is not well-formed', () => {
    expect(() => readXml('<a><b></a>')).toThrow();
    expect(() => readXml('<a x="&"/>')).toThrow();
    expect(() => readXml('<a>')).toThrow();
  });
});

describe('the summary', () => {
  it('joins the models of a property: a failure wins, an empty class fails', () => {
    const rows = propertyRows(result);
    expect(rows.map((r) => [r.property, r.status, r.cases])).toEqual([
      ['solo', 'failed', 20],
      ['share', 'skipped', 0],
      ['split', 'failed', 10],
    ]);
    expect(rows[0]!.cases_per_second).toBe(5);
    expect(rows[1]!.reasons).toEqual([NASTY]);
  });

  it('counts white-box cases apart and shares the clock by busy time', () => {
    // 4 s by the clock, 8 s of workers: each kind had half of it.
    expect(totalsOf(result)).toMatchObject({
      cases: 20,
      white: 10,
      compared: 300,
      mean_tokens: 5,
      cases_per_minute: 600,
      white_per_minute: 300,
    });
  });

  it('shows every property, each failure with its command, and the verdict last', () => {
    const lines = terminalLines(result, paintFor({ isTTY: false }), () => 'out/cases/1.json');
    const text = lines.join('\n');
    for (const part of [
      'solo',
      'share skipped:',
      'never reached by split: lengths: 5-8',
      'isobatch replay out/cases/1.json',
    ])
      expect(text).toContain(part);
    expect(lines.at(-1)).toBe('x does not hold: 1 different failure');
  });

  it('tells a failure with its explanation, what a probe saw, and by what else it was found', () => {
    const explanation = { sentence: 'It needs two ubatches.', facts: [], runs: 3, seconds: 0.1, cut: false };
    const script = {
      params: { n_ctx: 8, n_batch: 8, n_ubatch: 2, n_seq_max: 2, split: 'equal' as const },
      calls: [{ op: 'decode' as const, batch: { token: [1] } }],
    };
    const found = (property: string, model: string): FailureRecord => ({
      ...failure,
      log: undefined,
      property,
      model,
      signature: `${property}/x/logits`,
      failure: {
        ...failure.failure,
        case: { ...failure.failure.case, property, model, script },
        message: 'logits: got 1.5, want 2',
        explanation,
        probe: ['query 1@0: state holds 0@0, which it must not', 'more'],
      },
    });
    const failures = [found('solo', 'm1'), found('permute', 'm2')];
    const lines = terminalLines({ ...result, failures }, paintFor({}), () => 'out/1.json');
    const at = lines.indexOf('FAILED solo on m1, case 4, 3 cases like it');
    expect(lines.slice(at, at + 7)).toEqual([
      'FAILED solo on m1, case 4, 3 cases like it',
      '  logits: got 1.5, want 2',
      '  It needs two ubatches.',
      '  query 1@0: state holds 0@0, which it must not',
      '  also found by: permute on m2',
      '  isobatch replay out/1.json',
      '',
    ]);
    expect(lines.join('\n')).not.toContain('FAILED permute');
  });

  it('uses colours only on a terminal that wants them', () => {
    expect(paintFor({ isTTY: true }, { NO_COLOR: '1' })('red', 'x')).toBe('x');
    expect(paintFor({ isTTY: false }, {})('red', 'x')).toBe('x');
    expect(
      table(
        [
          ['a', '1'],
          ['bb', '22'],
        ],
        [1],
      ),
    ).toEqual(['a    1', 'bb  22']);
  });
});

describe('a case file', () => {
  it('has commands that a shell reads back', () => {
    expect(shellWord("it's")).toBe("'it'\\''s'");
    const file = caseFileOf(failure, result, 'out/1 x.json');
    expect(file.replay).toBe("isobatch replay 'out/1 x.json'");
    expect(file.again).toBe(
      "isobatch verify --property solo --model m2 --seed 'it'\\''s' --range 4..5 --subject-cmd 'python '\\''my engine.py'\\'''",
    );
    expect(file.original).toBeDefined();
  });
});

describe('the story of a case', () => {
  it('tells batches by sequence, with outputs starred', () => {
    expect(batchInWords({ token: [5, 7, 9] })).toBe('{0} 5 7 9*');
    const batch = {
      token: [5, 7, 9],
      pos: [0, 1, 0],
      seq_id: [[0, 1], [0, 1], [2]],
      logits: [true, false, true],
    };
    expect(batchInWords(batch)).toBe('{0,1} 5@0* 7@1; {2} 9@0*');
    expect(batchInWords({ token: new Array(100).fill(1) })).toContain('(100 in all)');
  });

  it('tells calls, refusals and differences', () => {
    const params = { n_ctx: 8, n_batch: 8, n_ubatch: 2, n_seq_max: 2, split: 'equal' as const };
    const script = {
      params,
      calls: [
        { op: 'seqRm' as const, seq: -1, p0: 2, p1: 5, refused: 'ops.partial' },
        { op: 'seqCp' as const, from: 0, to: 1, p0: -1, p1: -1 },
        { op: 'clear' as const },
      ],
    };
    const lines = caseLines({ version: 1, property: 'p', model: 'm', seed: 's', index: 1, script });
    expect(lines).toEqual([
      'What is done',
      '  a new context: n_ctx 8, n_batch 8, n_ubatch 2, n_seq_max 2, split equal',
      '  0. remove positions 2 to 4 of all sequences  (must be refused: ops.partial)',
      '  1. copy everything of sequence 0 to sequence 1',
      '  2. clear everything',
      '  ({sequences} token@position; * marks an output row)',
    ]);
    expect(differenceLines({ what: 'logits of w', index: 3, got: 0.5, want: 2 }, 'said alone')).toEqual([
      '  logits of w, element 3',
      '  got   0.5 (bits 0x3f000000)',
      '  want  2 (bits 0x40000000), said alone',
      '  off by 1.5, 0.75 times the wanted value',
    ]);
  });
});

describe('progress', () => {
  const p = {
    stage: 'running',
    cases: 1234,
    total: 5000,
    failures: 1,
    elapsed_s: 12,
    what: 'solo on m',
  } as const;

  it('is one line', () => {
    expect(progressLine(p)).toBe('running, 1,234 of 5,000 cases, 1 failure, 12.0 s: solo on m');
  });

  it('is live on a terminal, and every ten seconds elsewhere', () => {
    const written: string[] = [];
    let now = 0;
    const write = (text: string) => written.push(text);
    const plain = progressReporter({ write }, () => now);
    for (now = 1000; now <= 25_000; now += 1000) plain.show(p);
    expect(written).toHaveLength(2);
    expect(written[0]).toMatch(/^running.*\n$/);
    written.length = 0;
    const live = progressReporter({ write, isTTY: true, columns: 20 }, () => now);
    live.show(p);
    live.show(p);
    live.end();
    expect(written).toEqual(['\r\x1b[Krunning, 1,234 of 5', '\r\x1b[K']);
  });
});
