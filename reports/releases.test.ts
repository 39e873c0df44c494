/** The matrix: each cell by the units that it stands for, reasons once, and nothing green that did not run. */
import { describe, expect, it } from 'vitest';
import type { CampaignResult, Status, UnitResult } from '../properties/campaign-result.ts';
import { releasesLines } from './releases.ts';
import { type ReleaseRun, releasesRecord, shortReason } from './releases-record.ts';

const plain = (_: string, text: string) => text;
const models = ['recipe:llama-loadable', 'recipe:gemma2', 'recipe:gemma2-26', 'recipe:jamba'];

function unit(property: string, model: string, status: Status, more: object = {}): UnitResult {
  const tally = { cases: 40, compared: 80, signatures: {}, ...more };
  return { property, model, white: false, status, tally, ...more } as unknown as UnitResult;
}

function run(name: string, units: readonly UnitResult[], more: Partial<ReleaseRun> = {}): ReleaseRun {
  const facts = models.map((model) => ({ name: model, info: { arch: model.replace(/recipe:|-.*/g, '') } }));
  const result = { units, models: facts, settings: { seed: 's' }, verdict: 'v', elapsed_s: 1 };
  return { name, refused: {}, cases: {}, result: result as unknown as CampaignResult, ...more };
}

const runs: readonly ReleaseRun[] = [
  run(
    'b1',
    [
      unit('solo', 'recipe:llama-loadable', 'failed', { signatures: { 'solo/a': 3, 'solo/b': 1 } }),
      unit('share', 'recipe:llama-loadable', 'skipped', { cases: 0, reason: 'it shares nothing' }),
      unit('solo', 'recipe:gemma2-26', 'passed'),
      unit('share', 'recipe:gemma2-26', 'not run', { cases: 0, reason: 'nothing was compared' }),
    ],
    {
      refused: { 'recipe:gemma2': 'loading it ends the process', 'recipe:jamba': 'unknown' },
      cases: { 'solo/a': 'a.json' },
    },
  ),
  { name: 'b2', refused: {}, cases: {}, error: 'no network' },
];
const record = releasesRecord(runs, models, false);
const cell = (release: string, arch: string, property: string) =>
  record.cells.find((x) => x.release === release && x.arch === arch && x.property === property)!;

describe('the matrix of releases', () => {
  it('has a cell for each release, architecture and property', () => {
    expect(record.architectures).toEqual(['llama', 'gemma2', 'jamba']);
    expect(record.properties).toEqual(['solo', 'share']);
    expect(record.cells).toHaveLength(2 * 3 * 2);
  });

  it('keeps every signature of a red cell with its case file', () => {
    expect(cell('b1', 'llama', 'solo')).toMatchObject({
      status: 'failed',
      failures: [
        { signature: 'solo/a', count: 3, case: 'a.json' },
        { signature: 'solo/b', count: 1, case: undefined },
      ],
    });
  });

  it('takes the model of an architecture that loads, and says why none does', () => {
    expect(cell('b1', 'gemma2', 'solo')).toMatchObject({
      status: 'passed',
      cases: 40,
      models: ['recipe:gemma2-26'],
    });
    expect(cell('b1', 'jamba', 'solo')).toMatchObject({ status: 'not loaded', reasons: ['unknown'] });
    expect(cell('b2', 'llama', 'solo')).toMatchObject({ status: 'not loaded', reasons: ['no network'] });
  });

  it('shows blocks by architecture, marks, notes and failures', () => {
    const lines = releasesLines(record, plain);
    expect(lines.slice(0, 3)).toEqual([
      'llama        b1    b2',
      '  solo   FAIL 2  x[1]',
      '  share    -[2]  x[1]',
    ]);
    expect(lines).toContain('  solo     40  x[1]');
    expect(lines).toContain('  share  ?[3]  x[1]');
    expect(lines).toContain('[1] no network');
    expect(lines).toContain('b1 solo/a, 3 cases: a.json');
    expect(lines.at(-1)).toBe('80 cases on 1 of 2 releases, 1 red cells');
  });

  it('colours whole cells and nothing else', () => {
    const lines = releasesLines(record, (style, text) => `<${style} ${text}>`);
    expect(lines[1]).toBe('  solo   <red FAIL 2>  <dim x[1]>');
    expect(lines).toContain('  solo     <green 40>  <dim x[1]>');
  });

  it('says that it was interrupted', () => {
    expect(releasesLines({ ...record, interrupted: true }, plain).at(-1)).toMatch(/^interrupted: /);
  });
});

it('a reason is only what went wrong', () => {
  const long = "b1 does not load x: print_info; error: unknown model architecture: 'jamba'; failed to load";
  expect(shortReason(long)).toBe("unknown model architecture: 'jamba'");
  expect(shortReason('b1 died: info; GGML_ASSERT(x) failed; bye')).toBe('b1 died: GGML_ASSERT(x) failed');
  expect(shortReason('there is no such file; sorry')).toBe('there is no such file; sorry');
});
