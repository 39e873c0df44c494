/**
 * A kept case: everything that is needed to run one failing case again, on any machine, beside the model file. For
 * recipes and golden models the name is enough, and the hash shows that it is still the same model. What was found out
 * about the case (explanation, probes) lies in it too. `case-read.ts` reads it back.
 */
import type { ModelInfo, SubjectInfo } from '../contract/subject.ts';
import { modelBytes, sha256Of } from '../properties/campaign-models.ts';
import type { CampaignResult, FailureRecord } from '../properties/campaign-result.ts';
import { type SubjectSpec, specOptions } from '../properties/subjects/registry.ts';
import type { Case, Failure, Reference } from '../properties/types.ts';
import { DEFAULT_P } from '../properties/verdict.ts';

/** Version of the record. 2: what the property states, facts of model and subject, explanation and probes. */
export const CASE_VERSION = 2;

export interface CaseFile {
  readonly isobatch_case: typeof CASE_VERSION;
  /** Of the program that wrote it. */
  readonly isobatch: string;
  /** What must hold, in one sentence. */
  readonly statement?: string;
  readonly case: Case;
  /** What was seen, with its explanation and what probe models saw, if there are any. */
  readonly failure: Omit<Failure, 'case'>;
  /** Cases of the campaign that failed with this signature. */
  readonly count?: number;
  /** Number of this case in its campaign, to find it again before it was shrunk. */
  readonly seed: string;
  readonly index: number;
  readonly original?: Case;
  readonly model: string;
  /** Of the model's bytes; empty for white-box cases. */
  readonly model_sha256: string;
  readonly model_info?: ModelInfo;
  /** Of the generator that has made it. */
  readonly fingerprint?: string;
  readonly subject: SubjectSpec;
  /** How it called itself, and the split policies that it can be asked for. */
  readonly subject_info: Pick<SubjectInfo, 'name' | 'version' | 'splits'>;
  readonly fault?: string;
  readonly isa?: string;
  /** Chance of a false alarm in one comparison, if it was not the usual one. */
  readonly p?: number;
  /** What `reference` compared with, if not the oracle. */
  readonly reference?: Reference;
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

/** Of a recipe that shrinking moved a case to: the campaign has not loaded it. */
function shrunkModelHash(name: string): string {
  return name.startsWith('recipe:') ? sha256Of(modelBytes(name)) : '';
}

export function caseFileOf(record: FailureRecord, result: CampaignResult, path: string): CaseFile {
  const { case: c, ...failure } = record.failure;
  const { settings } = result;
  const { seed, index } = c;
  const { name, version, splits } = result.subject;
  const model = result.models.find((m) => m.name === c.model);
  const unit = result.units.find((u) => u.property === record.property && u.model === record.model);
  const chosen = [
    ...specOptions(settings.subject),
    ...(settings.isa === undefined ? [] : ['--isa', settings.isa]),
    ...(settings.threads === undefined ? [] : ['--threads', settings.threads.join()]),
    ...(settings.reference === undefined ? [] : ['--reference', settings.reference]),
    ...(settings.properties_module === undefined ? [] : ['--properties-module', settings.properties_module]),
    ...(settings.fault === undefined ? [] : ['--fault', settings.fault]),
  ];
  // The number names the case before it was made smaller, on the model of that time.
  const { model: found } = record.original;
  const onModel = found === 'rules' ? [] : ['--model', found];
  const number = ['--seed', seed, '--range', `${index}..${index + 1}`];
  const again = record.scope
    ? command(['isobatch', 'verify', '--property', 'small-scope', ...chosen])
    : command(['isobatch', 'verify', '--property', c.property, ...onModel, ...number, ...chosen]);
  return {
    isobatch_case: CASE_VERSION,
    isobatch: result.isobatch,
    statement: result.units.find((u) => u.property === c.property)?.statement,
    case: c,
    failure,
    count: record.count,
    seed,
    index,
    original: record.shrink.accepted > 0 ? record.original : undefined,
    model: c.model,
    model_sha256: model?.sha256 ?? shrunkModelHash(c.model),
    model_info: model?.info,
    fingerprint: unit?.fingerprint,
    subject: settings.subject,
    subject_info: { name, version, splits },
    fault: settings.fault,
    isa: settings.isa,
    p: settings.p === DEFAULT_P ? undefined : settings.p,
    reference: settings.reference,
    properties_module: settings.properties_module,
    log: record.log,
    replay: isReplayable(record) ? command(['isobatch', 'replay', path]) : again,
    again,
  };
}
