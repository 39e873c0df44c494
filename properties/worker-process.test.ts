import { describe, expect, it } from 'vitest';
import { watchdogsOf } from './worker-process.ts';

describe('the watchdogs of a worker', () => {
  it('end one that shares its process with the subject as soon as the subject hangs', () => {
    expect(watchdogsOf({ kind: 'engine' }, 30)).toEqual({ watchdog_s: 30, setup_watchdog_s: 300 });
  });

  it('leave it time for its own work where calls of the subject are watched by themselves', () => {
    for (const subject of [
      { kind: 'llama', lib: 'v0.5.0' },
      { kind: 'command', command: 'x' },
    ] as const) {
      const { watchdog_s, setup_watchdog_s } = watchdogsOf(subject, 30);
      expect(watchdog_s).toBeGreaterThanOrEqual(300);
      expect(setup_watchdog_s).toBeGreaterThanOrEqual(watchdog_s);
    }
  });
});
