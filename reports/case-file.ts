/**
 * A kept case: everything that is needed to run one failing case again, on any machine, beside the model file. For
 * recipes and golden models the name is enough, and the hash shows that it is still the same model.
 */
import { readFileSync } from 'node:fs';
import { IsobatchError } from '../contract/errors.ts';
import type { CampaignResult, FailureRecord } from '../properties/campaign-result.ts';
import { type SubjectSpec, specOptions } from '../properties/subjects/registry.ts';
import type { Case, Failure } from '../properties/types.ts';

export interface CaseFile {
  /** Version of this record. */
  readonly isobatch_case: 1;
  /** Of the program that wrote it. */
  readonly isobatch: string;
  readonly case: Case;
  readonly failure: Omit<Failure, 'case'>;
  /** Number of this case in its campaign, to find it again before it was shrunk. */
  readonly seed: string;
  readonly index: number;
  readonly original?: Case;
  readonly model: string;
  /** Of the model's bytes; empty for white-box cases. */
  readonly model_sha256: string;
  /** Of the generator that has made it. */
  readonly fingerprint?: string;
  readonly subject: SubjectSpec;
  readonly subject_name: string;
  readonly fault?: string;
  readonly isa?: string;
  readonly properties_module?: string;
  readonly log?: string;
  /** Command that runs it again. */
  readonly replay: string;
  /** Command that runs the original case from its number. */
  readonly again: string;
}

/** Quotes a word for a POSIX shell where that is needed. */
export function shellWord(word: string): string {
  return /^[A-Za-z0-9_./:=@%+,-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

function command(words: readonly (string | undefined)[]): string {
  return words
    .filter((w) => w !== undefined)
    .map(shellWord)
    .join(' ');
}

/** Inputs of the small scope's rules are no cases of a property: they are enumerated again. */
export function isReplayable(record: FailureRecord): boolean {
  return record.failure.case.property !== 'small-scope';
}

export function caseFileOf(record: FailureRecord, result: CampaignResult, path: string): CaseFile {
  const { case: c, ...failure } = record.failure;
  const { settings } = result;
  const { seed, index } = c;
  const unit = result.units.find((u) => u.property === record.property && u.model === record.model);
  const chosen = [
    ...specOptions(settings.subject),
    ...(settings.isa === undefined ? [] : ['--isa', settings.isa]),
    ...(settings.properties_module === undefined ? [] : ['--properties-module', settings.properties_module]),
    ...(settings.fault === undefined ? [] : ['--fault', settings.fault]),
  ];
  const onModel = c.model === 'rules' ? [] : ['--model', c.model];
  const number = ['--seed', seed, '--range', `${index}..${index + 1}`];
  const again = record.scope
    ? command(['isobatch', 'verify', '--property', 'small-scope', ...chosen])
    : command(['isobatch', 'verify', '--property', c.property, ...onModel, ...number, ...chosen]);
  return {
    isobatch_case: 1,
    isobatch: result.isobatch,
    case: c,
    failure,
    seed,
    index,
    original: record.shrink.accepted > 0 ? record.original : undefined,
    model: c.model,
    model_sha256: result.models.find((m) => m.name === c.model)?.sha256 ?? '',
    fingerprint: unit?.fingerprint,
    subject: settings.subject,
    subject_name: `${result.subject.name} ${result.subject.version}`,
    fault: settings.fault,
    isa: settings.isa,
    properties_module: settings.properties_module,
    log: record.log,
    replay: isReplayable(record) ? command(['isobatch', 'replay', path]) : again,
    again,
  };
}

/** Reads a case file. Throws `file` if it cannot be read or is no case file. */
export function readCaseFile(path: string): CaseFile {
  let file: Partial<CaseFile> | null;
  try {
    file = JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const why = code === 'ENOENT' ? 'there is no such file' : (error as Error).message;
    throw new IsobatchError('file', `cannot read the case ${path}: ${why}`, { path });
  }
  if (
    file?.isobatch_case !== 1 ||
    typeof file.case?.property !== 'string' ||
    typeof file.case.model !== 'string'
  )
    throw new IsobatchError('file', `${path} is not a case file of this version of isobatch`, { path });
  return file as CaseFile;
}
