/**
 * The public interface: the contract, our engine, the oracle, models, and campaigns as functions.
 *
 * @packageDocumentation
 */
export * from './contract/batch.ts';
export { type ErrorKind, IsobatchError } from './contract/errors.ts';
export type * from './contract/subject.ts';
export type * from './contract/white.ts';
export { BIT_CONTRACT, engineSubject } from './engine/subject.ts';
export { engineWhite } from './engine/white.ts';
export { perplexity } from './golden/perplexity.ts';
export { buildRecipe, recipeNames } from './golden/recipes.ts';
export { readGguf, writeGguf } from './model/gguf.ts';
export { loadModel } from './model/load.ts';
export { completeBatch } from './oracle/batch.ts';
export { Sequences } from './oracle/entries.ts';
export { carriedLogits, logits, roundedLogits } from './oracle/forward.ts';
export { cauchy, keyed, type Rounding } from './oracle/rounding.ts';
export { oracleWhite } from './oracle/white.ts';
export { againstSpec } from './properties/against.ts';
export { type VerifyOptions, verify } from './properties/campaign.ts';
export { readKnown } from './properties/known.ts';
export { properties } from './properties/registry.ts';
export { remoteSubject } from './properties/subjects/remote.ts';
export type { Case, Explanation, Failure, Outcome, Property } from './properties/types.ts';
export { DEFAULT_P, judge, widthOf } from './properties/verdict.ts';
export { readCaseFile } from './reports/case-read.ts';
