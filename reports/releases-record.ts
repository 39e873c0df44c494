/**
 * The matrix release x architecture x property, made of one campaign for each release: what each cell says, and why
 * there is nothing in it. Verdicts come with the campaigns; nothing is judged here.
 */
import { recipes } from '../golden/recipes.ts';
import { RULES } from '../properties/campaign-models.ts';
import type { CampaignResult, Status, UnitResult } from '../properties/campaign-result.ts';
import { joinStatus } from '../properties/campaign-verdict.ts';
import { packageVersion } from '../properties/version.ts';

/** What was done with one release. */
export interface ReleaseRun {
  readonly name: string;
  /** Models that it does not load, and its own words. */
  readonly refused: Readonly<Record<string, string>>;
  /** Undefined if it loads none, or if it could not be run. */
  readonly result?: CampaignResult;
  /** Why it could not be run. */
  readonly error?: string;
  /** Case files by signature. */
  readonly cases: Readonly<Record<string, string>>;
}

export interface MatrixCell {
  readonly release: string;
  readonly arch: string;
  readonly property: string;
  readonly status: Status | 'not loaded';
  readonly models: readonly string[];
  readonly cases: number;
  readonly compared: number;
  /** Of failures that count, each with its shrunk case if one was written. */
  readonly failures: readonly {
    readonly signature: string;
    readonly count: number;
    readonly case?: string;
  }[];
  /** Why it was skipped, not loaded or ended early. */
  readonly reasons: readonly string[];
}

export interface ReleasesRecord {
  readonly isobatch_releases: 1;
  readonly isobatch: string;
  readonly seed?: string;
  /** Releases that were run, oldest first, with the time each took. */
  readonly releases: readonly {
    readonly name: string;
    readonly error?: string;
    readonly verdict?: string;
    readonly cases: number;
    readonly elapsed_s?: number;
  }[];
  readonly architectures: readonly string[];
  readonly properties: readonly string[];
  readonly cells: readonly MatrixCell[];
  readonly interrupted: boolean;
}

export function releasesRecord(
  runs: readonly ReleaseRun[],
  models: readonly string[],
  interrupted: boolean,
): ReleasesRecord {
  const archOf = architectureNames(runs, models);
  const architectures = [...new Set(models.map((model) => archOf.get(model)!))];
  const properties = propertiesOf(runs);
  const cells = architectures.flatMap((arch) => {
    const own = models.filter((model) => archOf.get(model) === arch);
    return properties.flatMap((property) => runs.map((run) => cellOf(run, arch, property, own)));
  });
  return {
    isobatch_releases: 1,
    isobatch: packageVersion(),
    seed: runs.find((run) => run.result)?.result?.settings.seed,
    releases: runs.map(({ name, error, result }) => ({
      name,
      error,
      verdict: result?.verdict,
      cases: (result?.units ?? []).reduce((sum, unit) => sum + unit.tally.cases, 0),
      elapsed_s: result?.elapsed_s,
    })),
    architectures,
    properties,
    cells,
    interrupted,
  };
}

/** As a release says that loaded it; else as the recipe says; else its name. */
function architectureNames(runs: readonly ReleaseRun[], models: readonly string[]): Map<string, string> {
  const names = new Map<string, string>();
  for (const model of models) {
    const loaded = runs.flatMap((run) => run.result?.models ?? []).find((m) => m.name === model);
    const recipe = recipes.find(({ name }) => `recipe:${name}` === model);
    names.set(model, loaded?.info.arch ?? recipe?.arch ?? model);
  }
  return names;
}

/** In the order of the campaigns; rules inside of a subject only where a release shows them. */
function propertiesOf(runs: readonly ReleaseRun[]): string[] {
  const units = runs.flatMap((run) => run.result?.units ?? []);
  return [...new Set(units.filter((u) => u.model !== RULES).map((u) => u.property))];
}

function cellOf(run: ReleaseRun, arch: string, property: string, models: readonly string[]): MatrixCell {
  const units = (run.result?.units ?? []).filter((u) => u.property === property && models.includes(u.model));
  const cell = { release: run.name, arch, property };
  if (units.length === 0) {
    const reasons = run.error === undefined ? models.flatMap((m) => run.refused[m] ?? []) : [run.error];
    return { ...cell, status: 'not loaded', models: [], cases: 0, compared: 0, failures: [], reasons };
  }
  return {
    ...cell,
    status: joinStatus(units.map((u) => u.status)),
    models: units.map((u) => u.model),
    cases: units.reduce((sum, u) => sum + u.tally.cases, 0),
    compared: units.reduce((sum, u) => sum + u.tally.compared, 0),
    failures: failuresOf(units, run),
    reasons: [...new Set(units.flatMap((u) => u.reason ?? []))],
  };
}

function failuresOf(units: readonly UnitResult[], run: ReleaseRun): MatrixCell['failures'] {
  const counts = new Map<string, number>();
  for (const { status, tally } of units)
    if (status === 'failed')
      for (const [signature, n] of Object.entries(tally.signatures))
        counts.set(signature, (counts.get(signature) ?? 0) + n);
  return [...counts].map(([signature, count]) => ({ signature, count, case: run.cases[signature] }));
}

/** Of a library's last words only those that say what went wrong. */
export function shortReason(message: string): string {
  const unknown = /unknown model architecture: '[^']*'/.exec(message);
  if (unknown !== null) return unknown[0];
  const [first, ...said] = message.split('; ');
  const error = said.find((line) => /\berror\b|\bfailed\b|assert/i.test(line));
  return error === undefined ? message : `${first!.split(': ')[0]}: ${error}`;
}
