/** Help texts, made from the command table. */
import { table } from '../reports/text.ts';
import type { Command } from './types.ts';

export function generalHelp(commands: readonly Command[]): string {
  const rows = commands.map((c) => [`  ${[c.name, ...(c.arguments ?? [])].join(' ')}`, c.summary]);
  return [
    'isobatch: the same answer, however you batch it.',
    '',
    'usage: isobatch COMMAND [options]',
    '',
    ...table(rows, []),
    '',
    'isobatch COMMAND --help shows its options; isobatch --version the version.',
    '',
    'Exit codes: 0 holds; 1 violated, or the subject crashed; 2 usage; 3 could not run; 4 interrupted.',
    '',
  ].join('\n');
}

export function commandHelp(command: Command): string {
  const rows = Object.entries(command.options).map(([name, spec]) => [
    `  --${name}${spec.value === undefined ? '' : ` ${spec.value}`}`,
    spec.describe,
  ]);
  return [
    `isobatch ${command.name}: ${command.summary}`,
    '',
    `usage: isobatch ${[command.name, ...(command.arguments ?? [])].join(' ')} [options]`,
    '',
    ...table(rows, []),
    '',
  ].join('\n');
}
