/**
 * Readers of JSON that people write or carry around: case files, lists of known failures. Each step names the field
 * that it reads, so that every refusal says where it is: "case.script.calls[2].batch.token[0] must be a whole number".
 */
import { readFileSync } from 'node:fs';
import { IsobatchError } from '../contract/errors.ts';

/** A value and the way to it. */
export class Field {
  readonly value: unknown;
  /** As one would write it: `case.script.calls[2]`; empty for the whole file. */
  readonly name: string;
  readonly file: string;

  constructor(value: unknown, name: string, file: string) {
    this.value = value;
    this.name = name;
    this.file = file;
  }

  /** Throws `file`, naming the field and what it must be. */
  bad(want: string): never {
    const got = shown(this.value);
    throw new IsobatchError('file', `${this.file}: ${this.name || 'the file'} must be ${want}, got ${got}`, {
      path: this.file,
      field: this.name,
      got: this.value,
    });
  }

  object(): Record<string, unknown> {
    const { value } = this;
    if (typeof value !== 'object' || value === null || Array.isArray(value)) this.bad('an object');
    return value as Record<string, unknown>;
  }

  get(key: string): Field {
    const object = this.object();
    const name = this.name === '' ? key : `${this.name}.${key}`;
    return new Field(Object.hasOwn(object, key) ? object[key] : undefined, name, this.file);
  }

  /** Undefined if it is not there. */
  optional(key: string): Field | undefined {
    const field = this.get(key);
    return field.value === undefined ? undefined : field;
  }

  list({ least = 0, length }: { least?: number; length?: number } = {}): Field[] {
    const { value } = this;
    if (!Array.isArray(value)) this.bad('a list');
    const items = value as unknown[];
    if (length !== undefined && items.length !== length) this.bad(`a list of ${length}`);
    if (items.length < least)
      this.bad(least === 1 ? 'a list that is not empty' : `a list of at least ${least}`);
    return items.map((item, i) => new Field(item, `${this.name}[${i}]`, this.file));
  }

  text(): string {
    if (typeof this.value !== 'string') this.bad('a text');
    return this.value as string;
  }

  flag(): boolean {
    if (typeof this.value !== 'boolean') this.bad('true or false');
    return this.value as boolean;
  }

  number(): number {
    if (typeof this.value !== 'number') this.bad('a number');
    return this.value as number;
  }

  integer({ least, most }: { least?: number; most?: number } = {}): number {
    const { value } = this;
    const low = least ?? Number.MIN_SAFE_INTEGER;
    const high = most ?? Number.MAX_SAFE_INTEGER;
    if (Number.isSafeInteger(value) && (value as number) >= low && (value as number) <= high)
      return value as number;
    const from = least === undefined ? '' : ` from ${least}`;
    this.bad(`a whole number${from}${most === undefined ? '' : ` ${from === '' ? 'up ' : ''}to ${most}`}`);
  }

  oneOf<T extends string>(names: readonly T[]): T {
    if (!names.includes(this.value as T)) this.bad(`one of ${names.join(', ')}`);
    return this.value as T;
  }
}

function shown(value: unknown): string {
  if (value === undefined) return 'nothing';
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

/** Parses a JSON file. Throws `file` if it cannot be read or is no JSON; `what` says what it should have been. */
export function readJson(path: string, what: string): Field {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const why = code === 'ENOENT' ? 'there is no such file' : (error as Error).message;
    throw new IsobatchError('file', `cannot read ${what} ${path}: ${why}`, { path });
  }
  return parseJson(text, path, what);
}

/** The same for a text that was read already. */
export function parseJson(text: string, path: string, what: string): Field {
  try {
    return new Field(JSON.parse(text), '', path);
  } catch (error) {
    throw new IsobatchError(
      'file',
      `cannot read ${what} ${path}: it is no JSON (${(error as Error).message})`,
      {
        path,
      },
    );
  }
}
