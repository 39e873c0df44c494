/**
 * `isobatch releases`: a campaign on each release of llama.cpp, summed up as one matrix. Everything is written after
 * each release, so an interrupted run leaves what it has.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { IsobatchError } from '../contract/errors.ts';
import { recipes } from '../golden/recipes.ts';
import { probeSubject, settingOf, settingsOf, type VerifyOptions, verify } from '../properties/campaign.ts';
import { checkModelName } from '../properties/campaign-models.ts';
import type { CampaignResult } from '../properties/campaign-result.ts';
import { checkPlatform, releasesBetween } from '../properties/subjects/llama/builds.ts';
import { fetchRelease } from '../properties/subjects/llama/fetch.ts';
import { RULES, rangeOf, ruleName } from '../properties/subjects/llama/releases.ts';
import { progressReporter } from '../reports/progress.ts';
import { releasesLines } from '../reports/releases.ts';
import {
  type ReleaseRun,
  type ReleasesRecord,
  releasesRecord,
  shortReason,
} from '../reports/releases-record.ts';
import { paintFor } from '../reports/text.ts';
import { writeReport } from '../reports/write.ts';
import { numberOption } from './args.ts';
import type { Args, Io } from './types.ts';

/** One that llama.cpp loads for each architecture; of several the first that a release loads is taken. */
const DEFAULT_RECIPES: readonly string[] = recipes
  .filter(({ engine, name }) => !engine || name.endsWith('-loadable'))
  .map(({ name }) => `recipe:${name}`);

const CASES = 20;
/** A matrix wants every cell, so one release full of faults must not end early. */
const MAX_FAILURES = 1000;

export async function runReleases(args: Args, io: Io): Promise<number> {
  if (args.flag.legal) return printRules(io);
  checkPlatform();
  const range = releasesBetween(args.text.from, args.text.to);
  const options = optionsOf(args);
  const out = args.text.out ?? 'isobatch-releases';
  const progress = progressReporter(io.err);
  const runs: ReleaseRun[] = [];
  let record = releasesRecord(runs, options.models, false);
  for (const { name } of range) {
    if (io.signal.aborted) break;
    const show = args.flag.quiet ? undefined : progress.show;
    runs.push(await runRelease(name, options, { out, show, io }).finally(progress.end));
    record = releasesRecord(runs, options.models, io.signal.aborted);
    writeRecord(record, out);
  }
  record = releasesRecord(runs, options.models, io.signal.aborted);
  writeRecord(record, out);
  const lines = releasesLines(record, paintFor(io.out));
  for (const line of args.flag.quiet ? lines.slice(-1) : lines) io.out.write(`${line}\n`);
  if (!args.flag.quiet) io.out.write(`report: ${join(out, 'releases.json')}\n`);
  return exitCodeOfReleases(record);
}

/** The table of what may differ between releases: for each rule its releases, what it says and where it comes from. */
function printRules(io: Io): number {
  for (const rule of RULES)
    io.out.write(`${ruleName(rule)} (${rangeOf(rule)}): ${rule.what}\n  ${rule.source}\n`);
  return 0;
}

type Options = VerifyOptions & { readonly models: readonly string[]; readonly isa_of_build?: string };

function optionsOf(args: Args): Options {
  const named = args.list.model ?? [];
  for (const model of named) checkModelName(model);
  const minutes = numberOption(args, 'minutes', { least: 0 });
  return {
    models: named.length > 0 ? named : DEFAULT_RECIPES,
    properties: args.list.property,
    cases:
      numberOption(args, 'cases', { least: 1, whole: true }) ?? (minutes === undefined ? CASES : undefined),
    minutes,
    seed: args.text.seed,
    jobs: numberOption(args, 'jobs', { least: 1, whole: true }),
    shrink_seconds: numberOption(args, 'shrink-seconds', { least: 0 }),
    watchdog_s: numberOption(args, 'watchdog-seconds', { least: 0.1 }),
    max_failures: MAX_FAILURES,
    scope: false,
    isa_of_build: args.text.isa,
  };
}

