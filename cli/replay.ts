/** `isobatch replay CASE.json`: runs one kept case in a child process and tells its story. */

import { IsobatchError } from '../contract/errors.ts';
import { faultByName } from '../faults/apply.ts';
import { type Replayed, replayCase } from '../properties/campaign-replay.ts';
import { type SubjectSpec, subjectSpec } from '../properties/subjects/registry.ts';
import type { CaseFile } from '../reports/case-file.ts';
import { readCaseFile } from '../reports/case-read.ts';
import { storyLines } from '../reports/story.ts';
import { type Paint, paintFor } from '../reports/text.ts';
import { modulePath, numberOption, referenceOption } from './args.ts';
import type { Args, Io } from './types.ts';

function chosenSubject(args: Args, file: CaseFile): SubjectSpec {
  const { subject, 'subject-cmd': command, lib, isa } = args.text;
  if (subject === undefined && command === undefined && lib === undefined)
    return file.subject.kind === 'llama' && isa !== undefined ? { ...file.subject, isa } : file.subject;
  return subjectSpec(subject, command, { lib, isa });
}

/** The fault of the case belongs to our engine; another subject has its own. */
async function chosenFault(args: Args, file: CaseFile, subject: SubjectSpec): Promise<string | undefined> {
  const wanted = args.text.fault ?? (subject.kind === 'engine' ? file.fault : undefined);
  const fault = wanted === 'none' ? undefined : wanted;
  if (fault !== undefined) await faultByName(fault);
  return fault;
}

function checkModel(file: CaseFile, { model_sha256 }: Replayed): void {
  if (file.model_sha256 === '' || !model_sha256 || model_sha256 === file.model_sha256) return;
  throw new IsobatchError(
    'model',
    `the model ${file.model} has changed since the case was kept (sha256 ${model_sha256}, was ${file.model_sha256})`,
    { model: file.model, got: model_sha256, want: file.model_sha256 },
  );
}

/** A case that ran but compared nothing has neither failed nor passed. */
function verdictOf(outcome: Replayed['outcome']): {
  code: 0 | 1 | 3;
  words: string;
  colour: Parameters<Paint>[0];
} {
  if (outcome.status === 'failed') return { code: 1, words: 'still fails', colour: 'red' };
  if (outcome.status === 'passed' && outcome.compared > 0)
    return { code: 0, words: 'does not fail any more', colour: 'green' };
  const why = outcome.reason ?? 'nothing was compared';
  return { code: 3, words: `could not run: ${why}`, colour: 'yellow' };
}

export async function runReplay(args: Args, io: Io): Promise<number> {
  const [path] = args.positionals as [string];
  const file = readCaseFile(path);
  const subject = chosenSubject(args, file);
  const fault = await chosenFault(args, file, subject);
  const replayed = await replayCase(file.case, {
    subject,
    fault,
    reference: referenceOption(args) ?? file.reference,
    properties_module: modulePath(args) ?? file.properties_module,
    // The instruction set of a libllama is a file of it, which `chosenSubject` has named.
    isa: subject.kind === 'llama' ? undefined : (args.text.isa ?? file.isa),
    watchdog_s: numberOption(args, 'watchdog-seconds', { least: 0.1 }),
    p: file.p,
    explain: !args.flag.quiet,
    signal: io.signal,
  });
  checkModel(file, replayed);
  const verdict = verdictOf(replayed.outcome);
  if (args.flag.json) {
    const record = { verdict: verdict.words, exit_code: verdict.code, ...replayed, file };
    io.out.write(`${JSON.stringify(record, null, 2)}\n`);
    return verdict.code;
  }
  const lines = args.flag.quiet ? [] : [...storyLines({ file, path, fault, ...replayed }), ''];
  for (const line of [...lines, paintFor(io.out)(verdict.colour, verdict.words)]) io.out.write(`${line}\n`);
  return verdict.code;
}
