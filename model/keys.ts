/**
 * Typed access to the metadata keys of one architecture. Each getter says what it wants; a missing key, a wrong type
 * or a value out of range is an error of kind `model` that names the key, the wanted and the found. Keys of the
 * architecture that nobody asked for are refused at the end: they might change the answer.
 */
import { IsobatchError } from '../contract/errors.ts';
import type { GgufValue } from './gguf-types.ts';

/** Largest size of anything (channels, vocabulary, context): far above real models, far below 2^53 in products. */
export const MAX_SIZE = 2 ** 24;
/** Most layers: more than any real model has, and few enough that a list of wanted tensors stays small. */
export const MAX_LAYERS = 1024;

const INTEGERS: readonly string[] = ['u8', 'i8', 'u16', 'i16', 'u32', 'i32', 'u64', 'i64'];

export interface IntegerRange {
  readonly min?: number;
  /** Default 2^24. */
  readonly max?: number;
  /** Value if the key is missing; without it the key is required. */
  readonly default?: number;
}

export class Keys {
  readonly file: string;
  readonly arch: string;
  readonly #metadata: ReadonlyMap<string, GgufValue>;
  readonly #asked = new Set<string>();

  constructor(metadata: ReadonlyMap<string, GgufValue>, file: string, arch: string) {
    this.#metadata = metadata;
    this.file = file;
    this.arch = arch;
  }

  fail(subject: string, what: string, detail: Record<string, unknown> = {}): never {
    throw new IsobatchError('model', `${this.file}: ${subject} ${what}`, {
      file: this.file,
      subject,
      ...detail,
    });
  }

  has(key: string): boolean {
    return this.#metadata.has(`${this.arch}.${key}`);
  }

  /** The value of a full key name, noted as asked for. */
  #value(key: string): GgufValue | undefined {
    this.#asked.add(key);
    return this.#metadata.get(key);
  }

  #wrongType(key: string, wanted: string, value: GgufValue): never {
    const found = value.type === 'array' ? `an array of ${value.of}` : value.type;
    return this.fail(`key ${key}`, `is ${found}; wanted ${wanted}`, { key, wanted, found });
  }

  /** A string by its full key name. */
  string(key: string): string {
    const value = this.#value(key) ?? this.fail(`key ${key}`, 'is missing; wanted a string', { key });
    return value.type === 'string' ? value.value : this.#wrongType(key, 'a string', value);
  }

  /** A string of the architecture, or the default. */
  optionalString(short: string, fallback: string): string {
    return this.has(short) ? this.string(`${this.arch}.${short}`) : fallback;
  }

  /** An integer by its full key name, in min..max; undefined if missing. */
  optionalInteger(key: string, min: number, max: number): number | undefined {
    const value = this.#value(key);
    return value === undefined ? undefined : this.#integerIn(key, value, min, max);
  }

  #integerIn(key: string, value: GgufValue, min: number, max: number): number {
    if (!INTEGERS.includes(value.type)) this.#wrongType(key, 'an integer', value);
    const n = value.value;
    if (typeof n !== 'number' || n < min || n > max) {
      return this.fail(`key ${key}`, `is ${n}; wanted ${min} to ${max}`, {
        key,
        wanted: [min, max],
        found: String(n),
      });
    }
    return n;
  }

  /** An integer of the architecture. */
  integer(short: string, range: IntegerRange = {}): number {
    const { min = 0, max = MAX_SIZE } = range;
    const key = `${this.arch}.${short}`;
    const found = this.optionalInteger(key, min, max) ?? range.default;
    return found ?? this.fail(`key ${key}`, 'is missing; wanted an integer', { key });
  }

  /**
   * An integer for each layer; files may give one number for all. `defaults` are those of the layers if the key is
   * missing, instead of `range.default`.
   */
  integersOfLayers(
    short: string,
    n_layer: number,
    range: IntegerRange = {},
    defaults?: readonly number[],
  ): readonly number[] {
    const key = `${this.arch}.${short}`;
    const value = this.#value(key);
    if (value === undefined && defaults !== undefined) return defaults;
    if (value?.type !== 'array') return new Array<number>(n_layer).fill(this.integer(short, range));
    if (!INTEGERS.includes(value.of)) this.#wrongType(key, 'integers', value);
    if (value.value.length !== n_layer) {
      this.fail(`key ${key}`, `has ${value.value.length} values; wanted one for each of ${n_layer} layers`, {
        key,
      });
    }
    return Array.from<unknown>(value.value).map((n) =>
      this.#integerIn(key, { type: 'i64', value: n } as GgufValue, range.min ?? 0, range.max ?? MAX_SIZE),
    );
  }

  /** An integer that files may give as one number or as one for each layer; ours must then all be equal. */
  integerPerLayer(short: string, n_layer: number, range: IntegerRange = {}): number {
    const all = this.integersOfLayers(short, n_layer, range);
    const first = all[0]!;
    const other = all.findIndex((n) => n !== first);
    if (other > 0) {
      const key = `${this.arch}.${short}`;
      this.fail(
        `key ${key}`,
        `is ${first} in layer 0 and ${all[other]} in layer ${other}; only models with equal layers are supported`,
        { key },
      );
    }
    return first;
  }

  /** A finite float32 of the architecture, not below min (or above it, if `above`). */
  float(
    short: string,
    range: { readonly min: number; readonly above?: boolean; readonly default?: number },
  ): number {
    const key = `${this.arch}.${short}`;
    const value = this.#value(key);
    if (value === undefined) {
      return range.default ?? this.fail(`key ${key}`, 'is missing; wanted a f32', { key });
    }
    if (value.type !== 'f32') return this.#wrongType(key, 'f32', value);
    const x = value.value;
    if (!Number.isFinite(x) || x < range.min || (range.above === true && x === range.min)) {
      const wanted = `a finite number ${range.above === true ? 'above' : 'not below'} ${range.min}`;
      this.fail(`key ${key}`, `is ${x}; wanted ${wanted}`, { key, wanted, found: String(x) });
    }
    return x;
  }

  bool(short: string, fallback: boolean): boolean {
    const key = `${this.arch}.${short}`;
    const value = this.#value(key);
    if (value === undefined) return fallback;
    return value.type === 'bool' ? value.value : this.#wrongType(key, 'bool', value);
  }

  /** A key that may say only this, because anything else is not supported. */
  mustBe(short: string, wanted: number | boolean, why: string): void {
    const key = `${this.arch}.${short}`;
    const value = this.#value(key);
    if (value === undefined || value.value === wanted) return;
    const found = typeof value.value === 'object' ? `an array of ${value.value.length}` : String(value.value);
    this.fail(`key ${key}`, `is ${found}; wanted ${wanted}: ${why}`, { key, wanted, found });
  }

  /** A key that is known to have no influence on logits. */
  ignore(short: string): void {
    this.#asked.add(`${this.arch}.${short}`);
  }

  /** Refuses keys of the architecture that nobody asked for. */
  refuseUnknown(): void {
    for (const key of this.#metadata.keys()) {
      if (key.startsWith(`${this.arch}.`) && !this.#asked.has(key)) {
        this.fail(
          `key ${JSON.stringify(key.slice(0, 80))}`,
          `is not supported for the architecture ${this.arch}`,
          { key },
        );
      }
    }
  }
}