interface Around {
  readonly out: string;
  readonly show?: ReturnType<typeof progressReporter>['show'];
  readonly io: Io;
}

async function runRelease(name: string, options: Options, { out, show, io }: Around): Promise<ReleaseRun> {
  const { isa_of_build: isa, ...rest } = options;
  const subject = { kind: 'llama', lib: name, ...(isa === undefined ? {} : { isa }) } as const;
  const tell = show === undefined ? undefined : (what: string) => io.err.write(`${what}\n`);
  try {
    await fetchRelease(name, { onProgress: tell, signal: io.signal });
    const { loaded, refused } = await loadable({ ...rest, subject });
    const models = options.models === DEFAULT_RECIPES ? firstOfEach(loaded) : loaded;
    if (models.length === 0) return { name, refused, cases: {} };
    const result = await verify(
      { ...rest, subject, models },
      {
        signal: io.signal,
        onProgress: (p) => show?.({ ...p, what: `${name}${p.what === undefined ? '' : `: ${p.what}`}` }),
      },
    );
    return { name, refused, result, cases: writeCases(result, join(out, name)) };
  } catch (error) {
    if (!(error instanceof IsobatchError) || error.kind === 'internal' || isUnknownName(error)) throw error;
    return { name, refused: {}, error: shortReason(error.message), cases: {} };
  }
}

/** A property that nobody knows is the user's mistake, an instruction set that one release lacks is not. */
function isUnknownName(error: IsobatchError): boolean {
  return error.kind === 'usage' && error.detail.isa === undefined;
}

/** Which models a release loads. Where loading one ends the process, each is tried alone. */
async function loadable(options: Options): Promise<{ loaded: string[]; refused: Record<string, string> }> {
  const settings = settingsOf(options);
  const worker = { watchdog_s: settings.watchdog_s, setup_watchdog_s: 60 };
  const ask = (models: readonly string[]) =>
    probeSubject(settingOf(settings), worker, models, settings.properties);
  const refused: Record<string, string> = {};
  const note = (answer: Awaited<ReturnType<typeof ask>>) => {
    for (const [model, { message }] of Object.entries(answer.refused)) refused[model] = shortReason(message);
  };
  try {
    note(await ask(options.models));
  } catch (error) {
    if (!isDeath(error)) throw error;
    for (const model of options.models) {
      try {
        note(await ask([model]));
      } catch (e) {
        if (!isDeath(e)) throw e;
        refused[model] = shortReason(`loading ${model}: ${e.message}`);
      }
    }
  }
  return { loaded: options.models.filter((model) => refused[model] === undefined), refused };
}

function isDeath(error: unknown): error is IsobatchError {
  return error instanceof IsobatchError && error.kind === 'subject';
}

function firstOfEach(models: readonly string[]): string[] {
  const archOf = (model: string) => recipes.find(({ name }) => `recipe:${name}` === model)?.arch;
  return models.filter((model, i) => models.findIndex((other) => archOf(other) === archOf(model)) === i);
}

/** The report of a release, and its case files by signature. */
function writeCases(result: CampaignResult, out: string): Record<string, string> {
  const files = writeReport(result, out);
  return Object.fromEntries([...files].map(([failure, path]) => [failure.signature, path]));
}

function writeRecord(record: ReleasesRecord, out: string): void {
  try {
    mkdirSync(out, { recursive: true });
    writeFileSync(join(out, 'releases.json'), `${JSON.stringify(record, null, 2)}\n`);
  } catch (error) {
    throw new IsobatchError('file', `cannot write to ${out}: ${(error as Error).message}`, { out });
  }
}

/** 1 if a cell is red, 4 if interrupted, 3 if nothing was compared or a release could not be run, else 0. */
export function exitCodeOfReleases({ cells, releases, interrupted }: ReleasesRecord): 0 | 1 | 3 | 4 {
  if (cells.some(({ status }) => status === 'failed')) return 1;
  if (interrupted) return 4;
  const compared = cells.some((cell) => cell.compared > 0);
  return compared && releases.every(({ error }) => error === undefined) ? 0 : 3;
}
