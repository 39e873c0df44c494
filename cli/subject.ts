/** `isobatch subject check` and `isobatch subject serve`: both ends of the subject protocol. */

import { writeFrameSync } from '../properties/frames.ts';
import { checkSubject } from '../properties/subjects/check.ts';
import { openSubject, subjectSpec } from '../properties/subjects/registry.ts';
import { serveSubject } from '../properties/subjects/serve.ts';
import { paintFor } from '../reports/text.ts';
import { numberOption } from './args.ts';
import type { Args, Io } from './types.ts';

const COLOUR = { passed: 'green', failed: 'red', skipped: 'dim' } as const;

export async function runSubjectCheck(args: Args, io: Io): Promise<number> {
  const [command] = args.positionals as [string];
  const paint = paintFor(io.out);
  const counts = { passed: 0, failed: 0, skipped: 0 };
  await checkSubject(command, {
    models: args.list.model,
    timeout_s: numberOption(args, 'watchdog-seconds', { least: 0.1 }),
    signal: io.signal,
    onResult(result) {
      counts[result.status]++;
      if (args.flag.quiet && result.status !== 'failed') return;
      const why = result.reason === undefined ? '' : `: ${result.reason}`;
      io.out.write(`${paint(COLOUR[result.status], result.status.padEnd(7))} ${result.name}${why}\n`);
    },
  });
  const { passed, failed, skipped } = counts;
  io.out.write(`${passed} passed, ${failed} failed, ${skipped} skipped\n`);
  if (failed > 0) return 1;
  if (io.signal.aborted) return 4;
  return passed > 0 ? 0 : 3;
}

export async function runSubjectServe(args: Args, io: Io): Promise<number> {
  const { subject } = await openSubject(subjectSpec(args.text.subject, undefined, { lib: args.text.lib }));
  // Standard output belongs to the protocol; what a subject prints goes to the log.
  const write = io.err.write.bind(io.err);
  process.stdout.write = ((text: string | Uint8Array) => write(String(text))) as typeof process.stdout.write;
  const said_bye = await serveSubject(subject, process.stdin, (header, payload) =>
    writeFrameSync(1, header, payload),
  );
  process.stdin.destroy();
  return said_bye ? 0 : 1;
}
