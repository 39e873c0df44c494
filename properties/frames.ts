/**
 * Length-prefixed frames: the bytes under the subject protocol and under the talk between a campaign and its
 * workers. A frame is u32 total (bytes that follow), u32 length of the header, a JSON object in UTF-8, and a raw
 * payload; all numbers little-endian. Documented for implementers in PROTOCOL.md.
 */
import { writeSync } from 'node:fs';
import { IsobatchError } from '../contract/errors.ts';

export type Header = Readonly<Record<string, unknown>>;

export interface Frame {
  /** Empty if `malformed`. */
  readonly header: Header;
  readonly payload: Uint8Array;
  /** The lengths were good, but the header is not a JSON object: the reader can go on with the next frame. */
  readonly malformed?: string;
}

export interface FrameLimits {
  /** Most bytes of a header. */
  readonly header: number;
  /** Most bytes of a whole frame, the first length not counted. */
  readonly frame: number;
}

export const FRAME_LIMITS: FrameLimits = { header: 64 * 2 ** 20, frame: 2 ** 30 };

/** The bytes of one frame. Throws `protocol` if it would be over the limits. */
export function encodeFrame(header: object, payload: Uint8Array = new Uint8Array(0), limits = FRAME_LIMITS) {
  const head = Buffer.from(JSON.stringify(header), 'utf8');
  const total = 4 + head.length + payload.length;
  checkLengths(total, head.length, limits);
  const out = Buffer.allocUnsafe(4 + total);
  out.writeUInt32LE(total, 0);
  out.writeUInt32LE(head.length, 4);
  out.set(head, 8);
  out.set(payload, 8 + head.length);
  return out;
}

function checkLengths(total: number, header: number | undefined, limits: FrameLimits): void {
  if (total < 4 || total > limits.frame)
    throw new IsobatchError(
      'protocol',
      `a frame claims ${total} bytes; legal are 4 to ${limits.frame}: this is not a frame, or the stream is out of step`,
      { total, limit: limits.frame },
    );
  if (header === undefined) return;
  if (header > total - 4 || header > limits.header)
    throw new IsobatchError(
      'protocol',
      `a frame of ${total} bytes claims a header of ${header} bytes; most are ${Math.min(total - 4, limits.header)}`,
      { total, header },
    );
}

/** Cuts a stream of chunks into frames. */
export class FrameDecoder {
  #chunks: Uint8Array[] = [];
  #size = 0;
  readonly #limits: FrameLimits;

  constructor(limits: FrameLimits = FRAME_LIMITS) {
    this.#limits = limits;
  }

  /**
   * Takes what has arrived and gives the frames that are complete. Throws `protocol` on lengths that cannot be; the
   * stream is then lost, because nobody knows where the next frame begins. Frames before such lengths are given first:
   * the next call throws, even if nothing more arrives.
   */
  push(chunk: Uint8Array): Frame[] {
    if (chunk.length > 0) {
      this.#chunks.push(chunk);
      this.#size += chunk.length;
    }
    const frames: Frame[] = [];
    try {
      for (let frame = this.#next(); frame !== undefined; frame = this.#next()) frames.push(frame);
    } catch (error) {
      if (frames.length === 0) throw error;
    }
    return frames;
  }

  /** To be called at the end of the stream: throws `protocol` if it ends inside a frame. */
  end(): void {
    if (this.#size === 0) return;
    const want = this.#size >= 4 ? 4 + this.#peek(4).readUInt32LE(0) : undefined;
    throw new IsobatchError(
      'protocol',
      `the stream ends inside a frame: ${this.#size} of ${want ?? 'at least 8'} bytes arrived`,
      { arrived: this.#size, expected: want },
    );
  }

  /** The first n bytes in one piece (n <= size). */
  #peek(n: number): Buffer {
    if (this.#chunks[0]!.length < n) this.#chunks = [Buffer.concat(this.#chunks)];
    const first = this.#chunks[0]!;
    return Buffer.from(first.buffer, first.byteOffset, n);
  }

  #next(): Frame | undefined {
    if (this.#size < 4) return undefined;
    const total = this.#peek(4).readUInt32LE(0);
    checkLengths(total, undefined, this.#limits);
    if (this.#size < 8) return undefined;
    const length = this.#peek(8).readUInt32LE(4);
    checkLengths(total, length, this.#limits);
    if (this.#size < 4 + total) return undefined;
    const bytes = this.#peek(4 + total);
    this.#drop(4 + total);
    const payload = bytes.subarray(8 + length);
    return parse(bytes.subarray(8, 8 + length), payload);
  }

  #drop(n: number): void {
    const first = this.#chunks[0]!;
    if (first.length === n) this.#chunks.shift();
    else this.#chunks[0] = first.subarray(n);
    this.#size -= n;
  }
}

function parse(head: Buffer, payload: Uint8Array): Frame {
  const malformed = (why: string): Frame => ({ header: {}, payload, malformed: why });
  try {
    const header: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(head));
    if (typeof header !== 'object' || header === null || Array.isArray(header))
      return malformed('the header of a frame is not a JSON object');
    return { header: header as Header, payload };
  } catch {
    return malformed(`the header of a frame (${head.length} bytes) is not JSON in UTF-8`);
  }
}

/**
 * Writes a frame and returns only when the system has taken all of it, so that an announcement is out before the
 * process can crash. Pipes that Node has made non-blocking answer EAGAIN: then wait a little and go on.
 */
export function writeFrameSync(fd: number, header: object, payload?: Uint8Array): void {
  const bytes = encodeFrame(header, payload);
  for (let done = 0; done < bytes.length; ) {
    try {
      done += writeSync(fd, bytes, done);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== 'EAGAIN')
        throw new IsobatchError('protocol', `cannot write a frame: the other end is closed (${code})`, {
          code,
        });
      Atomics.wait(SLEEP, 0, 0, 1);
    }
  }
}

const SLEEP = new Int32Array(new SharedArrayBuffer(4));

/** Little-endian bytes of float32 numbers; a view, not a copy (every machine that Node runs on is little-endian). */
export function floatBytes(values: Float32Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}

/** The float32 numbers of a payload, copied (a payload need not be aligned). Throws `protocol` on a wrong length. */
export function floatsOf(payload: Uint8Array, n: number): Float32Array {
  if (payload.length !== 4 * n)
    throw new IsobatchError(
      'protocol',
      `a payload has ${payload.length} bytes; ${n} float32 numbers are ${4 * n}`,
      {
        bytes: payload.length,
        expected: 4 * n,
      },
    );
  const out = new Float32Array(n);
  floatBytes(out).set(payload);
  return out;
}
