/** The files that the package carries: found from source and from a build, unchanged, and missing ones named. */
import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { IsobatchError } from '../contract/errors.ts';
import {
  goldenFigures,
  goldenFolder,
  goldenModel,
  goldenModelNames,
  goldenRoots,
  goldenText,
  goldenTextNames,
} from './assets.ts';
import { prose } from './prose.ts';

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

describe('assets', () => {
  it('lie beside the source, and beside dist/ for a build', () => {
    expect(goldenRoots('file:///p/golden/assets.ts')[0]).toMatch(/^\/p\/golden\/?$/);
    expect(goldenRoots('file:///p/dist/golden/assets.js')[1]).toBe('/p/golden');
    expect(goldenFolder()).toMatch(/golden\/?$/);
  });

  it('are the files for which the figures hold', () => {
    const { models, texts } = goldenFigures();
    expect(Object.keys(models)).toEqual([...goldenModelNames]);
    for (const name of goldenModelNames) expect(sha256(goldenModel(name))).toBe(models[name]!.sha256);
    const recall = goldenText('recall64k');
    expect(recall.length).toBe(65_536);
    expect(sha256(recall)).toBe(texts.recall64k!.sha256);
  });

  it('figures: two implementations agree to some parts in a million (a GELU by table moves them), and a lost state would show', () => {
    for (const model of Object.values(goldenFigures().models)) {
      for (const figures of [model.recall64k, model.wikitext]) {
        for (const { torch, libllama } of [figures.ppl, figures.half]) {
          expect(Math.abs(torch / libllama - 1)).toBeLessThan(1.2e-6);
        }
        expect(figures.half_state_lost_at_256 / figures.half.torch).toBeGreaterThan(1.02);
      }
    }
  });

  it('prose.txt is what its generator writes: 64 KiB of ASCII in lines and paragraphs', () => {
    const text = Buffer.from(goldenText('prose')).toString('latin1');
    expect(text).toBe(prose());
    expect(text.length).toBe(65_536);
    expect(text).toMatch(/^[\n -~]+$/);
    expect(Math.max(...text.split('\n').map((line) => line.length))).toBeLessThanOrEqual(78);
    expect(text.split('\n\n').length).toBeGreaterThan(100);
    expect(prose(1000, 'other')).not.toBe(prose(1000));
  });

  it('a missing file is an error of kind file that lists what is there', () => {
    for (const run of [() => goldenModel('tiny-other'), () => goldenText('../figures')]) {
      let error: unknown;
      try {
        run();
      } catch (thrown) {
        error = thrown;
      }
      expect(error).toBeInstanceOf(IsobatchError);
      expect((error as IsobatchError).kind).toBe('file');
      expect((error as IsobatchError).message).toMatch(/no golden file (models|texts)\/.+; known are /);
    }
    expect([...goldenTextNames]).toEqual(['recall64k', 'prose']);
  });
});
