/**
 * A cursor over the bytes of a file that never reads past the end: each read names its field, and running out of
 * bytes is an `IsobatchError` of kind `gguf` with that field and the byte offset, never a RangeError.
 */
import { IsobatchError } from '../contract/errors.ts';

// Fatal: invalid UTF-8 throws instead of becoming U+FFFD. The BOM is kept, so that writing gives the same bytes.
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** The file goes on behind the bytes that the cursor has: give it at least so many. */
export class MoreBytes extends Error {
  readonly wanted: number;

  constructor(wanted: number) {
    super(`${wanted} bytes of the file are needed`);
    this.wanted = wanted;
  }
}

export class Cursor {
  readonly bytes: Uint8Array;
  readonly name: string;
  /** Bytes of the file, of which the cursor may have only the first. */
  readonly size: number;
  offset = 0;
  readonly #view: DataView;

  /** Without `size` the bytes are the whole file; with it, reading past them throws `MoreBytes`. */
  constructor(bytes: Uint8Array, name: string, size = bytes.byteLength) {
    this.bytes = bytes;
    this.name = name;
    this.size = size;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get remaining(): number {
    return this.size - this.offset;
  }

  /** Throws: the field, the place, what is wrong. */
  fail(field: string, what: string, offset = this.offset, detail: Record<string, unknown> = {}): never {
    throw new IsobatchError('gguf', `${this.name}: ${field} at byte ${offset}: ${what}`, {
      file: this.name,
      field,
      offset,
      ...detail,
    });
  }

  /** The offset of the next n bytes, which are then behind the cursor. */
  #take(n: number, field: string): number {
    const at = this.offset;
    if (n > this.remaining) {
      this.fail(field, `the file ends: ${n} bytes wanted, ${this.remaining} left`, at, {
        wanted: n,
        left: this.remaining,
      });
    }
    if (at + n > this.bytes.byteLength) throw new MoreBytes(at + n);
    this.offset = at + n;
    return at;
  }

  u8(field: string): number {
    return this.#view.getUint8(this.#take(1, field));
  }
  i8(field: string): number {
    return this.#view.getInt8(this.#take(1, field));
  }
  u16(field: string): number {
    return this.#view.getUint16(this.#take(2, field), true);
  }
  i16(field: string): number {
    return this.#view.getInt16(this.#take(2, field), true);
  }
  u32(field: string): number {
    return this.#view.getUint32(this.#take(4, field), true);
  }
  i32(field: string): number {
    return this.#view.getInt32(this.#take(4, field), true);
  }
  f32(field: string): number {
    return this.#view.getFloat32(this.#take(4, field), true);
  }
  f64(field: string): number {
    return this.#view.getFloat64(this.#take(8, field), true);
  }
  /** A number where safe, else a bigint. */
  u64(field: string): number | bigint {
    return narrow(this.#view.getBigUint64(this.#take(8, field), true));
  }
  i64(field: string): number | bigint {
    return narrow(this.#view.getBigInt64(this.#take(8, field), true));
  }
  bool(field: string): boolean {
    const at = this.offset;
    const byte = this.u8(field);
    if (byte > 1) this.fail(field, `a bool is 0 or 1, not ${byte}`, at, { value: byte });
    return byte === 1;
  }

  /**
   * A u64 that counts things of at least `size` bytes each: refused if the rest of the file cannot hold them, before
   * anything is allocated.
   */
  count(field: string, size: number): number {
    const at = this.offset;
    const n = this.u64(field);
    if (typeof n === 'bigint' || n * size > this.remaining) {
      this.fail(
        field,
        `${n} of at least ${size} byte${size === 1 ? '' : 's'} each, but ${this.remaining} bytes are left`,
        at,
        {
          count: String(n),
          left: this.remaining,
        },
      );
    }
    return n;
  }

  /** A u64 length and that many bytes of UTF-8. */
  string(field: string): string {
    const n = this.count(`length of ${field}`, 1);
    const at = this.#take(n, field);
    try {
      return utf8.decode(this.bytes.subarray(at, at + n));
    } catch {
      return this.fail(field, `${n} bytes that are not UTF-8`, at);
    }
  }

  /** A copy of the next n bytes in a buffer of its own, so that any typed array can lie over it. */
  copy(n: number, field: string): ArrayBuffer {
    const at = this.#take(n, field);
    const out = new Uint8Array(n);
    out.set(this.bytes.subarray(at, at + n));
    return out.buffer;
  }
}

function narrow(value: bigint): number | bigint {
  const n = Number(value);
  return Number.isSafeInteger(n) ? n : value;
}
