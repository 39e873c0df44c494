/** The verbs of a worker: one function each, from a request to its answer, with events on the way. */

import type { IsobatchError } from '../contract/errors.ts';
import type { ModelInfo } from '../contract/subject.ts';
import type { RulesInfo } from '../contract/white.ts';
import { RULES } from './campaign-models.ts';
import { explainFailure } from './explain.ts';
import { FirstLook } from './first-look.ts';
import { prepareBounds } from './noise-rows.ts';
import { probeFailure } from './probe/failure.ts';
import type { Load } from './probe/story.ts';
import { errorRecord } from './protocol.ts';
import { sampleOf } from './sample.ts';
import { shrinkCase } from './shrinker.ts';
import { skipped } from './skipped.ts';
import { withTruth } from './truth.ts';
import type { Case, Env, Property } from './types.ts';
import { fingerprintOf, type Shown, skipReason, WorkerState } from './worker-env.ts';
import type {
  CampaignRequest,
  ExplainAnswer,
  ExplainRequest,
  ModelFacts,
  ProbeAnswer,
  ProbeRequest,
  PropertyFacts,
  ReplayAnswer,
  ReplayRequest,
  Request,
  Setting,
  ShrinkAnswer,
  ShrinkRequest,
} from './worker-messages.ts';
import { type Emit, generate, runCase, runRange } from './worker-run.ts';
import { runScopePart } from './worker-scope.ts';

let state: WorkerState | undefined;

/** The state for a setting; a worker serves one setting at a time. */
async function stateFor(setting: Setting): Promise<WorkerState> {
  if (state !== undefined && JSON.stringify(state.setting) === JSON.stringify(setting)) return state;
  await state?.kill();
  state = new WorkerState(setting);
  return state;
}

/** Ends the subject's process, if it has one. */
export async function endSubject(): Promise<void> {
  await state?.kill();
}

/** Serves one request. Throws what the parent shall be told as an error. */
export async function serveRequest(request: Request, emit: Emit): Promise<unknown> {
  const s = await stateFor(request.setting);
  switch (request.verb) {
    case 'probe':
      return probe(s, request, emit);
    case 'campaign':
      return campaign(s, request, emit);
    case 'generate': {
      const property = await s.property(request.property);
      emit({ event: 'setup', what: `${request.property} on ${request.model}` });
      return generate(property, await s.env(property, request.model), request.index);
    }
    case 'replay':
      return replay(s, request, emit);
    case 'shrink':
      return shrink(s, request, emit);
    case 'explain':
      return explain(s, request, emit);
    case 'scope':
      return runScopePart(s, request.part);
  }
}

async function unit(
  s: WorkerState,
  name: string,
  model: string,
  emit: Emit,
): Promise<{ property: Property; env: Env }> {
  const property = await s.property(name);
  emit({ event: 'setup', what: `${name} on ${model}` });
  const env = await s.env(property, model);
  if (!property.white)
    await prepareBounds(env, (what) => emit({ event: 'setup', what: `${model}: ${what}` }));
  return { property, env };
}

async function probe(s: WorkerState, request: ProbeRequest, emit: Emit): Promise<ProbeAnswer> {
  const known = await s.properties();
  for (const name of request.properties) await s.property(name);
  const open = await s.subject();
  const models: ModelFacts[] = [];
  const refused: Record<string, ReturnType<typeof errorRecord>> = {};
  for (const name of request.models) {
    emit({ event: 'setup', what: name });
    try {
      const { model, sha256 } = await s.model(name);
      const sample = sampleOf(model.info);
      models.push({ name, info: model.info, sha256: sha256(), ...(sample && { sample }) });
    } catch (error) {
      // It died of that model. A process of its own is started again for the next one; nobody else can go on.
      if ((error as IsobatchError).kind === 'subject' && open.kill === undefined) throw error;
      const record = errorRecord(error);
      refused[name] =
        record.kind === 'subject'
          ? { ...record, message: `${name} cannot be used here: ${record.message}` }
          : record;
    }
  }
  const wanted = request.properties.length > 0 ? request.properties : known.map((p) => p.name);
  const shown = await shownOf(
    s,
    known.filter((p) => wanted.includes(p.name)),
    models.map(({ info }) => info),
  );
  const properties = known
    .filter((p) => wanted.includes(p.name))
    .map((p): PropertyFacts => {
      const skip: Record<string, string> = {};
      const on = p.white ? [{ name: RULES, info: RULES_MODEL }] : models;
      for (const { name, info } of on) {
        const reason = skipReason(p, open, info, shown, s.setting);
        if (reason !== null) skip[name] = reason;
      }
      const { name, statement, white, classes } = p;
      return { name, statement, white, classes, skip };
    });
  const rules = shown.rules === undefined || 'none' in shown.rules ? {} : { rules: rulesInfo(shown.rules) };
  return {
    subject: { ...open.subject.info, ...rules },
    models,
    refused,
    properties,
    kernels: await kernelFacts(s),
  };
}

