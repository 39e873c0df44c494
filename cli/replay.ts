/** `isobatch replay CASE.json`: runs one kept case in a child process and tells its story. */

import { IsobatchError } from '../contract/errors.ts';
import { faultByName } from '../faults/apply.ts';
import { replayCase } from '../properties/campaign-replay.ts';
import { subjectSpec } from '../properties/subjects/registry.ts';
import { type CaseFile, readCaseFile, shellWord } from '../reports/case-file.ts';
import { caseLines, failureLines, outcomeLine } from '../reports/story.ts';
import { paintFor } from '../reports/text.ts';
import { modulePath, numberOption } from './args.ts';
import type { Args, Io } from './types.ts';

function chosenSubject(args: Args, file: CaseFile) {
  const { subject, 'subject-cmd': command } = args.text;
  return subject === undefined && command === undefined ? file.subject : subjectSpec(subject, command);
}

export async function runReplay(args: Args, io: Io): Promise<number> {
  const [path] = args.positionals as [string];
  const file = readCaseFile(path);
  const subject = chosenSubject(args, file);
  // The fault of the case belongs to our engine; another subject has its own.
  const wanted = args.text.fault ?? (subject.kind === 'engine' ? file.fault : undefined);
  const fault = wanted === 'none' ? undefined : wanted;
  if (fault !== undefined) await faultByName(fault);
  const { outcome, log, model_sha256 } = await replayCase(file.case, {
    subject,
    fault,
    properties_module: modulePath(args) ?? file.properties_module,
    isa: args.text.isa ?? file.isa,
    watchdog_s: numberOption(args, 'watchdog-seconds', { least: 0.1 }),
    signal: io.signal,
  });
  if (file.model_sha256 !== '' && model_sha256 !== undefined && model_sha256 !== file.model_sha256)
    throw new IsobatchError(
      'model',
      `the model ${file.model} has changed since the case was kept (sha256 ${model_sha256}, was ${file.model_sha256})`,
      { model: file.model, got: model_sha256, want: file.model_sha256 },
    );
  const paint = paintFor(io.out);
  const failed = outcome.status === 'failed';
  const verdict = failed ? paint('red', 'still fails') : paint('green', 'does not fail any more');
  const lines = args.flag.quiet ? [] : [...caseLines(file.case), '', outcomeLine(outcome)];
  if (!args.flag.quiet && outcome.failure !== undefined) lines.push(...failureLines(outcome.failure));
  if (!args.flag.quiet && log)
    lines.push(
      ...log
        .trim()
        .split('\n')
        .slice(-8)
        .map((line) => `  | ${line}`),
    );
  if (!args.flag.quiet) lines.push(`again: isobatch replay ${shellWord(path)}`);
  const skipped = outcome.status === 'skipped' ? `could not run: ${outcome.reason}` : undefined;
  for (const line of [...lines, skipped ?? verdict]) io.out.write(`${line}\n`);
  if (skipped !== undefined) return 3;
  return failed ? 1 : 0;
}
