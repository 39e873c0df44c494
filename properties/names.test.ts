import { describe, expect, it } from 'vitest';
import { distance, nearest, unknownName } from './names.ts';

describe('names', () => {
  it('measures insertions, removals, replacements and swaps', () => {
    expect(distance('solo', 'solo')).toBe(0);
    expect(distance('sol', 'solo')).toBe(1);
    expect(distance('sool', 'solo')).toBe(1);
    expect(distance('ubtach', 'ubatch')).toBe(1);
    expect(distance('', 'abc')).toBe(3);
    expect(distance('kitten', 'sitting')).toBe(3);
  });

  it('suggests only what is near', () => {
    expect(nearest('permtue', ['solo', 'permute', 'share'])).toBe('permute');
    expect(nearest('xyzzy', ['solo', 'permute'])).toBeUndefined();
  });

  it('repeats the name, suggests and lists', () => {
    const error = unknownName('property', 'sol', ['solo', 'share']);
    expect(error.kind).toBe('usage');
    expect(error.message).toBe('unknown property sol; did you mean solo? Known are solo, share.');
    expect(unknownName('fault', 'x', []).message).toBe('unknown fault x. There are none.');
  });
});
