import { describe, expect, it, vi } from 'vitest';
import { completeBatch } from './batch.ts';
import { type Entry, Sequences } from './entries.ts';
import { split } from './split.ts';
import { type Random, randomBatch, seeded } from './testing.ts';
import { LabelledSlots, violations } from './testing-slots.ts';

describe('random histories', () => {
  /** History of a list: what the state row should say. */
  const label = (list: readonly Entry[]) => list.map((entry) => ` ${entry.token}@${entry.pos}`).join('');

  function operation(random: Random, memory: LabelledSlots, lists: Sequences, n_seq_max: number): void {
    const seq = random(n_seq_max);
    const other = random(n_seq_max);
    switch (random(8)) {
      case 0:
        expect(memory.slots.seqRm(seq, 0, -1)).toBe(true);
        lists.seqRm(seq, 0, -1);
        break;
      case 1:
        lists.seqRm(other, seq === other ? lists.posMax(other) + 1 : 0, -1);
        expect(memory.slots.seqRm(other, seq === other ? lists.posMax(other) + 1 : 0, -1)).toBe(true);
        lists.seqCp(seq, other, -1, -1);
        memory.slots.seqCp(seq, other);
        break;
      case 2:
        if (random(3) === 0) {
          lists.seqKeep(seq);
          memory.slots.seqKeep(seq);
        }
        break;
      case 3:
        if (random(6) === 0) {
          lists.clear();
          expect(memory.slots.seqRm(-1, -1, -1)).toBe(true);
        }
        break;
      case 4: {
        const before = memory.slots.view();
        const refused = lists.posMax(seq) > 0;
        expect(memory.slots.seqRm(seq, 1, -1)).toBe(!refused);
        expect(memory.slots.view()).toEqual(before);
        break;
      }
    }
  }

  it('INV-RS-1..8, 11, 13: each state is the history of its own list', () => {
    const seen = { ubatches: 0, extra: 0, zero: 0, copies: 0, swaps: 0 };
    for (let seed = 0; seed < 250; seed++) {
      const random = seeded(seed);
      const n_seq_max = 1 + random(6);
      const memory = new LabelledSlots(n_seq_max);
      const swap = vi.spyOn(memory.slots, 'swapCells');
      const lists = new Sequences(n_seq_max);
      for (let call = 0; call < 8; call++) {
        operation(random, memory, lists, n_seq_max);
        expect(violations(memory.slots)).toEqual([]);
        const shape = { n_tokens: 1 + random(12), n_seq_max, n_vocab: 9, shared: 25 };
        const batch = randomBatch(random, lists, shape);
        const policy = (['equal', 'equal-batch', 'sequence'] as const)[random(3)]!;
        for (const ubatch of split(batch, { policy, n_ubatch: 1 + random(8) })) {
          const T = ubatch.n_seq_tokens;
          const runs = Array.from({ length: ubatch.n_seqs }, (_, s) =>
            ubatch.index.slice(s * T, (s + 1) * T),
          );
          const sets = runs.map((run) => [...batch.seq_id[run[0]!]!]);
          const before = memory.slots.view();
          swap.mockClear();
          const { head, n, src0 } = memory.ubatch(
            sets,
            runs.map((run) => run.map((i) => ` ${batch.token[i]}@${batch.pos[i]}`).join('')),
            runs.map((run) => batch.pos[run.at(-1)!]!),
            T,
          );
          expect(violations(memory.slots)).toEqual([]);
          const after = memory.slots.view();
          // 5: the sets, in order
          expect(after.cells.slice(head, head + sets.length).map((cell) => cell.seq)).toEqual(sets);
          expect(after.head).toBe(head);
          // 7: nothing outside the window changed, except that sequences left shared or taken-over cells
          after.cells.forEach((cell, i) => {
            if (i < head || i >= head + n) {
              const stays = before.cells[i]!.seq.filter((seq) => !sets.flat().includes(seq));
              expect(cell.seq).toEqual(stays);
              expect(cell.src).toBe(
                stays.length > 0 || before.cells[i]!.seq.length === 0 ? before.cells[i]!.src : -1,
              );
            }
          });
          // 8: at most a swap a set
          expect(swap.mock.calls.length).toBeLessThanOrEqual(sets.length);
          seen.ubatches += 1;
          seen.extra += n > sets.length ? 1 : 0;
          seen.zero += src0.includes(-1) ? 1 : 0;
          seen.copies += new Set(src0).size < src0.length ? 1 : 0;
          seen.swaps += swap.mock.calls.length;
        }
        lists.decode(batch);
        // 6, 11, 13
        for (let seq = 0; seq < n_seq_max; seq++) {
          const list = lists.list(seq);
          expect(memory.state(seq)).toBe(list.length === 0 ? undefined : label(list));
          expect(memory.slots.seqPosMax(seq)).toBe(lists.posMax(seq));
        }
      }
    }
    for (const count of Object.values(seen)) {
      expect(count).toBeGreaterThan(100);
    }
  });

  it('one call or two give the same states (INV-RS-12)', () => {
    const states = (cuts: number[][]) => {
      const memory = new LabelledSlots(2);
      const lists = new Sequences(2);
      for (const tokens of cuts) {
        const seq_id = tokens.map(() => [1]);
        const batch = completeBatch({ token: tokens, seq_id }, lists, {
          n_vocab: 9,
          n_batch: 9,
          n_seq_max: 2,
        });
        lists.decode(batch);
        memory.ubatch([[1]], [tokens.join('')], [batch.pos.at(-1)!], tokens.length);
      }
      return memory.state(1);
    };
    expect(states([[1, 2, 3, 4]])).toBe('1234');
    expect(states([[1], [2, 3], [4]])).toBe('1234');
  });
});
