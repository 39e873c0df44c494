/** The child process of a libllama: which program, with which arguments and environment. */
import { fileURLToPath } from 'node:url';
import type { Program } from '../remote.ts';
import { checkPlatform } from './builds.ts';
import { resolveLib } from './fetch.ts';

/** A folder that does not exist. */
const NO_PROGRAMS = '/nonexistent';

/** Fetches a release if it must. Throws `usage` for an unknown release, `file` for what cannot be had. */
export async function llamaProgram(lib: string, isa?: string): Promise<Program> {
  checkPlatform();
  const files = await resolveLib(lib);
  const main = fileURLToPath(new URL('./serve-main.js', import.meta.url));
  return {
    name: `llama.cpp ${lib}`,
    file: process.execPath,
    args: [main, JSON.stringify({ files, isa })],
    // An abort of ggml starts a debugger, which takes seconds: newer releases can be told not to, older ones find none.
    env: { ...process.env, GGML_NO_BACKTRACE: '1', PATH: NO_PROGRAMS },
  };
}
