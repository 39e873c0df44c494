/** The fault table for people (lines) and for programs (`faults.json`). */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { IsobatchError } from '../contract/errors.ts';
import { packageVersion } from '../properties/version.ts';
import { table } from '../reports/text.ts';
import type { FaultRow } from './table.ts';

const HEAD = [
  'fault',
  'status',
  'found by',
  'on',
  'cases',
  'seconds (kernels built)',
  'start-up',
  'tokens',
  'calls',
];
const RIGHT = [4, 5, 6, 7, 8];

const worst = (row: FaultRow, of: 'cases' | 'seconds' | 'startup_s') =>
  Math.max(...row.runs.map((run) => run[of]));

/** Middle of the worst seconds of what was found, undefined if nothing was. */
export function medianSeconds(rows: readonly FaultRow[]): number | undefined {
  const times = rows
    .filter(({ kind, status }) => (kind === 'fault' || kind === 'reference') && status === 'found')
    .map((row) => worst(row, 'seconds'))
    .sort((a, b) => a - b);
  const middle = times.length >> 1;
  return times.length % 2 === 1
    ? times[middle]
    : times.length > 0
      ? (times[middle - 1]! + times[middle]!) / 2
      : undefined;
}

function cells(row: FaultRow): string[] {
  const { name, status, runs, shrunk } = row;
  if (runs.length === 0) return [name, status];
  const unique = (list: (string | undefined)[]) =>
    [...new Set(list.filter((x) => x !== undefined))].join(', ');
  return [
    name,
    status,
    unique(runs.map(({ property }) => property)) || '-',
    unique(runs.map(({ model }) => model)) || '-',
    String(worst(row, 'cases')),
    worst(row, 'seconds').toFixed(2),
    worst(row, 'startup_s').toFixed(1),
    shrunk === undefined ? '-' : String(shrunk.tokens),
    shrunk === undefined ? '-' : String(shrunk.calls),
  ];
}

/** The table, its legend, and one line with the result. */
export function faultLines(rows: readonly FaultRow[]): string[] {
  const legend = [
    'cases, seconds, start-up: worst of three seeds; tokens, calls: the shrunk case of the slowest seed (white-box: steps)',
    'seconds count from the start of the workers; start-up, before that, loads models and compiles patched kernels',
  ];
  const trouble = rows
    .filter(({ reason }) => reason !== undefined)
    .map((row) => `${row.name}: ${row.reason}`);
  return [...table([HEAD, ...rows.map(cells)], RIGHT), '', ...legend, ...trouble, verdictLine(rows)];
}

function verdictLine(rows: readonly FaultRow[]): string {
  const parts: string[] = [];
  for (const [kind, name] of [
    ['fault', 'planted faults'],
    ['reference', 'reference faults'],
    ['canary', 'canaries'],
  ] as const) {
    const all = rows.filter((row) => row.kind === kind);
    const here = all.filter(({ status }) => status !== 'not here');
    const found = here.filter(({ status }) => status === 'found').length;
    const away = all.length - here.length;
    if (all.length > 0)
      parts.push(`${found} of ${here.length} ${name} found${away > 0 ? ` (${away} not here)` : ''}`);
  }
  const median = medianSeconds(rows);
  if (median !== undefined) parts.push(`median ${median.toFixed(2)} s`);
  for (const { name, status, runs } of rows.filter(({ kind }) => kind === 'equivalent'))
    parts.push(`${name} ${status}${runs[0] === undefined ? '' : ` after ${runs[0].cases} cases`}`);
  return parts.join(', ');
}

/** Writes `faults.json` and gives its path. Throws `file`. */
export function writeFaultTable(rows: readonly FaultRow[], out: string): string {
  const path = join(out, 'faults.json');
  const record = {
    version: 1,
    isobatch: packageVersion(),
    node: process.version,
    platform: `${process.platform} ${process.arch}`,
    median_s: medianSeconds(rows),
    faults: rows,
  };
  try {
    mkdirSync(out, { recursive: true });
    writeFileSync(path, `${JSON.stringify(record, null, 2)}\n`);
  } catch (error) {
    throw new IsobatchError('file', `cannot write ${path}: ${(error as Error).message}`, { path });
  }
  return path;
}
