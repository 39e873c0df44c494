/**
 * How much of a planted deviation a property sees: the same cases on the plain subject as it should be, and once more
 * for each deviation, with another seed (so another weight, another key) for each case.
 *
 * Two shares are told apart. A deviation may change nothing in a case: the wrong weight is never used, the wrong
 * branch never taken. So for each case the outputs are also compared bit by bit with those of the right subject.
 */
import { IsobatchError } from '../../../contract/errors.ts';
import type { ContextParams, SubjectModel } from '../../../contract/subject.ts';
import { loadModel } from '../../../model/load.ts';
import type { Model } from '../../../model/types.ts';
import { oracleWhite } from '../../../oracle/white.ts';
import { modelBytes } from '../../campaign-models.ts';
import { runScript } from '../../run-script.ts';
import type { Case, Env, Property, Script } from '../../types.ts';
import { applies, DEVIATIONS, type DeviationKind } from './deviation.ts';
import { type PlainModel, plainModel, plainSubject } from './subject.ts';

/** What one deviation of one model came to. */
export interface Power {
  readonly model: string;
  /** `none`: the right subject; whatever is found there is a false alarm. */
  readonly deviation: DeviationKind;
  /** Cases that compared something. */
  readonly cases: number;
  /** Of these: cases in which some output has other bits than that of the right subject. */
  readonly changed: number;
  /** Of these: cases in which the property failed. */
  readonly found: number;
  /** Median size of what was found in derived standard deviations; null if the property does not say. */
  readonly median_sigmas: number | null;
  readonly seconds: number;
}

export interface PowerOptions {
  readonly property: Property;
  readonly models: readonly string[];
  /** Default: all that apply, `none` first. */
  readonly deviations?: readonly DeviationKind[];
  readonly cases: number;
  readonly seed: string;
  /** Only contexts that keep K and V so; default: as they are drawn. */
  readonly type_kv?: 'F32' | 'F16';
  /** Gets each row as soon as it is there. */
  readonly onRow?: (row: Power) => void;
}

/** A model whose weights can be replaced while properties keep what they know about its environment. */
class Exchangeable implements SubjectModel {
  current: PlainModel;

  constructor(current: PlainModel) {
    this.current = current;
  }

  get info() {
    return this.current.info;
  }

  open(params: ContextParams) {
    return this.current.open(params);
  }

  close(): void {}
}

/** An environment in which properties run on a model of the plain subject. */
export function plainEnv(loaded: SubjectModel, modelName: string, seed: string): Env {
  const subject = plainSubject().info;
  const { info: model } = loaded;
  return { seed, subject, model, modelName, loaded, oracle: oracleWhite, coverage: {}, restrict: {} };
}

/** Throws `usage` or `file` for unknown models, `usage` if the property does not apply. */
export async function measurePower(options: PowerOptions): Promise<Power[]> {
  const rows: Power[] = [];
  for (const name of options.models) {
    const model = loadModel(modelBytes(name), name);
    const bench = new Bench(options, model, name);
    for (const kind of options.deviations ?? DEVIATIONS) {
      if (!applies(kind, model)) continue;
      const row = await bench.measure(kind);
      rows.push(row);
      options.onRow?.(row);
    }
  }
  return rows;
}

/** One model with its cases. */
class Bench {
  readonly #options: PowerOptions;
  readonly #model: Model;
  readonly #loaded: Exchangeable;
  readonly #env: Env;
  /** By case: the bits of all outputs of the right subject. */
  readonly #right: (readonly number[])[] = [];

  constructor(options: PowerOptions, model: Model, name: string) {
    this.#options = options;
    this.#model = model;
    this.#loaded = new Exchangeable(plainModel(model));
    const { seed, type_kv } = options;
    this.#env = { ...plainEnv(this.#loaded, name, seed), restrict: { type_kv } };
    const reason = options.property.skip(this.#env.subject, this.#env.model);
    if (reason !== null)
      throw new IsobatchError('usage', `${options.property.name} does not run on ${name}: ${reason}`);
  }

  async measure(kind: DeviationKind): Promise<Power> {
    const { property, cases: n } = this.#options;
    const start = performance.now();
    const sigmas: number[] = [];
    const counts = { cases: 0, changed: 0, found: 0 };
    for (let i = 0; i < n; i++) {
      const c = property.generate(this.#env, i);
      const right = await this.#rightBits(c, i);
      this.#loaded.current = plainModel(this.#model, { deviation: kind, seed: i });
      const outcome = await property.run(this.#env, c);
      if (outcome.status === 'skipped' || outcome.compared === 0) continue;
      counts.cases++;
      if (differ(right, await bitsOf(this.#loaded, scriptOf(c)))) counts.changed++;
      if (outcome.status !== 'failed') continue;
      counts.found++;
      const size = outcome.failure?.difference.missed?.sigmas;
      if (size !== undefined) sigmas.push(size);
    }
    sigmas.sort((a, b) => a - b);
    const seconds = (performance.now() - start) / 1000;
    const median_sigmas = sigmas[sigmas.length >> 1] ?? null;
    return { model: this.#env.modelName, deviation: kind, ...counts, median_sigmas, seconds };
  }

  async #rightBits(c: Case, i: number): Promise<readonly number[]> {
    this.#right[i] ??= await bitsOf(plainModel(this.#model), scriptOf(c));
    return this.#right[i];
  }
}

function scriptOf(c: Case): Script {
  if (c.script === undefined) throw new IsobatchError('usage', `cases of ${c.property} run no model`);
  return c.script;
}

/** The bits of all output rows, one after the other; a call that is refused unexpectedly ends them. */
async function bitsOf(model: SubjectModel, script: Script): Promise<readonly number[]> {
  const { rows } = await runScript(model, script);
  return rows.flatMap((row) => (row === null ? [] : Array.from(row.bits)));
}

function differ(a: readonly number[], b: readonly number[]): boolean {
  return a.length !== b.length || a.some((bits, i) => bits !== b[i]);
}
