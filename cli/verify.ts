/** `isobatch verify`: reads the options, runs the campaign, prints and writes the report. */
import { join } from 'node:path';
import { faultByName, knownFaults } from '../faults/apply.ts';
import { selectsFaults } from '../faults/table.ts';
import { againstSpec } from '../properties/against.ts';
import { type VerifyOptions, verify } from '../properties/campaign.ts';
import { exitCodeOf } from '../properties/campaign-result.ts';
import { readKnown } from '../properties/known.ts';
import { type SubjectSpec, subjectSpec } from '../properties/subjects/registry.ts';
import { progressReporter } from '../reports/progress.ts';
import { terminalLines } from '../reports/terminal.ts';
import { paintFor, table } from '../reports/text.ts';
import { writeReport } from '../reports/write.ts';
import { modulePath, numberOption, rangeOption, referenceOption, threadsOption } from './args.ts';
import { runFaultTable } from './faults.ts';
import type { Args, Io } from './types.ts';

function chosenSubject({ text }: Args): SubjectSpec {
  return subjectSpec(text.subject, text['subject-cmd'], { lib: text.lib, isa: text.isa });
}

export function verifyOptions(args: Args): VerifyOptions {
  return {
    subject: chosenSubject(args),
    models: args.list.model,
    properties: args.list.property,
    cases: numberOption(args, 'cases', { least: 1, whole: true }),
    minutes: numberOption(args, 'minutes', { least: 0 }),
    scale: numberOption(args, 'scale', { least: 0.01 }),
    range: rangeOption(args),
    seed: args.text.seed,
    properties_module: modulePath(args),
    jobs: numberOption(args, 'jobs', { least: 1, whole: true }),
    // The instruction set of a libllama is a file of it, not a parameter of a context.
    isa: chosenSubject(args).kind === 'llama' ? undefined : args.text.isa,
    p: numberOption(args, 'p', { least: 0 }),
    reference: referenceOption(args),
    threads: threadsOption(args),
    fault: args.text.fault,
    shrink_seconds: numberOption(args, 'shrink-seconds', { least: 0 }),
    max_failures: numberOption(args, 'max-failures', { least: 1, whole: true }),
    watchdog_s: numberOption(args, 'watchdog-seconds', { least: 0.1 }),
    known: args.text.known === undefined ? undefined : readKnown(args.text.known),
    against: args.text.against === undefined ? undefined : againstSpec(args.text.against),
  };
}

async function listFaults(io: Io): Promise<number> {
  const faults = await knownFaults();
  const rows = faults.map((f) => [f.name, f.file, f.describe]);
  for (const line of table(rows, [])) io.out.write(`${line}\n`);
  return 0;
}

function faultSeeds(args: Args): number | undefined {
  return numberOption(args, 'fault-seeds', { least: 1, whole: true });
}

export async function runVerify(args: Args, io: Io): Promise<number> {
  if (args.text.fault === 'list') return listFaults(io);
  const options = verifyOptions(args);
  const out = args.text.out ?? 'isobatch-report';
  if (selectsFaults(options.fault))
    return runFaultTable(options, { out, quiet: args.flag.quiet === true, seeds: faultSeeds(args) }, io);
  if (options.fault !== undefined) await faultByName(options.fault);
  const progress = progressReporter(io.err);
  const onProgress = args.flag.quiet ? undefined : progress.show;
  const result = await verify(options, { signal: io.signal, onProgress }).finally(progress.end);
  const files = writeReport(result, out);
  const paint = paintFor(io.out);
  const lines = terminalLines(result, paint, (f) => files.get(f));
  // Quiet: the verdict, and on which subject.
  for (const line of args.flag.quiet ? lines.slice(-1) : lines) io.out.write(`${line}\n`);
  if (!args.flag.quiet) io.out.write(`report: ${join(out, 'summary.json')}\n`);
  return exitCodeOf(result);
}
