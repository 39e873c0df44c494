/**
 * What a worker holds between requests: the open subject, loaded models, and one `Env` for each pair of property and
 * model. Everything is made on first use.
 */
import { createHash } from 'node:crypto';
import { pathToFileURL } from 'node:url';
import type { MemoryKind } from '../contract/batch.ts';
import { IsobatchError } from '../contract/errors.ts';
import type { ModelInfo, SubjectModel } from '../contract/subject.ts';
import type { ShownRules } from '../contract/white.ts';
import { modelBytes, modelPath, modelSource, quantizedName, RULES, sha256Of } from './campaign-models.ts';
import { sha256OfFile } from './file-hash.ts';
import type { FirstLook } from './first-look.ts';
import { unknownName } from './names.ts';
import { quantizedFile } from './quantized.ts';
import { skipped } from './skipped.ts';
import { type OpenSubject, openSubject } from './subjects/registry.ts';
import { NO_CELLS, NO_RULES, shownKinds } from './subjects/shown.ts';
import type { Case, Env, Outcome, Property } from './types.ts';
import type { Setting } from './worker-messages.ts';
import { runCase } from './worker-run.ts';

export interface LoadedModel {
  readonly model: SubjectModel;
  /** Where it lies, if it is a file. */
  readonly file?: string;
  /** Hexadecimal; computed when it is first asked for, because a file may be large. Of a quantized model: of its base. */
  sha256(): string;
}

/** White-box properties run without a model; whoever asks for one has made a mistake. */
const RULES_INFO: ModelInfo = {
  arch: RULES,
  memory: 'none',
  n_vocab: 0,
  n_embd: 0,
  n_layer: 0,
  n_params: 0,
};

const NO_MODEL: SubjectModel = {
  info: RULES_INFO,
  open() {
    throw new IsobatchError('internal', 'a white-box property asked for a model');
  },
  close() {},
};

/** What a subject shows of its inside, where somebody has asked. */
export interface Shown {
  readonly rules?: ShownRules | { readonly none: string };
  readonly cells?: readonly MemoryKind[] | { readonly none: string };
}

export class WorkerState {
  readonly setting: Setting;
  #open: Promise<OpenSubject> | undefined;
  #shown: Promise<ShownRules | { readonly none: string }> | undefined;
  #cells: Promise<readonly MemoryKind[] | { readonly none: string }> | undefined;
  #properties: Promise<readonly Property[]> | undefined;
  readonly #models = new Map<string, Promise<LoadedModel>>();
  readonly #envs = new Map<string, Promise<Env>>();

  #turned: string | undefined;

  constructor(setting: Setting) {
    this.setting = setting;
  }

  subject(): Promise<OpenSubject> {
    this.#open ??= openSubject(this.setting.subject, { call_timeout_s: this.setting.call_timeout_s });
    return this.#open;
  }

  /** The rules that a subject in another process shows, or why none. Asked once. */
  shown(): Promise<ShownRules | { readonly none: string }> {
    this.#shown ??= this.subject().then((open) => open.shown?.() ?? { none: NO_RULES });
    return this.#shown;
  }

  /** Kinds of memory whose recurrent cells the subject shows, or why none. Asked once. */
  cells(): Promise<readonly MemoryKind[] | { readonly none: string }> {
    this.#cells ??= this.subject().then(({ subject }) => shownKinds(subject));
    return this.#cells;
  }

  properties(): Promise<readonly Property[]> {
    this.#properties ??= loadProperties(this.setting.properties_module);
    return this.#properties;
  }

  /** Throws `usage` with the nearest name. */
  async property(name: string): Promise<Property> {
    const all = await this.properties();
    const found = all.find((p) => p.name === name);
    if (found !== undefined) return found;
    throw unknownName(
      'property',
      name,
      all.map((p) => p.name),
    );
  }

  model(name: string): Promise<LoadedModel> {
    let loading = this.#models.get(name);
    if (loading === undefined) {
      loading = this.#load(name);
      this.#models.set(name, loading);
    }
    return loading;
  }

