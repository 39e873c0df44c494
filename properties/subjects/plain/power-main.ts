/**
 * Program: `node dist/properties/subjects/plain/power-main.js [CASES] [--model NAME ...] [--deviation KIND ...]
 * [--property NAME] [--kv F32|F16] [--seed S]` measures how much of each planted deviation a property sees (power.ts). Default: 200
 * cases of `reference` on the recipes and trained models of a campaign. A row is printed as soon as it is there.
 *
 * Exit code 0; 1 if something was found in the right subject, which is a false alarm; 2 usage.
 */
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { IsobatchError } from '../../../contract/errors.ts';
import { propertyByName } from '../../registry.ts';
import { DEVIATIONS, type DeviationKind } from './deviation.ts';
import { measurePower, type Power, type PowerOptions } from './power.ts';
import { PLAIN_MODELS } from './subject.ts';

const COLUMNS = [20, 16, 6, 8, 6, 7, 17, 14, 8] as const;
const HEAD = [
  'model',
  'deviation',
  'cases',
  'changed',
  'found',
  'share',
  'share of changed',
  'median sigmas',
  'seconds',
];

/** Names to the left, numbers to the right. */
function line(cells: readonly string[]): string {
  const padded = cells.map((cell, c) => (c < 2 ? cell.padEnd(COLUMNS[c]!) : cell.padStart(COLUMNS[c]!)));
  return padded.join(' ').trimEnd();
}

function share(part: number, whole: number): string {
  return whole === 0 ? '-' : `${((100 * part) / whole).toFixed(1)} %`;
}

function rowLine(r: Power): string {
  const { model, deviation, cases, changed, found, median_sigmas, seconds } = r;
  const counts = [cases, changed, found].map(String);
  const shares = [share(found, cases), share(found, changed)];
  const size = median_sigmas === null ? '-' : median_sigmas.toPrecision(2);
  return line([model, deviation, ...counts, ...shares, size, seconds.toFixed(1)]);
}

function usage(message: string): IsobatchError {
  return new IsobatchError('usage', message);
}

function optionsOf(args: readonly string[]): Omit<PowerOptions, 'onRow'> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      model: { type: 'string', multiple: true },
      deviation: { type: 'string', multiple: true },
      property: { type: 'string', default: 'reference' },
      kv: { type: 'string' },
      seed: { type: 'string', default: 'power' },
    },
  });
  const cases = Number(positionals[0] ?? 200);
  if (positionals.length > 1 || !Number.isInteger(cases) || cases < 1)
    throw usage('the only argument is the number of cases, a whole number from 1 on');
  const unknown = values.deviation?.find((kind) => !(DEVIATIONS as readonly string[]).includes(kind));
  if (unknown !== undefined)
    throw usage(`unknown deviation ${JSON.stringify(unknown)}; known are ${DEVIATIONS.join(', ')}`);
  const property = propertyByName(values.property);
  if (property.white) throw usage(`${property.name} looks at rules and runs no model`);
  const type_kv = values.kv;
  if (type_kv !== undefined && type_kv !== 'F32' && type_kv !== 'F16') throw usage('--kv is F32 or F16');
  const deviations = values.deviation as DeviationKind[] | undefined;
  return { property, models: values.model ?? PLAIN_MODELS, deviations, cases, seed: values.seed, type_kv };
}

/** Runs, prints, and gives the exit code. */
export async function main(
  args: readonly string[],
  print: (line: string) => void = console.log,
): Promise<number> {
  try {
    const options = optionsOf(args);
    print(`${options.property.name}, ${options.cases} cases for each row, seed ${options.seed}`);
    print(line(HEAD));
    const rows = await measurePower({ ...options, onRow: (row) => print(rowLine(row)) });
    return rows.some(({ deviation, found }) => deviation === 'none' && found > 0) ? 1 : 0;
  } catch (error) {
    // parseArgs throws its own TypeError for an unknown option.
    if (!(error instanceof IsobatchError) && !(error instanceof TypeError)) throw error;
    print(error.message);
    return 2;
  }
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  process.exitCode = await main(process.argv.slice(2));
}
