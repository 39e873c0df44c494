/**
 * The folder of a report: `summary.json` for programs, `results.jsonl` with one record a line, `junit.xml` for CI,
 * and `cases/` with one self-contained file a failure.
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { IsobatchError } from '../contract/errors.ts';
import type { CampaignResult, FailureRecord } from '../properties/campaign-result.ts';
import { groupsOf } from '../properties/groups.ts';
import { boundSummary } from './bounds.ts';
import { type CaseFile, caseFileOf } from './case-file.ts';
import { junitXml } from './junit.ts';
import { propertyRows, totalsOf } from './summarize.ts';

/** Path of the case file of each failure, those that count first. */
export function caseFileNames(result: CampaignResult, out: string): Map<FailureRecord, string> {
  const names = new Map<FailureRecord, string>();
  [...result.failures, ...result.excused].forEach((failure, i) => {
    const { property, model } = failure;
    const plain = `${i + 1}-${property}-${model}`.replace(/[^A-Za-z0-9.-]+/g, '-').slice(0, 80);
    names.set(failure, join(out, 'cases', `${plain}.json`));
  });
  return names;
}

export function summaryOf(result: CampaignResult): object {
  const totals = totalsOf(result);
  const properties = Object.fromEntries(
    propertyRows(result).map(({ property, ...row }) => [property, row] as const),
  );
  const { ok, verdict, settings, subject, models, coverage, missing, scope, elapsed_s, fingerprint } = result;
  return {
    version: 1,
    isobatch: result.isobatch,
    ok,
    verdict,
    seed: settings.seed,
    cases: totals.cases,
    white: totals.white,
    compared: totals.compared,
    tokens: totals.tokens,
    mean_tokens: totals.mean_tokens,
    cases_per_minute: totals.cases_per_minute,
    white_per_minute: totals.white_per_minute,
    elapsed_s,
    failures: result.failures.length,
    groups: groupsOf(result.failures).map(({ first, also }) => ({
      signature: first.signature,
      property: first.property,
      model: first.model,
      also: also.map(({ signature, model }) => ({ signature, model })),
    })),
    known: knownSummary(result),
    against: againstSummary(result),
    interrupted: result.interrupted,
    stopped: result.stopped,
    fingerprint,
    subject,
    kernels: result.kernels,
    models,
    properties,
    bounds: boundSummary(result),
    small_scope: scope,
    missing,
    coverage,
    settings,
    node: process.version,
    platform: `${process.platform} ${process.arch}`,
  };
}

function knownSummary({ known, excused }: CampaignResult): object | undefined {
  if (known === undefined) return undefined;
  const failing = excused.flatMap(({ known: entry, count }) =>
    entry === undefined ? [] : [{ ...entry, count }],
  );
  const gone = known.gone.map(({ entry, cases }) => ({ ...entry, cases }));
  return { failing, no_longer_failing: gone, not_looked_at: known.unchecked };
}

function againstSummary({ against: subject, failures, excused }: CampaignResult): object | undefined {
  if (subject === undefined) return undefined;
  const told = [...failures, ...excused].filter((f) => f.against !== undefined);
  return {
    subject,
    failures: told.map(({ signature, model, against }) => ({ signature, model, ...against })),
  };
}

/** One record a unit, one a failure, in the order of the campaign. */
export function resultLines(result: CampaignResult): string {
  const records = [
    ...result.units.map((unit) => ({ record: 'unit', ...unit })),
    ...result.failures.map((failure) => ({ record: 'failure', ...failure })),
    ...result.excused.map((failure) => ({ record: 'excused failure', ...failure })),
  ];
  return records.map((record) => `${JSON.stringify(record)}\n`).join('');
}

/** Writes the report and gives the paths of case files. Throws `file` if the folder cannot be written. */
export function writeReport(result: CampaignResult, out: string): Map<FailureRecord, string> {
  const names = caseFileNames(result, out);
  const json = (value: object) => `${JSON.stringify(value, null, 2)}\n`;
  try {
    mkdirSync(out, { recursive: true });
    // Cases of an earlier run would be taken for failures of this one.
    rmSync(join(out, 'cases'), { recursive: true, force: true });
    if (names.size > 0) mkdirSync(join(out, 'cases'));
    writeFileSync(join(out, 'summary.json'), json(summaryOf(result)));
    writeFileSync(join(out, 'results.jsonl'), resultLines(result));
    writeFileSync(
      join(out, 'junit.xml'),
      junitXml(result, (f) => names.get(f)),
    );
    for (const [failure, path] of names) {
      const file: CaseFile = caseFileOf(failure, result, path);
      writeFileSync(path, json(file));
    }
  } catch (error) {
    throw new IsobatchError('file', `cannot write the report to ${out}: ${(error as Error).message}`, {
      out,
    });
  }
  return names;
}
