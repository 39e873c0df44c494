/** The table of what differs between releases: eras by their marks, and the legal differences that follow from it. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { subjectInfoOf } from '../../protocol.ts';
import { plainSubject } from '../plain/subject.ts';
import { releaseNames } from './builds.ts';
import { contextLayouts } from './layout.ts';
import { drives, ERAS, type Era, eraOf, holds, legalOf, RULES, rangeOf, ruleName } from './releases.ts';

/** A library with the marks of a release: its layout, and these functions. */
function marked(release: string, ...symbols: string[]): Parameters<typeof eraOf>[0] {
  const layout = contextLayouts.find(({ releases }) => releases.includes(release))!;
  const files = { name: release, dir: '', libllama: '', libggml_cpu: [], preload: [] };
  const split = release === 'b3889' ? files : { ...files, libggml_base: '/libggml-base.so' };
  return { layout, files: split, has: (name) => symbols.includes(name) };
}

describe('eras', () => {
  it('are the releases that can be fetched', () => {
    expect([...ERAS]).toEqual([...releaseNames]);
  });

  it.each(ERAS)('%s is told by its marks', (era) => {
    const symbols: Partial<Record<Era, string[]>> = {
      b4980: ['llama_kv_self_seq_rm'],
      b5640: ['llama_kv_self_seq_rm'],
      b8352: ['llama_model_init_from_user'],
      'v0.5.0': ['llama_model_init_from_user'],
    };
    expect(eraOf(marked(era, ...(symbols[era] ?? [])))).toBe(era);
  });
});

describe('the rules', () => {
  it('have a range, a sentence and a source each', () => {
    for (const rule of RULES) {
      expect(ERAS.indexOf(rule.first), ruleName(rule)).toBeLessThanOrEqual(ERAS.indexOf(rule.last));
      expect(rule.what, ruleName(rule)).toMatch(/^\S.{10,}[^.]$/);
      expect(rule.source, ruleName(rule)).toMatch(/measured|pull\/\d+/);
    }
    const names = RULES.map(ruleName);
    expect(new Set(names).size).toBe(names.length);
  });

  it('hold from their first release to their last', () => {
    const range = { first: 'b4980', last: 'b6122' } as const;
    expect(ERAS.filter((era) => holds(era, range))).toEqual(['b4980', 'b5640', 'b6122']);
    expect(rangeOf(range)).toBe('b4980 to b6122');
    expect(rangeOf({ first: 'b4980', last: 'b4980' })).toBe('b4980');
    expect(ERAS.filter((era) => drives(era, 'flash_f32'))[0]).toBe('b5640');
    expect(ERAS.filter((era) => !drives(era, 'v_f32'))).toEqual(['b3889']);
    expect(ERAS.filter((era) => drives(era, 'completes_positions'))[0]).toBe('b6122');
    expect(ERAS.filter((era) => drives(era, 'small_windows'))[0]).toBe('b8095');
  });

  it('make the legal differences of each era', () => {
    const legal = (era: Era) => {
      const { sources: _, ...rest } = legalOf(era);
      return rest;
    };
    const old = {
      refuses: ['batch.token', 'batch.empty', 'ops.partial'],
      shared_needs_unified: true,
      moves_all_owners: true,
      no_empty_ranges: true,
    };
    const pooled = { ...old, pooled_ids_below_tokens: true };
    const oldest = { ...pooled, pos_of_empty: 0, no_pos_min: true };
    for (const era of ['b3889', 'b4234', 'b4980'] as const) expect(legal(era), era).toEqual(oldest);
    expect(legal('b5640')).toEqual({ ...pooled, silent_windows: true });
    expect(legal('b6122')).toEqual({ ...old, silent_windows: true });
    const recent = {
      refuses: ['batch.token', 'batch.empty'],
      shared_needs_unified: true,
      silent_windows: true,
      moves_all_owners: true,
    };
    expect(legal('b6673')).toEqual({ ...recent, no_empty_ranges: true });
    for (const era of ['b8095', 'b8352'] as const)
      expect(legal(era), era).toEqual({ ...recent, unshared: ['recurrent', 'hybrid'] });
    const rollback = { rollback_once: true, rollback_in_ubatch: true };
    expect(legal('v0.5.0')).toEqual({ ...recent, unshared: ['recurrent'], ...rollback });
  });

  it('go over the protocol with their sources', () => {
    const { sources } = legalOf('b8352');
    expect(Object.keys(sources!)).toEqual([
      'refuses batch.token',
      'refuses batch.empty',
      'shared_needs_unified',
      'unshared recurrent',
      'unshared hybrid',
      'moves_all_owners',
      'silent_windows',
    ]);
    expect(sources!['unshared hybrid']).toMatch(/^b8095 to b8352; .*pull\/16442.*pull\/21224/);
    const info = { ...plainSubject().info, legal: legalOf('b8352') };
    const sent = JSON.parse(JSON.stringify(info));
    expect(subjectInfoOf(sent).legal).toEqual(legalOf('b8352'));
    sent.legal.sources['unshared hybrid'] = 5;
    expect(() => subjectInfoOf(sent)).toThrow(/legal\.sources\.unshared hybrid.*text/);
  });

  it('are those of the page in docs', () => {
    const page = readFileSync(
      fileURLToPath(new URL('../../../docs/llama-releases.md', import.meta.url)),
      'utf8',
    );
    const rows = page.split('\n').filter((line) => /^\| `/.test(line));
    const cells = rows.map((line) =>
      line
        .split('|')
        .map((cell) => cell.trim())
        .slice(1, -1),
    );
    const rules = cells.filter(([name]) => RULES.some((rule) => name === `\`${ruleName(rule)}\``));
    const plain = (text: string) => text.replaceAll(/\[#(\d+)\]\((\S+?)\)/g, '$2');
    expect(rules.map((row) => row.map(plain))).toEqual(
      RULES.map((rule) => [`\`${ruleName(rule)}\``, rangeOf(rule), rule.what, rule.source]),
    );
  });
});
