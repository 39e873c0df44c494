#!/usr/bin/env node
/** The program: finds the command, runs it, and turns every error into one line and an exit code. */
import { realpathSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { IsobatchError } from '../contract/errors.ts';
import { packageVersion } from '../properties/version.ts';
import { findCommand, readArgs } from './args.ts';
import { commandHelp, generalHelp } from './help.ts';
import { commands } from './table.ts';
import type { Io } from './types.ts';

/** The exit code of an error: 1 the subject died, 2 usage, 3 everything that could not run. */
export function exitCodeOfError(error: unknown): number {
  if (!(error instanceof IsobatchError)) return 3;
  if (error.kind === 'usage') return 2;
  return error.kind === 'subject' ? 1 : 3;
}

/** One line for people; never a stack, unless ISOBATCH_DEBUG=1 asks for it. */
export function errorText(error: unknown, env: NodeJS.ProcessEnv = process.env): string {
  const e = error as Partial<Error> & { kind?: string };
  const ours = error instanceof IsobatchError && error.kind !== 'internal';
  const line = ours
    ? `isobatch: ${e.message}\n`
    : `isobatch: ${e.message ?? String(error)}; this is a bug in isobatch\n`;
  return env.ISOBATCH_DEBUG === '1' && !ours ? `${line}${e.stack ?? ''}\n` : line;
}

/** Runs the words of a command line and gives the exit code. */
export async function runCli(words: readonly string[], io: Io): Promise<number> {
  try {
    const [first] = words;
    if (first === undefined || first === '--help' || first === '-h' || first === 'help') {
      io.out.write(generalHelp(commands));
      return first === undefined ? 2 : 0;
    }
    if (first === '--version') {
      io.out.write(`${packageVersion()}\n`);
      return 0;
    }
    const [command, rest] = findCommand(words, commands);
    const args = readArgs(command, rest);
    if (args.flag.help) {
      io.out.write(commandHelp(command));
      return 0;
    }
    return await command.run(args, io);
  } catch (error) {
    if (io.signal.aborted) {
      io.err.write('isobatch: interrupted before there was anything to report\n');
      return 4;
    }
    io.err.write(errorText(error));
    return exitCodeOfError(error);
  }
}

async function main(): Promise<void> {
  const interrupt = new AbortController();
  process.on('SIGINT', () => {
    if (interrupt.signal.aborted) process.exit(4); // the second time: at once
    interrupt.abort();
  });
  process.on('SIGTERM', () => interrupt.abort());
  // A reader that is gone (`isobatch ... | head`) is no reason for a stack trace.
  process.stdout.on('error', () => process.exit(process.exitCode ?? 3));
  const io: Io = { out: process.stdout, err: process.stderr, signal: interrupt.signal };
  process.exitCode = await runCli(process.argv.slice(2), io);
}

const started = process.argv[1];
if (started !== undefined && realpathSync(started) === fileURLToPath(import.meta.url)) await main();
