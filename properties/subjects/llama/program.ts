/** The child process of a libllama: which program, with which arguments and environment. */
import { fileURLToPath } from 'node:url';
import type { Program } from '../remote.ts';
import { checkPlatform } from './builds.ts';
import { resolveLib } from './fetch.ts';

/** Fetches a release if it must. Throws `usage` for an unknown release, `file` for what cannot be had. */
export async function llamaProgram(lib: string, isa?: string): Promise<Program> {
  checkPlatform();
  const files = await resolveLib(lib);
  const main = fileURLToPath(new URL('./serve-main.js', import.meta.url));
  return {
    name: `llama.cpp ${lib}`,
    file: process.execPath,
    args: [main, JSON.stringify({ files, isa })],
    // Without it an abort of ggml starts a debugger.
    env: { ...process.env, GGML_NO_BACKTRACE: '1' },
  };
}
