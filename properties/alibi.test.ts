import { expect, test } from 'vitest';
import { alibiSlopes } from '../engine/alibi.ts';
import { slopesOf } from '../oracle/alibi.ts';

test.each([1, 2, 3, 5, 6, 8, 12, 16, 17, 71])(
  '%i heads: the slopes of the rule, within half a unit, zeros behind',
  (n) => {
    const slopes = alibiSlopes(n, 8);
    expect(slopes.length % 16).toBe(0);
    slopesOf(n, 8).forEach((slope, h) => {
      expect(Math.abs(slopes[h]! - slope)).toBeLessThanOrEqual(2 ** -24 * slope);
      if (Number.isInteger(Math.log2(slope))) expect(slopes[h]).toBe(slope);
    });
    expect(slopes.subarray(n).every((x) => x === 0)).toBe(true);
  },
);
