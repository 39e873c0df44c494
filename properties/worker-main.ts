/**
 * The process in which cases run. It applies a planted fault before anything else is loaded, reads requests from
 * standard input, and writes events to descriptor 3, synchronously, so that what it announces is out before it can
 * crash. Whatever is printed is log for the parent.
 */
import { applyFault } from '../faults/apply.ts';
import { type Frame, FrameDecoder, writeFrameSync } from './frames.ts';
import { errorRecord } from './protocol.ts';
import type { Event, Request } from './worker-messages.ts';

const EVENTS = 3;

function emit(event: Event): void {
  writeFrameSync(EVENTS, event);
}

type Serve = typeof import('./worker-serve.ts');

let serve: Serve | undefined;

async function handle(frame: Frame): Promise<void> {
  try {
    // Loaded late: the fault must be in place first.
    if (serve === undefined) {
      const fault = process.env.ISOBATCH_FAULT;
      if (fault) await applyFault(fault);
      serve = await import('./worker-serve.ts');
    }
    const answer = await serve.serveRequest(frame.header as unknown as Request, emit);
    emit({ event: 'done', answer });
  } catch (error) {
    if (process.env.ISOBATCH_DEBUG === '1') console.error(error);
    emit({ event: 'error', error: errorRecord(error) });
  }
}

async function leave(): Promise<never> {
  await serve?.endSubject();
  process.exit(0);
}

const decoder = new FrameDecoder();
let queue: Promise<void> = Promise.resolve();

process.stdin.on('data', (chunk: Buffer) => {
  for (const frame of decoder.push(chunk)) queue = queue.then(() => handle(frame));
});
// The parent is gone, or has no more work.
process.stdin.on('end', () => void leave());
process.on('SIGTERM', () => void leave());
process.on('SIGINT', () => {}); // Ctrl-C is for the parent, which ends us
