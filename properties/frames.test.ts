import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { encodeFrame, FrameDecoder, floatBytes, floatsOf, writeFrameSync } from './frames.ts';

const payload = Uint8Array.of(1, 2, 3, 255, 0);

function u32s(...values: number[]): Buffer {
  const out = Buffer.alloc(4 * values.length);
  values.forEach((v, i) => {
    out.writeUInt32LE(v, 4 * i);
  });
  return out;
}

describe('frames', () => {
  it('come back as they were, whatever the chunks', () => {
    const headers = [{ a: 1 }, { text: 'ünïcödé \u0000 "quoted"' }, {}];
    const bytes = Buffer.concat(headers.map((h, i) => encodeFrame(h, i === 1 ? payload : undefined)));
    for (const size of [1, 2, 3, 7, 8, 9, bytes.length]) {
      const decoder = new FrameDecoder();
      const frames = [];
      for (let i = 0; i < bytes.length; i += size) frames.push(...decoder.push(bytes.subarray(i, i + size)));
      decoder.end();
      expect(frames.map((f) => f.header)).toEqual(headers);
      expect([...frames[1]!.payload]).toEqual([...payload]);
      expect(frames[0]!.payload).toHaveLength(0);
    }
  });

  it('has the layout that is documented: total, header length, header, payload', () => {
    const frame = encodeFrame({}, payload);
    expect([...frame]).toEqual([11, 0, 0, 0, 2, 0, 0, 0, 0x7b, 0x7d, ...payload]);
  });

  it.each([
    ['a total below the header length', u32s(3, 0)],
    ['a total over the limit', u32s(0xffffffff, 2)],
    ['a header longer than the frame', u32s(10, 7)],
  ])('refuses %s', (_, bytes) => {
    const refused = () => new FrameDecoder().push(bytes);
    expect(refused).toThrow(expect.objectContaining({ kind: 'protocol' }));
  });

  it('refuses a total over the limit before the rest has arrived', () => {
    expect(() => new FrameDecoder().push(Buffer.from('HTTP'))).toThrow(/out of step/);
  });

  it('gives the frames before impossible lengths first, then throws', () => {
    const decoder = new FrameDecoder();
    const bytes = Buffer.concat([encodeFrame({ id: 1 }), Buffer.alloc(8, 0xff)]);
    expect(decoder.push(bytes).map((frame) => frame.header)).toEqual([{ id: 1 }]);
    expect(() => decoder.push(new Uint8Array(0))).toThrow(/out of step/);
  });

  it('refuses to make a frame over the limit', () => {
    const limits = { header: 100, frame: 200 };
    expect(() => encodeFrame({ text: 'x'.repeat(200) }, undefined, limits)).toThrow(/claims/);
    expect(() => encodeFrame({ text: 'x'.repeat(95) }, undefined, limits)).toThrow(/header of 106 bytes/);
  });

  it('says where a stream was cut', () => {
    const decoder = new FrameDecoder();
    expect(decoder.push(encodeFrame({ a: 1 }, payload).subarray(0, 12))).toEqual([]);
    expect(() => decoder.end()).toThrow('12 of 20 bytes');
    const short = new FrameDecoder();
    short.push(Uint8Array.of(1, 2));
    expect(() => short.end()).toThrow('2 of at least 8 bytes');
  });

  it('goes on after a header that is not a JSON object', () => {
    const garbled = (text: string) =>
      Buffer.concat([u32s(4 + text.length, text.length), Buffer.from(text, 'latin1')]);
    const decoder = new FrameDecoder();
    const frames = decoder.push(
      Buffer.concat([
        garbled('{"a":'),
        garbled('[1]'),
        garbled('null'),
        garbled('"\xff"'),
        encodeFrame({ b: 2 }),
      ]),
    );
    expect(frames.map((f) => f.malformed !== undefined)).toEqual([true, true, true, true, false]);
    expect(frames[4]!.header).toEqual({ b: 2 });
  });

  it('carries floats by their bits, from any alignment', () => {
    const values = Float32Array.of(1.5, -0, Number.NaN, Number.POSITIVE_INFINITY, 1e-45);
    const [frame] = new FrameDecoder().push(encodeFrame({ x: 1 }, floatBytes(values)));
    const back = floatsOf(frame!.payload, 5);
    expect([...new Uint32Array(back.buffer)]).toEqual([...new Uint32Array(values.buffer)]);
    expect(() => floatsOf(frame!.payload, 4)).toThrow(/20 bytes/);
  });

  it('is written whole by the synchronous writer', () => {
    const folder = mkdtempSync(join(tmpdir(), 'isobatch-frames-'));
    const path = join(folder, 'out');
    const fd = openSync(path, 'w');
    writeFrameSync(fd, { a: 1 }, payload);
    writeFrameSync(fd, { b: 2 });
    closeSync(fd);
    const frames = new FrameDecoder().push(readFileSync(path));
    expect(frames.map((f) => f.header)).toEqual([{ a: 1 }, { b: 2 }]);
    expect(() => writeFrameSync(fd, {})).toThrow(expect.objectContaining({ kind: 'protocol' }));
    rmSync(folder, { recursive: true });
  });
});
