/** Output flags of a batch: none, the last of each sequence, all, or any. */
import type { Random } from '../random.ts';

/** Null stands for a missing field: only the last token is an output then. */
export function drawFlags(r: Random, seq_id: readonly (readonly number[])[]): boolean[] | null {
  const n = seq_id.length;
  switch (r.weighted([5, 4, 14, 42, 35])) {
    case 0:
      return null;
    case 1:
      return new Array<boolean>(n).fill(false);
    case 2: {
      const flags = new Array<boolean>(n).fill(false);
      const done = new Set<number>();
      for (let i = n - 1; i >= 0; i--) {
        if (seq_id[i]!.every((id) => done.has(id))) continue;
        flags[i] = true;
        for (const id of seq_id[i]!) done.add(id);
      }
      return flags;
    }
    case 3:
      return new Array<boolean>(n).fill(true);
    default:
      return seq_id.map(() => r.chance(0.5));
  }
}
