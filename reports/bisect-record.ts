/** What a case does in each of several releases: the record that `bisect` writes and an upstream report reads. */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readJson } from '../properties/fields.ts';
import type { Case } from '../properties/types.ts';

export const BISECT_VERSION = 1;

/** `passes` and `fails in the same way` are by the signature of the case. */
export const BISECT_VERDICTS = ['passes', 'fails in the same way', 'fails otherwise', 'cannot run'] as const;
export type BisectVerdict = (typeof BISECT_VERDICTS)[number];

export interface BisectedRelease {
  readonly name: string;
  readonly verdict: BisectVerdict;
  /** How it fails, or why it cannot run, or a choice that the release does not have. */
  readonly detail?: string;
}

export interface BisectRecord {
  readonly isobatch_bisect: typeof BISECT_VERSION;
  readonly isobatch: string;
  readonly signature: string;
  /** Of the case, to see whose record it is. */
  readonly case_sha256: string;
  /** Oldest first. */
  readonly releases: readonly BisectedRelease[];
  /** Of the releases in which it fails, in the same way or otherwise. */
  readonly first_failing?: string;
  readonly last_failing?: string;
  readonly interrupted: boolean;
}

export function caseSha256(c: Case): string {
  return createHash('sha256').update(JSON.stringify(c)).digest('hex');
}

/** The record if it is one of this case; undefined if there is no such file. Throws `file` for any other file. */
export function readBisect(path: string, c: Case): BisectRecord | undefined {
  if (!existsSync(path)) return undefined;
  const file = readJson(path, 'the record of a bisection');
  const version = file.get('isobatch_bisect');
  if (version.value !== BISECT_VERSION) version.bad(String(BISECT_VERSION));
  for (const release of file.get('releases').list()) {
    release.get('name').text();
    release.get('verdict').oneOf(BISECT_VERDICTS);
    release.optional('detail')?.text();
  }
  for (const key of ['first_failing', 'last_failing']) file.optional(key)?.text();
  return file.get('case_sha256').text() === caseSha256(c) ? (file.value as BisectRecord) : undefined;
}

/** Where it fails, in one line. */
export function summaryLine({ first_failing, last_failing, releases, interrupted }: BisectRecord): string {
  const ran = releases.filter(({ verdict }) => verdict !== 'cannot run');
  const cut = interrupted ? 'interrupted; ' : '';
  if (ran.length === 0) return `${cut}it ran on none of these releases`;
  if (first_failing === undefined) return `${cut}it fails in none of the ${ran.length} releases that ran it`;
  return `${cut}first failing ${first_failing}, last failing ${last_failing}`;
}
