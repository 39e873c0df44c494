/**
 * Which subject a campaign runs on: our engine, the plain second implementation of the forward pass, a module that
 * exports a subject, or a command behind the subject protocol.
 * Everything is loaded on demand, because a planted fault must be in place before the engine is.
 */
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { IsobatchError } from '../../contract/errors.ts';
import type { Subject } from '../../contract/subject.ts';
import type { ShownRules, WhiteBox } from '../../contract/white.ts';
import type { CompleteBatchRule } from '../small-scope/index.ts';
import { remoteSubject } from './remote.ts';
import { shownRules } from './shown.ts';

export type SubjectSpec =
  | { readonly kind: 'engine' }
  | { readonly kind: 'plain' }
  /** Real llama.cpp: a release name or the path of a libllama, and the instruction set that is pinned. */
  | { readonly kind: 'llama'; readonly lib: string; readonly isa?: string }
  | { readonly kind: 'module'; readonly path: string }
  | { readonly kind: 'command'; readonly command: string };

/** An open subject, and its rules if it shows them. */
export interface OpenSubject {
  readonly subject: Subject;
  readonly white?: WhiteBox;
  /** The rules of a subject in another process, or why it shows none. */
  readonly shown?: () => Promise<ShownRules | { readonly none: string }>;
  /** How it validates and completes a batch, if it shows that. */
  readonly complete?: CompleteBatchRule;
  /** Ends a child process of the subject at once. */
  kill?(): void;
  /** Goes on in a new child process, so that what one model did to the memory of a library is no other model's. */
  restart?(): Promise<void>;
}

export interface OpenOptions {
  readonly call_timeout_s?: number;
}

/** Reads `--subject` and `--subject-cmd`. Throws `usage`. */
export function subjectSpec(
  subject: string | undefined,
  command: string | undefined,
  llama: { readonly lib?: string; readonly isa?: string } = {},
): SubjectSpec {
  if (llama.lib !== undefined && (subject ?? 'llama') !== 'llama')
    throw new IsobatchError('usage', '--lib is for --subject llama', { subject });
  if (subject === 'llama' || (subject === undefined && command === undefined && llama.lib !== undefined)) {
    if (llama.lib === undefined)
      throw new IsobatchError(
        'usage',
        '--subject llama needs --lib: the path of a libllama.so, or a release such as v0.5.0',
      );
    // A path stays right wherever the worker runs.
    const lib = /[/\\]|\.so$/.test(llama.lib) ? resolve(llama.lib) : llama.lib;
    return { kind: 'llama', lib, ...(llama.isa === undefined ? {} : { isa: llama.isa }) };
  }
  if (subject !== undefined && command !== undefined)
    throw new IsobatchError('usage', 'give --subject or --subject-cmd, not both');
  if (command !== undefined) return { kind: 'command', command };
  if (subject === undefined || subject === 'engine') return { kind: 'engine' };
  if (subject === 'plain') return { kind: 'plain' };
  if (/\.[mc]?js$/.test(subject)) return { kind: 'module', path: resolve(subject) };
  throw new IsobatchError(
    'usage',
    `unknown subject ${subject}: it is "engine", "plain", "llama" or the path of a compiled module (.js, .mjs) that exports \`subject\``,
    { subject },
  );
}

/** In words, as one would type it. */
export function specInWords(spec: SubjectSpec): string {
  if (spec.kind === 'engine' || spec.kind === 'plain') return spec.kind;
  if (spec.kind === 'llama') return `llama.cpp ${spec.lib}${spec.isa === undefined ? '' : ` (${spec.isa})`}`;
  return spec.kind === 'module' ? spec.path : spec.command;
}

/** Options that choose this subject on the command line. */
export function specOptions(spec: SubjectSpec): string[] {
  if (spec.kind === 'engine') return [];
  if (spec.kind === 'plain') return ['--subject', 'plain'];
  if (spec.kind === 'llama')
    return ['--subject', 'llama', '--lib', spec.lib, ...(spec.isa === undefined ? [] : ['--isa', spec.isa])];
  return spec.kind === 'module' ? ['--subject', spec.path] : ['--subject-cmd', spec.command];
}

/** Opens a subject. Throws `file` if it is not there, `usage` if it is none, `subject` if it dies. */
export async function openSubject(spec: SubjectSpec, options: OpenOptions = {}): Promise<OpenSubject> {
  if (spec.kind === 'command') {
    const subject = await remoteSubject(spec.command, { timeout_s: options.call_timeout_s });
    return { subject, shown: () => shownRules(subject), kill: () => subject.kill() };
  }
  if (spec.kind === 'llama') return openLlama(spec.lib, spec.isa, options);
  if (spec.kind === 'module') return openModule(spec.path);
  if (spec.kind === 'plain') return { subject: (await import('./plain/subject.ts')).plainSubject() };
  const { faultPatches } = await import('../../faults/apply.ts');
  const { engineSubject } = await import('../../engine/subject.ts');
  const { makeEngineWhite } = await import('../../engine/white.ts');
  const patches = faultPatches();
  const { completeBatch } = await import('../../engine/batch.ts');
  const library = patches.length > 0 ? { patches } : {};
  const subject = engineSubject(library);
  return { subject, white: makeEngineWhite(library), complete: completeBatch };
}

async function openLlama(lib: string, isa: string | undefined, options: OpenOptions): Promise<OpenSubject> {
  const { llamaProgram } = await import('./llama/program.ts');
  const subject = await remoteSubject(await llamaProgram(lib, isa), { timeout_s: options.call_timeout_s });
  return {
    subject,
    shown: () => shownRules(subject),
    kill: () => subject.kill(),
    restart: () => subject.restart(),
  };
}

async function openModule(path: string): Promise<OpenSubject> {
  let module: { subject?: unknown; white?: unknown };
  try {
    module = await import(pathToFileURL(path).href);
  } catch (error) {
    throw new IsobatchError('file', `cannot load the subject ${path}: ${(error as Error).message}`, { path });
  }
  // A function is called for it, so that a module may need time to get ready.
  const made: unknown = typeof module.subject === 'function' ? await module.subject() : module.subject;
  if (typeof (made as Subject | undefined)?.load !== 'function')
    throw new IsobatchError('usage', `the module ${path} exports no \`subject\` with a load function`, {
      path,
    });
  return { subject: made as Subject, white: module.white as WhiteBox | undefined };
}
