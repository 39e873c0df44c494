/**
 * A correct engine gets no sentence: random histories of all generators (shared tokens, copies, removals, refused
 * calls, every split policy, F16, every implementation of the kernels), and ours in float64.
 */
import { describe, expect, test } from 'vitest';
import { engineSubject } from '../../engine/subject.ts';
import { operations } from '../operations.ts';
import { reuse } from '../reuse.ts';
import { share } from '../share.ts';
import { solo } from '../solo.ts';
import type { Script } from '../types.ts';
import { validity } from '../validity.ts';
import { probeFailure, probeStory } from './story.ts';
import { casesOf, envOf } from './testing.ts';

const subject = engineSubject();
const load = (bytes: Uint8Array, name: string) => subject.load(bytes, name);
const GENERATORS = [operations, solo, share, reuse, validity];

describe.each(['llama', 'mamba'] as const)('%s', (arch) => {
  test('random histories: no sentence, and every row was read', async () => {
    const env = await envOf(subject, arch, 'probe');
    const memory = env.model.memory;
    let rows = 0;
    const notes: string[] = [];
    const margins: Record<string, number> = {};
    for (const c of casesOf(env, GENERATORS, Number(process.env.N ?? 40))) {
      const story = await probeStory(load, c.script!, memory);
      expect(story.sentences, JSON.stringify(c)).toEqual([]);
      if (story.note !== undefined) notes.push(story.note);
      rows += story.rows;
      for (const [k, v] of Object.entries(story.margins)) margins[k] = Math.max(margins[k] ?? 0, v);
    }
    console.log(arch, rows, margins, notes);
  });
});
