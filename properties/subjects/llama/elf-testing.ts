/** Small ELF files for tests: a header, two program headers and a dynamic section. Not part of the product. */
export interface ElfParts {
  soname?: string;
  needed?: readonly string[];
  runpath?: string;
  symbols?: readonly string[];
  /** Fields of the header to be put wrong. */
  elf_class?: number;
  byte_order?: number;
  machine?: number;
  type?: number;
}

/** Where the file lies in memory, so that addresses are no offsets. */
const BASE = 0x10000;

/** The bytes of a shared library that names what it is told, and holds no code. */
export function elfFile(parts: ElfParts = {}): Buffer {
  const names: string[] = [''];
  const put = (text: string): number => {
    const at = names.join('\0').length + 1;
    names.push(text);
    return at;
  };
  const entries: [number, number][] = (parts.needed ?? []).map((name) => [1, put(name)]);
  if (parts.soname !== undefined) entries.push([14, put(parts.soname)]);
  if (parts.runpath !== undefined) entries.push([29, put(parts.runpath)]);
  for (const symbol of parts.symbols ?? []) put(symbol);
  const strings = Buffer.from(`${names.join('\0')}\0`);
  const dynamic = 64 + 2 * 56;
  const strtab = dynamic + (entries.length + 3) * 16;
  entries.push([5, BASE + strtab], [10, strings.length], [0, 0]);

  const file = Buffer.alloc(strtab + strings.length);
  file.write('\x7fELF', 0, 'latin1');
  file[4] = parts.elf_class ?? 2;
  file[5] = parts.byte_order ?? 1;
  file.writeUInt16LE(parts.type ?? 3, 16);
  file.writeUInt16LE(parts.machine ?? 62, 18);
  file.writeBigUInt64LE(64n, 32);
  file.writeUInt16LE(56, 54);
  file.writeUInt16LE(2, 56);
  segment(file, 64, 1, 0, file.length);
  segment(file, 64 + 56, 2, dynamic, entries.length * 16);
  for (const [i, [tag, value]] of entries.entries()) {
    file.writeBigUInt64LE(BigInt(tag), dynamic + i * 16);
    file.writeBigUInt64LE(BigInt(value), dynamic + i * 16 + 8);
  }
  strings.copy(file, strtab);
  return file;
}

function segment(file: Buffer, at: number, type: number, offset: number, bytes: number): void {
  file.writeUInt32LE(type, at);
  file.writeBigUInt64LE(BigInt(offset), at + 8);
  file.writeBigUInt64LE(BigInt(BASE + offset), at + 16);
  file.writeBigUInt64LE(BigInt(bytes), at + 32);
}

/** A library like libllama, with the function by which it is known. */
export function libllamaFile(needed: readonly string[], parts: ElfParts = {}): Buffer {
  return elfFile({ soname: 'libllama.so', ...parts, needed, symbols: ['llama_decode', 'llama_batch_init'] });
}
