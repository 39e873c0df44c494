/** The memory of a context: one for each cache that its model needs. */
import type { MemoryKind } from '../../contract/batch.ts';
import type { Window } from '../../contract/subject.ts';
import type { CacheIndex, CacheSpec } from '../layout.ts';
import { AttentionMemory } from './attention.ts';
import { KeptStates } from './kept-states.ts';
import type { Memory } from './memory.ts';
import { RecurrentMemory } from './recurrent.ts';
import { SeveralMemories } from './several.ts';
import { UbatchMemory } from './ubatch.ts';

/** What kind of memory a model with these caches has. */
export function kindOf(caches: readonly CacheSpec[]): MemoryKind {
  if (caches.every(({ kind }) => kind === 'ubatch')) return 'none';
  const recurrent = hasStates(caches);
  const attention = caches.some(({ kind }) => kind === 'attention');
  return recurrent && attention ? 'hybrid' : recurrent ? 'recurrent' : 'attention';
}

/** Whether some layers have states. */
export function hasStates(caches: readonly CacheSpec[]): boolean {
  return caches.some(({ kind }) => kind === 'recurrent');
}

/** The windows of the layers that forget what lies before them. */
export function windowsOf(caches: readonly CacheSpec[]): Window[] {
  return caches.flatMap((cache) => (cache.kind === 'attention' && cache.window ? [cache.window] : []));
}

/** `layouts` has at least one. */
export function openMemory(layouts: readonly CacheIndex[], n_batch: number): Memory {
  const caches: readonly Memory[] = layouts.map((layout, at) => {
    if (layout.kind === 'recurrent')
      return layout.kept > 0 ? new KeptStates(layout, at) : new RecurrentMemory(layout, at);
    return layout.around === undefined
      ? new AttentionMemory(layout, n_batch, at)
      : new UbatchMemory(layout, n_batch, at);
  });
  const whole = layouts.findIndex((layout) => layout.kind === 'attention' && layout.window === undefined);
  return caches.length === 1 ? caches[0]! : new SeveralMemories(caches, caches[Math.max(0, whole)]!);
}
