/**
 * Where copies with noise are kept: all in memory (`KeptCopies`), or one at a time as a file (`FileCopies`), for
 * models that are large or quantized.
 */
import { statfsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { IsobatchError } from '../contract/errors.ts';
import type { MaybePromise, SubjectModel } from '../contract/subject.ts';
import type { GgufFile } from '../model/gguf.ts';
import { type GgufHead, readGgufHead } from '../model/gguf-head.ts';
import { type CopyOf, noisyCopy } from './noise.ts';
import { LightNoise } from './noise-light.ts';
import { removeFolder, temporaryFolder } from './temporary.ts';

export type Load = (bytes: Uint8Array, name: string) => MaybePromise<SubjectModel>;
export type LoadFile = (path: string, name: string) => MaybePromise<SubjectModel>;
export type NoiseKind = Omit<CopyOf, 'number'>;

export interface Copies {
  /** Some weights make products round to less than float32. */
  readonly coarse: boolean;
  readonly hasFeedForward: boolean;
  /** Calls `use` with the first n copies, one after another. */
  each(
    noise: NoiseKind,
    n: number,
    use: (model: SubjectModel, number: number) => Promise<void>,
  ): Promise<void>;
  /** Gives back what copies take, if they can be made again. */
  release(): void;
}

export class KeptCopies implements Copies {
  readonly coarse: boolean;
  readonly hasFeedForward: boolean;
  readonly #file: GgufFile;
  readonly #name: string;
  readonly #load: Load;
  readonly #kept = new Map<string, Promise<SubjectModel>[]>();

  constructor(file: GgufFile, name: string, load: Load) {
    this.#file = file;
    this.#name = name;
    this.#load = load;
    this.coarse = [...file.tensors.values()].some((t) => t.type === 'F16');
    this.hasFeedForward = [...file.tensors.keys()].some((tensor) => tensor.includes('ffn_down'));
  }

  async each(noise: NoiseKind, n: number, use: Parameters<Copies['each']>[2]): Promise<void> {
    const key = JSON.stringify(noise);
    let kept = this.#kept.get(key);
    if (kept === undefined) {
      kept = [];
      this.#kept.set(key, kept);
    }
    for (let number = 0; number < n; number++) {
      kept[number] ??= this.#made({ ...noise, number });
      await use(await kept[number], number);
    }
  }

  async #made(copy: CopyOf): Promise<SubjectModel> {
    return this.#load(noisyCopy(this.#file, copy), `${this.#name}, copy ${copy.number}`);
  }

  release(): void {
    // They are small.
  }
}

/** The file is copied to the folder for temporary files once, and changed in place between two loads. */
export class FileCopies implements Copies {
  readonly coarse: boolean;
  readonly hasFeedForward: boolean;
  readonly #head: GgufHead;
  readonly #noise: LightNoise;
  readonly #name: string;
  readonly #load: LoadFile;
  #folder: string | undefined;

  /** Throws `gguf` or `model` for a file of which no copies can be made. */
  constructor(path: string, name: string, load: LoadFile, halves?: boolean, most_moved?: number) {
    this.#head = readGgufHead(path);
    this.#noise = new LightNoise(this.#head, halves, most_moved);
    this.#name = name;
    this.#load = load;
    this.coarse = this.#noise.coarse;
    this.hasFeedForward = this.#noise.hasFeedForward;
  }

  async each(noise: NoiseKind, n: number, use: Parameters<Copies['each']>[2]): Promise<void> {
    const path = this.#file();
    for (let number = 0; number < n; number++) {
      this.#noise.write(path, { ...noise, number });
      const model = await this.#load(path, `${this.#name}, copy ${number}`);
      try {
        await use(model, number);
      } finally {
        // Before the next one is written: the library may have mapped the file.
        await model.close();
      }
    }
  }

  #file(): string {
    if (this.#folder === undefined) {
      checkRoom(this.#head.size);
      this.#folder = temporaryFolder();
      this.#noise.copyTo(join(this.#folder, 'model.gguf'));
    }
    return join(this.#folder, 'model.gguf');
  }

  release(): void {
    if (this.#folder !== undefined) removeFolder(this.#folder);
    this.#folder = undefined;
  }
}

function checkRoom(bytes: number): void {
  const { bavail, bsize } = statfsSync(tmpdir());
  if (bavail * bsize > bytes) return;
  throw new IsobatchError(
    'model',
    `bounds are measured on a copy of the model: ${tmpdir()} has no room for ${bytes} bytes (TMPDIR names another folder)`,
  );
}
