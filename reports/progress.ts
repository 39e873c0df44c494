/** Progress of a campaign: one live line on a terminal, a plain line every ten seconds elsewhere. */

import type { Progress } from '../properties/campaign.ts';
import { plural } from '../properties/campaign-verdict.ts';
import { grouped, seconds } from './text.ts';

const LIVE_MS = 100;
const PLAIN_MS = 10_000;

interface Stream {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

export function progressLine(p: Progress): string {
  const of = p.total === undefined ? '' : ` of ${grouped(p.total)}`;
  const counts = p.stage === 'starting' ? '' : `, ${grouped(p.cases)}${of} cases`;
  const failures = p.failures > 0 ? `, ${p.failures} ${plural(p.failures, 'failure')}` : '';
  const what = p.what === undefined ? '' : `: ${p.what}`;
  return `${p.stage}${counts}${failures}, ${seconds(p.elapsed_s)}${what}`;
}

/** A reporter for a stream; `end` clears the live line. */
export function progressReporter(stream: Stream, now: () => number = Date.now) {
  const live = stream.isTTY === true;
  let last = live ? Number.NEGATIVE_INFINITY : now();
  let shown = false;
  return {
    show(p: Progress): void {
      if (now() - last < (live ? LIVE_MS : PLAIN_MS)) return;
      last = now();
      const line = progressLine(p);
      stream.write(live ? `\r\x1b[K${line.slice(0, (stream.columns ?? 80) - 1)}` : `${line}\n`);
      shown = live;
    },
    end(): void {
      if (shown) stream.write('\r\x1b[K');
      shown = false;
    },
  };
}
