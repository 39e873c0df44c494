/**
 * Layouts of `llama_context_params`: the table against a struct that is laid out here by the rules of C from the order
 * of its members in `llama.h`, and against structs that somebody changed.
 */
import { describe, expect, it } from 'vitest';
import {
  type ContextField,
  contextLayouts,
  FIELDS,
  fieldsOf,
  PARAMS_BYTES,
  readField,
  recogniseLayout,
  writeField,
  writtenBytes,
} from './layout.ts';
import { imageOf, type Member, membersOf } from './layout-testing.ts';

const ofRelease = (release: string) => contextLayouts.find(({ releases }) => releases.includes(release))!;
const releases = contextLayouts.flatMap((layout) => layout.releases);

describe('the table of layouts', () => {
  it.each(releases)('%s: size and offsets are those of the members in their order', (release) => {
    const { bytes, at } = imageOf(membersOf(release));
    const { fields, bytes: size } = ofRelease(release);
    expect(size).toBe(bytes);
    for (const [name, offset] of fieldsOf(fields)) expect([name, offset]).toEqual([name, at.get(name)]);
    const known = [...at.keys()].filter((name) => name in FIELDS);
    expect(Object.keys(fields).sort()).toEqual(known.sort());
  });

  it.each(releases)('%s: its defaults are recognised, as it alone', (release) => {
    const { struct, bytes } = imageOf(membersOf(release));
    expect(recogniseLayout(struct, bytes)).toBe(ofRelease(release));
  });
});

describe('a struct that somebody changed', () => {
  /** These are looked at, never set. */
  const MARKS: readonly string[] = ['yarn_ext_factor', 'op_offload', 'offload_kqv'];

  /** What would be set in the wrong place; undefined if it is refused. */
  function misread(members: readonly Member[]): string[] | undefined {
    const { struct, bytes, at } = imageOf(members);
    const layout = recogniseLayout(struct, bytes);
    if (typeof layout === 'string') return undefined;
    return fieldsOf(layout.fields).flatMap(([name, offset]) =>
      at.get(name) === offset || MARKS.includes(name) ? [] : [name],
    );
  }

  const planted: Member[] = [1, 4, 8].flatMap((size) =>
    [0, 1, -1].map((value) => ['planted', size, value] as const),
  );

  it.each(releases)('%s with one more member anywhere is refused, or nothing has moved', (release) => {
    const members = membersOf(release);
    const wrong: string[] = [];
    let refused = 0;
    for (let i = 0; i <= members.length; i++)
      for (const one of planted) {
        const found = misread(members.toSpliced(i, 0, one));
        if (found === undefined) refused++;
        else if (found.length > 0)
          wrong.push(`${one[1]} bytes of ${one[2]} behind ${members[i - 1]?.[0]}: ${found.join(', ')}`);
      }
    expect(refused).toBeGreaterThan(100);
    // No bytes tell these from what they are taken for: a flag in the place of the last one, which fell into a hole;
    // and what b5640 becomes with one more flag, which is b6122.
    const old = ['1 bytes of 1 behind flash_attn: no_perf'];
    const recent = ['1 bytes of 0 behind swa_full: kv_unified'];
    const known: Record<string, string[]> = {
      b3889: old,
      b4234: old,
      b4980: old,
      b5640: recent,
      b8095: recent,
      b8352: recent,
      'v0.5.0': recent,
    };
    expect(wrong).toEqual(known[release] ?? []);
  });

  it.each(releases)(
    '%s without one of its members is refused, or nothing that is set has moved',
    (release) => {
      const members = membersOf(release);
      const wrong = members.flatMap(([name], i) => {
        const found = misread(members.toSpliced(i, 1));
        return found === undefined || found.length === 0 ? [] : [`${name}: ${found.join(', ')}`];
      });
      expect(wrong).toEqual([]);
    },
  );

  it.each([
    ['n_batch', 'n_ubatch'],
    ['type_v', 'embeddings'],
    ['offload_kqv', 'embeddings'],
    ['swa_full', 'kv_unified'],
  ])('%s and %s in the other order are refused', (one, other) => {
    for (const release of releases) {
      const members = [...membersOf(release)];
      const [i, j] = [one, other].map((name) => members.findIndex((m) => m[0] === name)) as [number, number];
      if (i < 0 || j < 0) continue;
      [members[i], members[j]] = [members[j]!, members[i]!];
      expect(misread(members), release).toBeUndefined();
    }
  });

  it('is told apart in words: the nearest release, and what differs from it', () => {
    const members = membersOf('b6122');
    const moved = imageOf(members.toSpliced(4, 0, ['planted', 4, 0], ['planted', 4, 0]));
    expect(recogniseLayout(moved.struct, moved.bytes)).toBe(
      'nearest is b3889, b4234, b4980, but ' +
        'it ends after 127 bytes, not 120, n_threads (byte 16) is 0, not 4, n_threads_batch (byte 20) is 0, not 4, ' +
        'pooling_type (byte 28) is 4, not -1, yarn_ext_factor (byte 44) is 0, not -1, ' +
        'type_k (byte 88) is 0, not 1, type_v (byte 92) is 0, not 1, offload_kqv (byte 98) is 0, not 1',
    );
    const other = imageOf(members.map((m) => (m[0] === 'n_ubatch' ? ['n_ubatch', 4, 1024] : m)));
    expect(recogniseLayout(other.struct, other.bytes)).toBe(
      'nearest is b6122, but n_ubatch (byte 8) is 1024, not 512',
    );
    expect(recogniseLayout(new Uint8Array(PARAMS_BYTES).fill(0xaa), 0)).toMatch(
      /it ends after 0 bytes, not \d+, n_ctx /,
    );
  });
});

describe('fields', () => {
  it('are written and read by their types', () => {
    const view = new DataView(new ArrayBuffer(16).slice(0));
    const back = (name: ContextField, value: number): number => {
      writeField(view, name, 4, value);
      return readField(view, name, 4);
    };
    expect(back('n_ctx', 2 ** 32 - 1)).toBe(2 ** 32 - 1);
    expect(back('pooling_type', -1)).toBe(-1);
    expect(back('yarn_ext_factor', 0.5)).toBe(0.5);
    expect(view.getFloat32(4, true)).toBe(0.5);
    expect(back('kv_unified', 1)).toBe(1);
    // Only its byte is touched.
    expect([view.getUint8(3), view.getUint8(5)]).toEqual([0, 0]);
    expect(back('n_batch', 0x01020304)).toBe(0x01020304);
    expect(view.getUint8(4)).toBe(4);
  });
});

describe('what a function wrote', () => {
  it('is all up to the last byte that both fillings agree on', () => {
    const [a, b] = [new Uint8Array(8).fill(0xaa), new Uint8Array(8).fill(0x55)];
    expect(writtenBytes(a, b)).toBe(0);
    for (const struct of [a, b]) struct[0] = struct[5] = 7;
    expect(writtenBytes(a, b)).toBe(6);
    expect(writtenBytes(a, a)).toBe(8);
  });
});
