/** `isobatch bisect CASE.json`: runs a kept case on each release of llama.cpp and says where it fails. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { IsobatchError } from '../contract/errors.ts';
import { type Replayed, replayCase } from '../properties/campaign-replay.ts';
import { checkPlatform, releasesBetween } from '../properties/subjects/llama/builds.ts';
import { fetchRelease } from '../properties/subjects/llama/fetch.ts';
import type { Case } from '../properties/types.ts';
import { packageVersion } from '../properties/version.ts';
import {
  BISECT_VERSION,
  type BisectedRelease,
  type BisectRecord,
  type BisectVerdict,
  caseSha256,
  summaryLine,
} from '../reports/bisect-record.ts';
import type { CaseFile } from '../reports/case-file.ts';
import { readCaseFile } from '../reports/case-read.ts';
import { shortReason } from '../reports/releases-record.ts';
import { type Paint, paintFor } from '../reports/text.ts';
import { numberOption } from './args.ts';
import type { Args, Io } from './types.ts';

const COLOUR: Readonly<Record<BisectVerdict, Parameters<Paint>[0]>> = {
  passes: 'green',
  'fails in the same way': 'red',
  'fails otherwise': 'red',
  'cannot run': 'yellow',
};

export async function runBisect(args: Args, io: Io): Promise<number> {
  checkPlatform();
  const [path] = args.positionals as [string];
  const file = readCaseFile(path);
  if (file.case.script === undefined)
    throw new IsobatchError(
      'usage',
      `${path} asks a rule inside of a subject (${file.case.property}), which releases of llama.cpp do not show`,
    );
  const range = releasesBetween(args.text.from, args.text.to);
  const paint = paintFor(io.out);
  const width = Math.max(...range.map(({ name }) => name.length));
  const found: BisectedRelease[] = [];
  for (const { name } of range) {
    if (io.signal.aborted) break;
    const release = await lookAt(name, file, args, io);
    if (io.signal.aborted) break;
    found.push(release);
    const why = release.detail === undefined ? '' : `: ${release.detail}`;
    const line = `${name.padEnd(width)}  ${paint(COLOUR[release.verdict], release.verdict)}${why}`;
    if (!args.flag.quiet) io.out.write(`${line}\n`);
  }
  const record = bisectRecord(file, found, found.length < range.length);
  writeRecord(record, args.text.out ?? 'isobatch-report');
  io.out.write(`${summaryLine(record)}\n`);
  return exitCodeOfBisect(record);
}

/** One release; what keeps it from running is an answer, not an error. */
async function lookAt(name: string, file: CaseFile, args: Args, io: Io): Promise<BisectedRelease> {
  const isa = args.text.isa ?? (file.subject.kind === 'llama' ? file.subject.isa : undefined);
  try {
    const tell = args.flag.quiet ? undefined : (what: string) => io.err.write(`${what}\n`);
    await fetchRelease(name, { onProgress: tell, signal: io.signal });
    const replayed = await replayCase(file.case, {
      subject: { kind: 'llama', lib: name, ...(isa === undefined ? {} : { isa }) },
      reference: file.reference,
      properties_module: file.properties_module,
      watchdog_s: numberOption(args, 'watchdog-seconds', { least: 0.1 }),
      p: file.p,
      signal: io.signal,
    });
    return { name, ...verdictOf(file.case, file.failure.signature, replayed) };
  } catch (error) {
    if (!(error instanceof IsobatchError) || error.kind === 'usage' || error.kind === 'internal') throw error;
    return { name, verdict: 'cannot run', detail: shortReason(error.message) };
  }
}

/** What one run says of a release. A case that asks for what the release cannot do has not run. */
export function verdictOf(c: Case, signature: string, replayed: Replayed): Omit<BisectedRelease, 'name'> {
  const { outcome, subject } = replayed;
  const { params } = c.script!;
  const type_kv = params.type_kv ?? 'F32';
  if (subject !== undefined && !subject.types_kv.includes(type_kv))
    return { verdict: 'cannot run', detail: `it keeps K and V in ${subject.types_kv.join(' or ')} only` };
  if (outcome.status === 'failed') {
    const same = outcome.failure?.signature === signature;
    return same
      ? { verdict: 'fails in the same way' }
      : { verdict: 'fails otherwise', detail: outcome.failure?.message };
  }
  if (outcome.status === 'skipped' || outcome.compared === 0)
    return { verdict: 'cannot run', detail: shortReason(outcome.reason ?? 'nothing was compared') };
  const missing = (['kv_unified', 'swa_full', 'flash_attn'] as const).filter(
    (name) => params[name] !== undefined && subject?.choices?.[name] === undefined,
  );
  return {
    verdict: 'passes',
    ...(missing.length === 0 ? {} : { detail: `it has no choice of ${missing.join(', ')}` }),
  };
}

export function bisectRecord(
  { case: c, failure, isobatch: _ }: CaseFile,
  releases: readonly BisectedRelease[],
  interrupted: boolean,
): BisectRecord {
  const failing = releases.filter(({ verdict }) => verdict.startsWith('fails'));
  return {
    isobatch_bisect: BISECT_VERSION,
    isobatch: packageVersion(),
    signature: failure.signature,
    case_sha256: caseSha256(c),
    releases,
    first_failing: failing[0]?.name,
    last_failing: failing.at(-1)?.name,
    interrupted,
  };
}

function writeRecord(record: BisectRecord, out: string): void {
  try {
    mkdirSync(out, { recursive: true });
    writeFileSync(join(out, 'bisect.json'), `${JSON.stringify(record, null, 2)}\n`);
  } catch (error) {
    throw new IsobatchError('file', `cannot write to ${out}: ${(error as Error).message}`, { out });
  }
}

/** 1 if it fails in the newest release that ran it, 0 if it holds there, 3 if none ran it, 4 if interrupted. */
export function exitCodeOfBisect({ releases, interrupted }: BisectRecord): 0 | 1 | 3 | 4 {
  const newest = releases.findLast(({ verdict }) => verdict !== 'cannot run');
  if (interrupted) return 4;
  if (newest === undefined) return 3;
  return newest.verdict === 'passes' ? 0 : 1;
}
