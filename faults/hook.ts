/**
 * The module loader hook that plants a fault in our engine: while Node loads the compiled file of the fault, one
 * expression is replaced by another. Runs in Node's hook thread; `apply.ts` registers it after it has checked that
 * the expression stands in the file exactly once.
 */
import type { LoadHook } from 'node:module';

export interface HookData {
  /** URL of the compiled file. */
  readonly url: string;
  readonly find: string;
  readonly replace: string;
}

let planted: HookData | undefined;

export function initialize(data: HookData): void {
  planted = data;
}

export const load: LoadHook = async (url, context, nextLoad) => {
  const loaded = await nextLoad(url, context);
  // A query tells copies of a module apart; the fault belongs in all of them.
  if (planted === undefined || url.split('?')[0] !== planted.url) return loaded;
  const { find, replace } = planted;
  const source = Buffer.from(loaded.source as Uint8Array | string as string).toString('utf8');
  return { ...loaded, source: source.replace(find, () => replace) };
};
