/**
 * Structure-aware fuzzing of the model reader: seeded files that are nearly right. Four of five are a known file with
 * one to three places of its structure changed (a count, a length, a type, a dimension, an offset, a name); one of
 * five is random bytes or flipped bits. Each must become a model or an `IsobatchError` of kind `gguf` or `model`;
 * anything else is a crash of the reader.
 */

import { IsobatchError } from '../contract/errors.ts';
import { Random } from '../golden/random.ts';
import { baseFiles, type Layout, layoutOf, type Place } from './gguf-layout.ts';
import { loadModel } from './load.ts';

export interface FuzzCrash {
  /** Number of the case; `fuzzFile(seed, i)` gives its bytes again. */
  readonly i: number;
  readonly what: string;
  readonly error: string;
}

export interface FuzzCounts {
  readonly n: number;
  /** Files that were still models. */
  models: number;
  /** Refusals by kind. */
  readonly errors: Record<string, number>;
  /** Files by mutation, so that a mutation which never ran is seen. */
  readonly mutations: Record<string, number>;
  readonly crashed: FuzzCrash[];
  slowest_ms: number;
  slowest: number;
}

export interface FuzzFile {
  readonly bytes: Uint8Array;
  /** What was done to it. */
  readonly what: readonly string[];
}

/** A file in the making: bytes that mutations replace, and the layout of the original. */
interface Draft {
  bytes: Uint8Array;
  /** Where metadata and tensor entries end now. */
  head_bytes: number;
  readonly layout: Layout;
  readonly random: Random;
}

/** Numbers that programs get wrong: edges of types, of the file, and neighbours of what was there. */
function nastyNumber(draft: Draft, was: bigint): bigint {
  const { random, bytes } = draft;
  const size = BigInt(bytes.length);
  return random.pick([
    0n,
    1n,
    was + 1n,
    was - 1n,
    was * 2n,
    was + BigInt(random.below(64)),
    size,
    size - 1n,
    size / 4n,
    2n ** 16n,
    2n ** 24n + 1n,
    2n ** 31n - 1n,
    2n ** 31n,
    2n ** 32n - 1n,
    2n ** 32n,
    2n ** 53n,
    2n ** 53n - 1n,
    2n ** 61n,
    2n ** 62n + 1n,
    2n ** 63n - 1n,
    2n ** 63n,
    2n ** 64n - 1n,
    BigInt(random.u32()),
  ]);
}

function readNumber(bytes: Uint8Array, place: Place): bigint {
  let n = 0n;
  for (let i = place.size - 1; i >= 0; i--) n = (n << 8n) | BigInt(bytes[place.offset + i] ?? 0);
  return n;
}

function writeNumber(bytes: Uint8Array, place: Place, value: bigint): void {
  let bits = BigInt.asUintN(8 * place.size, value);
  for (let i = 0; i < place.size && place.offset + i < bytes.length; i++) {
    bytes[place.offset + i] = Number(bits & 0xffn);
    bits >>= 8n;
  }
}

/** Changes a number of one kind of place. */
function changeNumber(kind: Place['kind'], choose: (draft: Draft, was: bigint) => bigint = nastyNumber) {
  return (draft: Draft): void => {
    const places = draft.layout.places.filter((place) => place.kind === kind);
    const place = draft.random.pick(places);
    writeNumber(draft.bytes, place, choose(draft, readNumber(draft.bytes, place)));
  };
}

/**
 * Removes `cut` bytes of the head and puts others there, as far as an earlier truncation left any. The padding before
 * the tensor data is made right again, so that only the intended place is wrong.
 */
function splice(draft: Draft, offset: number, cut: number, insert: Uint8Array): void {
  const { bytes } = draft;
  const parts = [bytes.subarray(0, offset), insert, bytes.subarray(offset + cut, draft.head_bytes)];
  const head = Buffer.concat(parts);
  const data = bytes.subarray(padded(draft.head_bytes));
  draft.head_bytes = head.length;
  draft.bytes = Uint8Array.from(
    Buffer.concat([head, new Uint8Array(padded(head.length) - head.length), data]),
  );
}

/** To the alignment of the base files. */
function padded(n: number): number {
  return Math.ceil(n / 32) * 32;
}

