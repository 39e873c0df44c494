/**
 * Failures that are known already: a list that people keep beside their code, each entry with a reason. What is
 * listed is reported and does not fail a run; what is listed and does not fail any more is said, so that the list
 * stays true.
 *
 *     { "version": 1, "known": [ { "signature": "solo/llama/64/logits", "reason": "...", "link": "https://..." } ] }
 *
 * `subject` restricts an entry to a subject by its name, or by its name and version ("llama b4800").
 */

import { IsobatchError } from '../contract/errors.ts';
import type { SubjectInfo } from '../contract/subject.ts';
import { type Field, readJson } from './fields.ts';

export interface KnownFailure {
  /** As reports tell it: property, model family, what differs first. */
  readonly signature: string;
  readonly reason: string;
  readonly link?: string;
  readonly subject?: string;
}

/** Reads a list. Throws `file`, naming the place, if it cannot be read or is malformed. */
export function readKnown(path: string): KnownFailure[] {
  const file = readJson(path, 'the known failures');
  const version = file.get('version');
  if (version.value !== 1) version.bad('1');
  refuseOthers(file, ['version', 'known']);
  const entries = file.get('known').list().map(entryOf);
  entries.forEach((entry, i) => {
    const twin = entries.findIndex((e) => e.signature === entry.signature && e.subject === entry.subject);
    if (twin < i)
      throw new IsobatchError('file', `${path}: known[${i}] repeats the signature of known[${twin}]`, {
        path,
        field: `known[${i}].signature`,
      });
  });
  return entries;
}

function entryOf(field: Field): KnownFailure {
  refuseOthers(field, ['signature', 'reason', 'link', 'subject']);
  const signature = field.get('signature');
  if (signature.text().split('/').length < 3) signature.bad('a signature, as in property/family/what');
  const reason = field.get('reason');
  if (reason.text().trim() === '') reason.bad('a reason that is not empty');
  return {
    signature: signature.text(),
    reason: reason.text(),
    link: field.optional('link')?.text(),
    subject: field.optional('subject')?.text(),
  };
}

/** A misspelt field would be ignored in silence. */
function refuseOthers(field: Field, names: readonly string[]): void {
  for (const key of Object.keys(field.object()))
    if (!names.includes(key)) field.get(key).bad(`left out: the fields here are ${names.join(', ')}`);
}

/** Entries that speak of this subject. */
export function knownFor(
  known: readonly KnownFailure[],
  { name, version }: Pick<SubjectInfo, 'name' | 'version'>,
): KnownFailure[] {
  return known.filter(
    ({ subject }) => subject === undefined || subject === name || subject === `${name} ${version}`,
  );
}

/** Part of a campaign, as far as known failures must know it. */
export interface RanUnit {
  readonly property: string;
  /** Architecture, or `rules`; what a property that ends badly is grouped by. */
  readonly arch: string;
  /** Architecture, vocabulary and kind of tokens; what all other failures are grouped by. */
  readonly family: string;
  readonly compared: number;
  readonly cases: number;
  /** Every case that was planned has run. */
  readonly whole: boolean;
}

/** What became of the entries. */
export interface KnownReport {
  /** Those that do not fail any more, and how many cases say so. */
  readonly gone: readonly { readonly entry: KnownFailure; readonly cases: number }[];
  /** Those of which nothing can be said: their property did not run to its end on such a model. */
  readonly unchecked: readonly KnownFailure[];
}

/** `failed` are all signatures that were seen, `other` entries that speak of another subject. */
export function knownReport(
  known: readonly KnownFailure[],
  subject: Pick<SubjectInfo, 'name' | 'version'>,
  failed: ReadonlySet<string>,
  units: readonly RanUnit[],
): KnownReport {
  const ours = knownFor(known, subject);
  const gone: { entry: KnownFailure; cases: number }[] = [];
  const unchecked = known.filter((entry) => !ours.includes(entry));
  for (const entry of ours) {
    if (failed.has(entry.signature)) continue;
    const ran = units.filter((u) => speaksOf(entry.signature, u));
    const cases = ran.reduce((sum, u) => sum + u.cases, 0);
    if (ran.some((u) => u.compared > 0) && ran.every((u) => u.whole)) gone.push({ entry, cases });
    else unchecked.push(entry);
  }
  return { gone, unchecked };
}

/** The signature is one that this unit could have had. */
function speaksOf(signature: string, { property, arch, family }: RanUnit): boolean {
  const restAfter = (prefix: string) =>
    signature.startsWith(prefix) ? signature.slice(prefix.length) : undefined;
  const fine = restAfter(`${property}/${family}/`);
  if (fine !== undefined) return !fine.startsWith('text/');
  // A number behind the architecture is the vocabulary of another family.
  const coarse = restAfter(`${property}/${arch}/`);
  return coarse !== undefined && !/^\d+\//.test(coarse);
}