  async #load(name: string): Promise<LoadedModel> {
    const { subject } = await this.subject();
    const quantized = quantizedName(name);
    const source = modelSource(quantized?.base ?? name);
    let sha256: string | undefined;
    const hash = () => ('path' in source ? sha256OfFile(source.path) : sha256Of(source.bytes));
    const facts = {
      sha256() {
        sha256 ??= hash();
        return sha256;
      },
    };
    if (quantized !== undefined) {
      const file = await quantizedFile(subject, source, quantized.type, name);
      return { model: await subject.loadFile!(file, name), file, ...facts };
    }
    // Whoever cannot load by path gets the bytes, however many they are.
    if ('path' in source && subject.loadFile !== undefined)
      return { model: await subject.loadFile(source.path, name), file: source.path, ...facts };
    const bytes = 'path' in source ? modelBytes(name) : source.bytes;
    return { model: await subject.load(bytes, name), file: modelPath(name), ...facts };
  }

  env(property: Property, model: string): Promise<Env> {
    const key = `${property.name} ${model}`;
    let making = this.#envs.get(key);
    if (making === undefined) {
      making = this.#makeEnv(property, model);
      this.#envs.set(key, making);
    }
    return making;
  }

  async #makeEnv(property: Property, modelName: string): Promise<Env> {
    const { subject, white } = await this.subject();
    const { oracleWhite } = await import('../oracle/white.ts');
    const shown = white === undefined && property.asks === true ? await this.shown() : undefined;
    const found = property.white ? undefined : await this.model(modelName);
    const loaded = found?.model ?? NO_MODEL;
    return {
      seed: this.setting.seed,
      subject: subject.info,
      model: loaded.info,
      modelName,
      loaded,
      modelFile: found?.file,
      load: (bytes, name) => subject.load(bytes, name),
      ...(subject.loadFile && { loadFile: subject.loadFile.bind(subject) }),
      reference: this.setting.reference,
      white,
      ...(shown === undefined || 'none' in shown ? {} : { shown }),
      oracle: oracleWhite,
      coverage: {},
      p: this.setting.p,
      about_sharing: property.name === 'share',
      restrict: this.setting.restrict,
    };
  }

  /** Cases of this model follow: a subject that is restarted between models is, if it ran another one. */
  async turnTo(model: string): Promise<void> {
    const before = this.#turned;
    this.#turned = model;
    if (before !== undefined && before !== model) await (await this.subject()).restart?.();
  }

  /** Runs a case on the model that it names; a model that the subject does not take is no finding. */
  async runOn(property: Property, c: Case, first_look?: FirstLook): Promise<Outcome> {
    let env: Env;
    try {
      env = await this.env(property, c.model);
      if (first_look !== undefined && !env.subject.bit_invariant) env = withLook(env, first_look);
    } catch (error) {
      if (!(error instanceof IsobatchError) || error.kind === 'subject') throw error;
      return skipped(error.message);
    }
    return runCase(property, env, c);
  }

  /** Ends what the subject has started. */
  async kill(): Promise<void> {
    (await this.#open?.catch(() => undefined))?.kill?.();
  }
}

const looking = new WeakMap<Env, Env>();

/** The same environment for every case of one search. */
function withLook(env: Env, first_look: FirstLook): Env {
  let looks = looking.get(env);
  if (looks?.first_look !== first_look) {
    looks = { ...env, first_look };
    looking.set(env, looks);
  }
  return looks;
}

async function loadProperties(module: string | undefined): Promise<readonly Property[]> {
  if (module === undefined) return (await import('./registry.ts')).properties;
  try {
    const { properties } = await import(pathToFileURL(module).href);
    return properties;
  } catch (error) {
    throw new IsobatchError('file', `cannot load the properties ${module}: ${(error as Error).message}`, {
      module,
    });
  }
}

/** Why a property does not apply to a subject and a model, or null. `shown`: what another process shows. */
export function skipReason(
  property: Property,
  open: OpenSubject,
  model: ModelInfo,
  shown: Shown = {},
  asked: Pick<Env, 'reference'> = {},
): string | null {
  if (property.white && open.white === undefined) {
    if (property.asks !== true || shown.rules === undefined) return NO_RULES;
    if ('none' in shown.rules) return shown.rules.none;
  }
  if (property.white && open.white !== undefined) {
    const reason = property.skipRules?.(open.white) ?? null;
    if (reason !== null) return reason;
  }
  return (
    property.skip(open.subject.info, model, asked) ??
    (property.looks === true ? hiddenCells(model, shown.cells) : null)
  );
}

function hiddenCells({ memory }: ModelInfo, cells: Shown['cells']): string | null {
  if (cells === undefined) return NO_CELLS;
  if ('none' in cells) return cells.none;
  return cells.includes(memory) ? null : `the subject does not show the cells of ${memory} memory`;
}

/** Cases whose hash identifies a generator. */
const FINGERPRINT_CASES = 100;

/** Hash of the first hundred cases of a property on a model: 16 hex digits. */
export function fingerprintOf(property: Property, env: Env): string {
  const hash = createHash('sha256');
  for (let i = 0; i < FINGERPRINT_CASES; i++) hash.update(JSON.stringify(property.generate(env, i)));
  return hash.digest('hex').slice(0, 16);
}
