/**
 * The head of a shared library, read before it is loaded: a wrong file given to the loader costs a child process and
 * a riddle, a look at its header costs nothing and names the reason. Only what choosing a build needs is read: class,
 * machine and type, and of the dynamic section the names (System V ABI, ELF-64 object file format).
 */
import { closeSync, openSync, readSync } from 'node:fs';
import { IsobatchError } from '../../../contract/errors.ts';

export interface Elf {
  /** The name under which other libraries ask for it. */
  readonly soname?: string;
  /** Libraries that it asks for. */
  readonly needed: readonly string[];
  /** Where it wants them to be looked for, `$ORIGIN` not yet replaced. */
  readonly runpath: readonly string[];
  /** Whether its table of dynamic names holds this one, whoever defines it. */
  names(symbol: string): boolean;
}

const HEADER_BYTES = 64;
const PROGRAM_HEADER_BYTES = 56;
const [PT_LOAD, PT_DYNAMIC] = [1, 2];
const [ET_DYN, EM_X86_64] = [3, 62];
const DT = { NULL: 0, NEEDED: 1, STRTAB: 5, STRSZ: 10, SONAME: 14, RPATH: 15, RUNPATH: 29 } as const;

const MACHINES: Readonly<Record<number, string>> = {
  3: 'x86, 32 bits',
  40: 'arm, 32 bits',
  183: 'arm64',
  243: 'RISC-V',
};
const TYPES: Readonly<Record<number, string>> = { 1: 'an object file', 2: 'a program', 4: 'a core dump' };

/** Reads the header of a library. Throws `file` with the reason if it is no ELF x86-64 shared object. */
export function readElf(path: string): Elf {
  const file = opened(path);
  try {
    return parse(path, (offset, bytes) => slice(path, file, offset, bytes));
  } finally {
    closeSync(file);
  }
}

function opened(path: string): number {
  try {
    return openSync(path, 'r');
  } catch (error) {
    throw new IsobatchError('file', `${path} cannot be read: ${(error as Error).message}`, { path });
  }
}

type Read = (offset: number, bytes: number) => Buffer;

function parse(path: string, read: Read): Elf {
  const header = checkHeader(path, read(0, HEADER_BYTES));
  const table = read(header.offset, header.count * PROGRAM_HEADER_BYTES);
  const segments = Array.from({ length: header.count }, (_, i) =>
    segmentOf(table.subarray(i * PROGRAM_HEADER_BYTES)),
  );
  const dynamic = segments.find((s) => s.type === PT_DYNAMIC);
  if (dynamic === undefined) throw refused(path, 'it has no dynamic section: it is no shared library');
  const entries = entriesOf(read(dynamic.offset, dynamic.bytes));
  const value = (tag: number): number | undefined => entries.find((e) => e.tag === tag)?.value;

  const address = value(DT.STRTAB);
  const home = segments.find((s) => s.type === PT_LOAD && within(s, address));
  if (address === undefined || home === undefined) throw refused(path, 'its table of names is missing');
  const strings = read(home.offset + address - home.address, value(DT.STRSZ) ?? 0);
  const text = (at: number): string => {
    const end = strings.indexOf(0, at);
    if (at >= strings.length || end < 0) throw refused(path, `name ${at} lies outside its table of names`);
    return strings.toString('utf8', at, end);
  };
  const soname = value(DT.SONAME);
  const runpath = value(DT.RUNPATH) ?? value(DT.RPATH);
  return {
    ...(soname === undefined ? {} : { soname: text(soname) }),
    needed: entries.filter((e) => e.tag === DT.NEEDED).map((e) => text(e.value)),
    runpath: runpath === undefined ? [] : text(runpath).split(':').filter(Boolean),
    names: (symbol) => strings.includes(`\0${symbol}\0`),
  };
}

/** Class, byte order, type and machine; returns where the program headers stand. */
function checkHeader(path: string, header: Buffer): { offset: number; count: number } {
  if (header.readUInt32BE(0) !== 0x7f454c46)
    throw refused(path, `it begins with ${JSON.stringify(header.toString('latin1', 0, 4))}: no ELF file`);
  if (header[4] !== 2) throw refused(path, 'it is for 32 bits');
  if (header[5] !== 1) throw refused(path, 'its numbers are big-endian');
  const machine = header.readUInt16LE(18);
  if (machine !== EM_X86_64)
    throw refused(path, `it is for another machine (${MACHINES[machine] ?? `number ${machine}`})`);
  const type = header.readUInt16LE(16);
  if (type !== ET_DYN) throw refused(path, `it is ${TYPES[type] ?? `of type ${type}`}, no shared library`);
  const size = header.readUInt16LE(54);
  if (size !== PROGRAM_HEADER_BYTES) throw refused(path, `its program headers have ${size} bytes`);
  return { offset: Number(header.readBigUInt64LE(32)), count: header.readUInt16LE(56) };
}

interface Segment {
  readonly type: number;
  readonly offset: number;
  readonly address: number;
  readonly bytes: number;
}

function segmentOf(header: Buffer): Segment {
  return {
    type: header.readUInt32LE(0),
    offset: Number(header.readBigUInt64LE(8)),
    address: Number(header.readBigUInt64LE(16)),
    bytes: Number(header.readBigUInt64LE(32)),
  };
}

function within(segment: Segment, address: number | undefined): boolean {
  return address !== undefined && address >= segment.address && address < segment.address + segment.bytes;
}

function entriesOf(section: Buffer): { tag: number; value: number }[] {
  const entries: { tag: number; value: number }[] = [];
  for (let at = 0; at + 16 <= section.length; at += 16) {
    const tag = Number(section.readBigUInt64LE(at));
    if (tag === DT.NULL) break;
    entries.push({ tag, value: Number(section.readBigUInt64LE(at + 8)) });
  }
  return entries;
}

/** No table that we read is near this size; a larger one is damage. */
const MOST_BYTES = 1 << 28;

function slice(path: string, file: number, offset: number, bytes: number): Buffer {
  if (!(bytes >= 0 && bytes <= MOST_BYTES && Number.isSafeInteger(offset)))
    throw refused(path, `its header asks for ${bytes} bytes at ${offset}`);
  const buffer = Buffer.alloc(bytes);
  const got = readSync(file, buffer, 0, bytes, offset);
  if (got < bytes) throw refused(path, `it ends early: ${got} of ${bytes} bytes at ${offset}`);
  return buffer;
}

function refused(path: string, why: string): IsobatchError {
  return new IsobatchError('file', `${path} is no shared library for Linux x86-64: ${why}`, { path });
}
