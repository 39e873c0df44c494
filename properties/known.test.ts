/** The list of known failures: its reader, and what is said of entries that do not fail any more. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { IsobatchError } from '../contract/errors.ts';
import { knownFor, knownReport, readKnown } from './known.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'isobatch-known-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function read(content: unknown) {
  const path = join(folder, 'known.json');
  writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content));
  return readKnown(path);
}

function refusal(content: unknown): string {
  try {
    read(content);
  } catch (error) {
    expect(error).toBeInstanceOf(IsobatchError);
    expect((error as IsobatchError).kind).toBe('file');
    return (error as Error).message.replace(`${join(folder, 'known.json')}: `, '');
  }
  return 'read';
}

const entry = { signature: 'solo/llama/64/logits', reason: 'being fixed' };

describe('a list of known failures', () => {
  it('is read', () => {
    const full = { ...entry, signature: 'a/b/c', link: 'https://example.org/1', subject: 'llama' };
    expect(read({ version: 1, known: [entry, full] })).toEqual([entry, full]);
    expect(read({ version: 1, known: [] })).toEqual([]);
    // The same finding on two subjects is two entries.
    expect(read({ version: 1, known: [entry, { ...entry, subject: 'x' }] })).toHaveLength(2);
  });

  it.each([
    ['{"version": 1,', 'it is no JSON'],
    [[], 'the file must be an object, got []'],
    [{ known: [] }, 'version must be 1, got nothing'],
    [{ version: 2, known: [] }, 'version must be 1, got 2'],
    [{ version: 1 }, 'known must be a list, got nothing'],
    [{ version: 1, known: [entry, 5] }, 'known[1] must be an object, got 5'],
    [{ version: 1, known: [{ reason: 'x' }] }, 'known[0].signature must be a text, got nothing'],
    [{ version: 1, known: [{ ...entry, signature: 'solo' }] }, 'known[0].signature must be a signature'],
    [
      { version: 1, known: [{ ...entry, reason: ' ' }] },
      'known[0].reason must be a reason that is not empty',
    ],
    [{ version: 1, known: [{ ...entry, link: 7 }] }, 'known[0].link must be a text, got 7'],
    [{ version: 1, known: [{ ...entry, raeson: 'x' }] }, 'known[0].raeson must be left out'],
    [{ version: 1, known: [entry, entry] }, 'known[1] repeats the signature of known[0]'],
    [{ version: 1, known: [], more: 1 }, 'more must be left out'],
  ])('that is malformed is refused with the place: %j', (content, message) => {
    expect(refusal(content)).toContain(message);
  });

  it('that is not there is refused', () => {
    expect(() => readKnown('/no/such/known.json')).toThrow(/cannot read the known failures .*no such file/);
  });

  it('speaks of a subject by its name, or by name and version', () => {
    const of = (subject?: string) => ({ ...entry, subject });
    const all = [of(), of('llama'), of('llama b1'), of('llama b2'), of('engine')];
    expect(knownFor(all, { name: 'llama', version: 'b1' })).toEqual(all.slice(0, 3));
  });
});

describe('what became of an entry', () => {
  const subject = { name: 'engine', version: '1' };
  const unit = { property: 'solo', arch: 'llama', family: 'llama/64', compared: 9, cases: 5, whole: true };
  const say = (signature: string, units = [unit], failed: string[] = [], of?: string) => {
    const { gone, unchecked } = knownReport(
      [{ signature, reason: 'r', subject: of }],
      subject,
      new Set(failed),
      units,
    );
    return gone.length > 0 ? `gone in ${gone[0]!.cases}` : unchecked.length > 0 ? 'not looked at' : 'fails';
  };

  it('is that it fails, or that it is gone where its property ran to the end on such a model', () => {
    expect(say('solo/llama/64/logits', [unit], ['solo/llama/64/logits'])).toBe('fails');
    expect(say('solo/llama/64/logits')).toBe('gone in 5');
    expect(say('solo/llama/64/logits', [unit, { ...unit, cases: 2 }])).toBe('gone in 7');
    // Properties that end badly are grouped by architecture alone.
    expect(say('solo/llama/died: SIGKILL')).toBe('gone in 5');
  });

  it('is not known where nothing like it ran', () => {
    expect(say('solo/llama/64/logits', [])).toBe('not looked at');
    expect(say('solo/llama/64/logits', [{ ...unit, compared: 0 }])).toBe('not looked at');
    expect(say('solo/llama/64/logits', [{ ...unit, whole: false }])).toBe('not looked at');
    expect(say('solo/llama/64/logits', [unit, { ...unit, whole: false }])).toBe('not looked at');
    expect(say('permute/llama/64/logits')).toBe('not looked at');
    expect(say('solo/mamba/64/logits')).toBe('not looked at');
    expect(say('solo/llama/259/text/logits')).toBe('not looked at');
    expect(say('solo/llama/64/text/logits')).toBe('not looked at');
    expect(say('solo/llama/64/logits', [unit], [], 'other')).toBe('not looked at');
    const trained = { ...unit, family: 'llama/64/text' };
    expect(say('solo/llama/64/text/logits', [trained])).toBe('gone in 5');
    expect(say('solo/llama/64/logits', [trained])).toBe('not looked at');
  });
});
