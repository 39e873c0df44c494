/** `isobatch verify --fault all`: runs the fault table, prints it and writes it. */
import { faultTable, type TableHooks, unsound } from '../faults/table.ts';
import { faultLines, writeFaultTable } from '../faults/table-text.ts';
import type { VerifyOptions } from '../properties/campaign.ts';
import { progressReporter } from '../reports/progress.ts';
import type { Io } from './types.ts';

/** 0 if everything is found and equivalent mutants stay green, 1 if not, 4 if interrupted. */
export async function runFaultTable(
  options: VerifyOptions,
  { out, quiet, seeds }: { readonly out: string; readonly quiet: boolean; readonly seeds?: number },
  io: Io,
): Promise<number> {
  const progress = progressReporter(io.err);
  const say = (line: string) => {
    progress.end();
    if (!quiet) io.err.write(`${line}\n`);
  };
  const hooks: TableHooks = {
    signal: io.signal,
    onStep: say,
    onProgress: quiet ? undefined : progress.show,
    onRow: ({ name, status }) => say(`${name}: ${status}`),
  };
  const rows = await faultTable(options, hooks, seeds).finally(progress.end);
  const lines = faultLines(rows);
  for (const line of quiet ? lines.slice(-1) : lines) io.out.write(`${line}\n`);
  const path = writeFaultTable(rows, out);
  if (!quiet) io.out.write(`report: ${path}\n`);
  if (unsound(rows).length > 0) return 1;
  return io.signal.aborted ? 4 : 0;
}
