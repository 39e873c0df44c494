/** The exhaustive small scope, in one call: rules from empty memory, slots from every start, and a model end to end. */
import type { Env } from '../types.ts';
import { type EndToEndScope, smallScopeEndToEnd } from './end-to-end.ts';
import type { ScopeResult } from './result.ts';
import { type RulesScope, smallScopeRules } from './rules.ts';
import { smallScopeSlots } from './slots.ts';

export interface SmallScope {
  readonly rules: ScopeResult;
  readonly slots: ScopeResult;
  /** By model name. */
  readonly models: Readonly<Record<string, EndToEndScope>>;
}

/** Everything counted: in each part `enumerated` equals `formula`, and `failed` should be 0. */
export async function smallScope(scope: RulesScope, envs: readonly Env[] = []): Promise<SmallScope> {
  const models: Record<string, EndToEndScope> = {};
  for (const env of envs) models[env.modelName] = await smallScopeEndToEnd(env);
  return { rules: smallScopeRules(scope), slots: smallScopeSlots(scope), models };
}

export type { EndToEndScope } from './end-to-end.ts';
export { smallScopeEndToEnd } from './end-to-end.ts';
export type { CompleteBatchRule } from './enumerate.ts';
export type { ScopeFailure, ScopeResult } from './result.ts';
export { type RulesScope, smallScopeRules } from './rules.ts';
export { START_STATES, smallScopeSlots, startStates } from './slots.ts';