const RULES_MODEL = { arch: RULES, memory: 'none', n_vocab: 0, n_embd: 0, n_layer: 0, n_params: 0 } as const;

async function kernelFacts(s: WorkerState): Promise<ProbeAnswer['kernels']> {
  if (s.setting.subject.kind !== 'engine') return undefined;
  const { loadKernels } = await import('../native/binding.ts');
  const { native, isas } = loadKernels();
  return { isas: [...isas], native };
}

/** What another process shows of its inside, as far as these properties want to know. */
async function shownOf(
  s: WorkerState,
  properties: readonly Property[],
  models: readonly ModelInfo[],
): Promise<Shown> {
  const { subject, white } = await s.subject();
  const asks = white === undefined && properties.some((p) => p.asks === true);
  const looks = properties.some(
    (p) => p.looks === true && models.some((model) => p.skip(subject.info, model) === null),
  );
  return { ...(asks ? { rules: await s.shown() } : {}), ...(looks ? { cells: await s.cells() } : {}) };
}

function rulesInfo({ policies, keep_tail, quirks }: RulesInfo): RulesInfo {
  return { policies, keep_tail, quirks };
}

async function campaign(s: WorkerState, request: CampaignRequest, emit: Emit): Promise<object> {
  await s.turnTo(request.model);
  const { property, env } = await unit(s, request.property, request.model, emit);
  // Ranges report what they add to the histograms, so that this does not count.
  const fingerprint = request.fingerprint ? fingerprintOf(property, env) : undefined;
  await runRange(property, env, request, emit);
  return { fingerprint };
}

async function replay(s: WorkerState, request: ReplayRequest, emit: Emit): Promise<ReplayAnswer> {
  const c: Case = request.case;
  const { property, env } = await unit(s, c.property, c.model, emit);
  const model_sha256 = property.white ? '' : (await s.model(c.model)).sha256();
  const facts = {
    model_sha256,
    statement: property.statement,
    subject: env.subject,
    model_info: property.white ? undefined : env.model,
  };
  const shown = await shownOf(s, [property], [env.model]);
  const reason = skipReason(property, await s.subject(), env.model, shown, s.setting);
  if (reason !== null) return { outcome: skipped(reason), ...facts };
  emit({ event: 'case', property: c.property, model: c.model, first: c.index, count: 1 });
  return { outcome: await runCase(property, env, c), ...facts };
}

async function shrink(s: WorkerState, request: ShrinkRequest, emit: Emit): Promise<ShrinkAnswer> {
  const { failure } = request;
  const { property, env } = await unit(s, failure.case.property, failure.case.model, emit);
  const first = new FirstLook();
  const { missed } = failure.difference;
  if (missed?.by === 'copies') first.learn(failure.case.script!.params, missed.bound, missed.bound);
  const judge = (on: boolean) => (c: Case) => {
    first.on = on;
    return s.runOn(property, c, first);
  };
  const { tried, accepted } = await shrinkCase(property, env, failure, {
    deadline: Date.now() + request.milliseconds,
    skip: request.skip,
    announce: (c, key) => emit({ event: 'step', case: c, key }),
    smaller: (smaller) => emit({ event: 'smaller', failure: smaller }),
    taken: () => emit({ event: 'taken' }),
    run: judge(false),
    look: judge(true),
    envOf: (c) => s.env(property, c.model),
  });
  return { tried, accepted };
}

async function explain(s: WorkerState, request: ExplainRequest, emit: Emit): Promise<ExplainAnswer> {
  const { failure, milliseconds } = request;
  const { property, env } = await unit(s, failure.case.property, failure.case.model, emit);
  const looks = new FirstLook();
  const explanation = await explainFailure(property, env, failure, {
    deadline: Date.now() + milliseconds,
    // Bounds for the variations alone, not for the campaign's token tree.
    run: (c) => s.runOn(property, c, looks),
    progress: (sofar) => emit({ event: 'explained', explanation: sofar }),
  });
  // A probe may bring the worker down, too.
  emit({ event: 'explained', explanation });
  const { subject } = await s.subject();
  const load: Load = (bytes, name) => subject.load(bytes, name);
  const probe = await probeFailure({ load, model: env.model, subject: env.subject }, failure.case);
  return { explanation, difference: withTruth(env, failure), probe };
}
