/**
 * Applies a planted fault to this process: a worker that is started with ISOBATCH_FAULT=NAME calls `applyFault`
 * before anything of the engine is loaded. Faults of the engine's TypeScript go through a loader hook (`hook.ts`);
 * those of native sources become patches of the native build, which the engine asks for with `faultPatches`.
 */
import { readFileSync } from 'node:fs';
import { register } from 'node:module';
import { IsobatchError } from '../contract/errors.ts';
import { unknownName } from '../properties/names.ts';

export interface Fault {
  readonly name: string;
  /** Of the sources, from the root: `engine/split.ts`, `native/src/matmul.cpp`. */
  readonly file: string;
  /** Must stand in the (compiled) file exactly once. */
  readonly find: string;
  readonly replace: string;
  /** The real bug that it stands for. */
  readonly standsFor: string;
  readonly describe: string;
}

/** A replacement in a native source file. */
export interface NativePatch {
  readonly file: string;
  readonly find: string;
  readonly replace: string;
}

let patches: readonly NativePatch[] = [];

/** Patches that the native build must be made with; empty without a native fault. */
export function faultPatches(): readonly NativePatch[] {
  return patches;
}

/** Everything that can be planted: faults, canaries and equivalent mutants. */
export async function knownFaults(): Promise<readonly Fault[]> {
  const { allFaults } = await import('./registry.ts');
  return allFaults;
}

/** Throws `usage` if there is none of this name. */
export async function faultByName(name: string): Promise<Fault> {
  const faults = await knownFaults();
  const fault = faults.find((f) => f.name === name);
  if (fault !== undefined) return fault;
  throw unknownName(
    'fault',
    name,
    faults.map((f) => f.name),
  );
}

/** Plants a fault in this process. Throws `usage` if it is unknown or does not fit its file any more. */
export async function applyFault(name: string): Promise<void> {
  plantFault(await faultByName(name), new URL('..', import.meta.url));
}

/** Plants a fault; `root` is the folder (URL) of the compiled code. */
export function plantFault(fault: Fault, root: URL): void {
  const { file, find, replace } = fault;
  if (!file.endsWith('.ts')) {
    patches = [...patches, { file, find, replace }];
    return;
  }
  const url = new URL(file.replace(/\.ts$/, '.js'), root);
  const times = readSource(fault, url).split(find).length - 1;
  if (times !== 1)
    throw new IsobatchError(
      'usage',
      `the fault ${fault.name} does not fit: its expression stands ${times} times in ${file}, must be once`,
      { fault: fault.name, file, times },
    );
  register('./hook.js', { parentURL: import.meta.url, data: { url: url.href, find, replace } });
}

function readSource(fault: Fault, url: URL): string {
  try {
    return readFileSync(url, 'utf8');
  } catch {
    throw new IsobatchError(
      'usage',
      `the fault ${fault.name} needs the compiled file of ${fault.file}, which is not there: build first`,
      { fault: fault.name, file: fault.file },
    );
  }
}