function changeBytes(kind: 'key' | 'name' | 'text') {
  return (draft: Draft): void => {
    const { random, bytes, layout } = draft;
    const place = random.pick(
      layout.places.filter((candidate) => candidate.kind === kind && candidate.size > 0),
    );
    for (let n = 1 + random.below(2); n > 0; n--) {
      const at = place.offset + random.below(place.size);
      if (at < bytes.length)
        bytes[at] = random.pick([0, 0x20, 0x2e, 0x41, 0x80, 0xc0, 0xff, random.below(256)]);
    }
  };
}

/** An entry a second time, with the count of entries corrected, so that only the duplicate is wrong. */
function duplicate(kind: 'entry' | 'tensor', count: 'n_kv' | 'n_tensors') {
  return (draft: Draft): void => {
    const entry = draft.random.pick(draft.layout.places.filter((place) => place.kind === kind));
    const counter = draft.layout.places.find((place) => place.kind === count)!;
    writeNumber(draft.bytes, counter, readNumber(draft.bytes, counter) + 1n);
    splice(draft, entry.offset, 0, draft.bytes.slice(entry.offset, entry.offset + entry.size));
  };
}

/** An entry less, with the count corrected: a key or tensor that the model misses. */
function remove(kind: 'entry' | 'tensor', count: 'n_kv' | 'n_tensors') {
  return (draft: Draft): void => {
    const entry = draft.random.pick(draft.layout.places.filter((place) => place.kind === kind));
    const counter = draft.layout.places.find((place) => place.kind === count)!;
    writeNumber(draft.bytes, counter, readNumber(draft.bytes, counter) - 1n);
    splice(draft, entry.offset, entry.size, new Uint8Array(0));
  };
}

/** A value becomes arrays of arrays, as deep as the file is long. */
function nest(draft: Draft): void {
  const place = draft.random.pick(draft.layout.places.filter((candidate) => candidate.kind === 'value_type'));
  const depth = 1 + draft.random.below(60);
  const level = Uint8Array.of(9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0); // element type array, count 1
  const levels = new Uint8Array(4 + 12 * depth);
  levels[0] = 9;
  for (let d = 0; d < depth; d++) levels.set(level, 4 + 12 * d);
  splice(draft, place.offset, 4, levels);
}

/** The value of a key that the model reads, or of the alignment. */
function changeAlignment(draft: Draft): void {
  const place = draft.layout.places.find((candidate) => candidate.kind === 'alignment')!;
  const value = draft.random.pick([0n, 1n, 2n, 4n, 8n, 16n, 24n, 33n, 64n, 4096n, 2n ** 31n, 2n ** 32n - 1n]);
  writeNumber(draft.bytes, place, value);
}

function truncate(draft: Draft): void {
  const { random, layout } = draft;
  const place = random.pick(layout.places);
  const end = place.offset + random.pick([0, place.size, place.size - 1, 1]);
  draft.bytes = draft.bytes.slice(0, Math.max(0, Math.min(end, draft.bytes.length)));
}

function appendBytes(draft: Draft): void {
  const tail = Uint8Array.from({ length: draft.random.below(100) }, () => draft.random.below(256));
  draft.bytes = Uint8Array.from(Buffer.concat([draft.bytes, tail]));
}

const small = (limit: number) => (draft: Draft) => BigInt(draft.random.below(limit));

const MUTATIONS: readonly (readonly [string, (draft: Draft) => void])[] = [
  ['count of tensors', changeNumber('n_tensors')],
  ['count of keys', changeNumber('n_kv')],
  ['length of a string', changeNumber('length')],
  ['value type', changeNumber('value_type', small(16))],
  ['any value type', changeNumber('value_type')],
  ['element type', changeNumber('element_type', small(16))],
  ['count of an array', changeNumber('count')],
  ['value', changeNumber('value')],
  ['small value', changeNumber('value', small(80))],
  ['number of dimensions', changeNumber('n_dims', small(8))],
  ['any number of dimensions', changeNumber('n_dims')],
  ['dimension', changeNumber('ne')],
  ['small dimension', changeNumber('ne', small(40))],
  ['type of a tensor', changeNumber('ggml_type', small(40))],
  ['offset of a tensor', changeNumber('data_offset')],
  ['aligned offset of a tensor', changeNumber('data_offset', (d) => 32n * BigInt(d.random.below(120)))],
  ['alignment', changeAlignment],
  ['version', changeNumber('version', small(6))],
  ['magic', changeNumber('magic')],
  ['key', changeBytes('key')],
  ['name of a tensor', changeBytes('name')],
  ['text of a string', changeBytes('text')],
  ['key twice', duplicate('entry', 'n_kv')],
  ['tensor twice', duplicate('tensor', 'n_tensors')],
  ['key removed', remove('entry', 'n_kv')],
  ['tensor removed', remove('tensor', 'n_tensors')],
  ['nested arrays', nest],
  ['truncated', truncate],
  ['bytes appended', appendBytes],
];

