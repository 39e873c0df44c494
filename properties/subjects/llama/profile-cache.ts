/**
 * The rounding profile of a build, measured once: kept in the cache under the hash of the library, the instruction set
 * and the processor, because a child process is started anew after every abort. A file that cannot be read or written is
 * no harm: then it is measured again.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import type { Subject } from '../../../contract/subject.ts';
import { packageVersion } from '../../version.ts';
import { cacheDir } from './fetch.ts';
import { type MeasuredProfile, type MeasureOptions, measureProfile } from './profile.ts';

/** To be raised when what is measured, or how, changes. */
const VERSION = 1;

export interface BuildKey {
  /** Of libllama. */
  readonly sha256: string;
  readonly isa?: string;
}

function pathOf({ sha256, isa = 'best' }: BuildKey): string {
  const about = [VERSION, packageVersion(), sha256, isa, cpus()[0]?.model ?? ''].join('\n');
  const name = createHash('sha256').update(about).digest('hex').slice(0, 24);
  return join(cacheDir(), 'profiles', `${name}.json`);
}

/** The kept profile, or a new measurement of the subject. */
export async function profileOf(
  subject: Subject,
  key: BuildKey,
  options: MeasureOptions,
): Promise<MeasuredProfile> {
  const path = pathOf(key);
  try {
    const kept = JSON.parse(readFileSync(path, 'utf8')) as MeasuredProfile;
    if (kept.rounding !== undefined) return kept;
  } catch {
    // not there, or cut short
  }
  const measured = await measureProfile(subject, options);
  try {
    mkdirSync(join(cacheDir(), 'profiles'), { recursive: true });
    const draft = `${path}.${process.pid}`;
    writeFileSync(draft, JSON.stringify(measured));
    renameSync(draft, path);
  } catch {
    // a cache that cannot be written
  }
  return measured;
}
