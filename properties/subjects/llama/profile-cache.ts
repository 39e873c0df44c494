/**
 * The rounding profile of a build, measured once, because a child process is started anew after every abort. It is kept
 * in the cache under the hashes of the build's libraries, the instruction set and the processor. A file that cannot be
 * read or written, is damaged or tells of another build is no harm: then it is measured again.
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { dirname, join } from 'node:path';
import type { Subject } from '../../../contract/subject.ts';
import { sha256OfFile } from '../../file-hash.ts';
import { objectField, roundingOf } from '../../protocol.ts';
import { packageVersion } from '../../version.ts';
import { cacheDir, type LibFiles } from './fetch.ts';
import { type MeasuredProfile, type MeasureOptions, measureProfile } from './profile.ts';

/** To be raised when what is measured, or how, changes. */
const VERSION = 3;

/** What is needed of a build to know it again. */
export type BuildKey = Pick<LibFiles, 'sha256' | 'release' | 'preload' | 'libggml_cpu'> & {
  readonly isa?: string;
};

/** Everything that a profile depends on, as one text. */
function aboutOf({ sha256, release, preload, libggml_cpu, isa = 'best' }: BuildKey): string {
  // The files of a release are pinned together. In a build of one's own libggml, which does the rounding, can change
  // beside the same libllama.
  const others = [...preload, ...libggml_cpu.map(({ path }) => path)];
  const sums = release === undefined ? [...new Set(others)].sort().map(sha256OfFile) : [release];
  return [VERSION, packageVersion(), sha256, ...sums, isa, cpus()[0]?.model ?? ''].join('\n');
}

/** The kept profile, or a new measurement of the subject. */
export async function profileOf(
  subject: Subject,
  key: BuildKey,
  options: MeasureOptions,
): Promise<MeasuredProfile> {
  const about = aboutOf(key);
  const name = createHash('sha256').update(about).digest('hex').slice(0, 24);
  const path = join(cacheDir(), 'profiles', `${name}.json`);
  const kept = read(path, about);
  if (kept !== undefined) return kept;
  const measured = await measureProfile(subject, options);
  write(path, { about, ...measured });
  return measured;
}

/** Undefined unless it is a whole profile of this build. */
function read(path: string, about: string): MeasuredProfile | undefined {
  try {
    const kept = JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>;
    if (kept.about !== about) return undefined;
    const rounding = roundingOf(objectField(kept, 'rounding'));
    if (kept.rounding_flash === undefined) return { rounding };
    return { rounding, rounding_flash: roundingOf(objectField(kept, 'rounding_flash')) };
  } catch {
    return undefined;
  }
}

/** The file appears whole, by one rename, or not at all. */
function write(path: string, kept: MeasuredProfile & { readonly about: string }): void {
  const draft = `${path}.${process.pid}`;
  try {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(draft, JSON.stringify(kept));
    renameSync(draft, path);
  } catch {
    if (existsSync(draft)) rmSync(draft);
  }
}