/** Names of the structure-aware mutations. */
export const mutationNames: readonly string[] = MUTATIONS.map(([name]) => name);

/** Case i of a seed; the same bytes on every machine. */
export function fuzzFile(seed: number, i: number): FuzzFile {
  const random = new Random(`gguf/${seed}/${i}`);
  const bases = layouts();
  const layout = random.pick(bases);
  const draft: Draft = { bytes: layout.bytes.slice(), head_bytes: layout.head_bytes, layout, random };
  if (i % 5 === 4) return { bytes: unstructured(draft), what: ['unstructured'] };
  const what: string[] = [];
  // Places are those of the original; after an insertion a second mutation hits other bytes, which is as good.
  for (let n = random.pick([1, 1, 1, 2, 3]); n > 0; n--) {
    const [name, mutate] = random.pick(MUTATIONS);
    mutate(draft);
    what.push(name);
  }
  return { bytes: draft.bytes, what };
}

/** Random bytes, with or without a right start, or flipped bits. */
function unstructured({ bytes, random, layout }: Draft): Uint8Array {
  const how = random.below(4);
  if (how === 0) return Uint8Array.from({ length: random.below(400) }, () => random.below(256));
  if (how === 1) {
    const kept = 24 + random.below(layout.head_bytes - 24);
    for (let at = kept; at < bytes.length; at++) bytes[at] = random.below(256);
    return bytes;
  }
  const within = how === 2 ? layout.head_bytes : bytes.length;
  for (let n = 1 + random.below(8); n > 0; n--) {
    const at = random.below(within);
    bytes[at] = bytes[at]! ^ (1 << random.below(8));
  }
  return bytes;
}

let cached: readonly Layout[] | undefined;

function layouts(): readonly Layout[] {
  cached ??= baseFiles().map(layoutOf);
  return cached;
}

export interface FuzzOptions {
  /** Told the number of cases done, for progress and memory. */
  readonly onCase?: (done: number) => void;
  /** What is fuzzed; default `loadModel`. */
  readonly load?: (bytes: Uint8Array, name: string) => unknown;
}

/** Runs n cases of a seed. */
export function fuzzGguf(n: number, seed: number, options: FuzzOptions = {}): FuzzCounts {
  const { onCase, load = loadModel } = options;
  const counts: FuzzCounts = {
    n,
    models: 0,
    errors: {},
    mutations: {},
    crashed: [],
    slowest_ms: 0,
    slowest: -1,
  };
  for (let i = 0; i < n; i++) {
    const file = fuzzFile(seed, i);
    for (const what of file.what) counts.mutations[what] = (counts.mutations[what] ?? 0) + 1;
    const start_ms = performance.now();
    judge(file, i, load, counts);
    const took_ms = performance.now() - start_ms;
    if (took_ms > counts.slowest_ms) {
      counts.slowest_ms = took_ms;
      counts.slowest = i;
    }
    onCase?.(i + 1);
  }
  return counts;
}

function judge(
  file: FuzzFile,
  i: number,
  load: (bytes: Uint8Array, name: string) => unknown,
  counts: FuzzCounts,
): void {
  try {
    load(file.bytes, `fuzz-${i}`);
    counts.models++;
  } catch (error) {
    if (error instanceof IsobatchError && (error.kind === 'gguf' || error.kind === 'model')) {
      counts.errors[error.kind] = (counts.errors[error.kind] ?? 0) + 1;
    } else {
      counts.crashed.push({ i, what: file.what.join(', '), error: String(error) });
    }
  }
}
