/**
 * Reads a case file and believes nothing: every field that replay uses is checked, down to each token, and every
 * refusal is an error of kind `file` that names the field. Numbers of calls and rows must point at calls and rows that
 * are there, so that whoever runs the case afterwards need not ask again.
 */
import { type MemoryKind, SPLIT_POLICIES } from '../contract/batch.ts';
import { IsobatchError } from '../contract/errors.ts';
import { POOLINGS } from '../contract/subject.ts';
import { type Field, parseJson, readJson } from '../properties/fields.ts';
import type { Call, Script } from '../properties/types.ts';
import { SMALL_SCOPE } from '../properties/worker-scope.ts';
import { CASE_VERSION, type CaseFile } from './case-file.ts';
import { checkWhite, isWhite } from './case-read-white.ts';

/** No context of a case is larger: cells, tokens of a batch, sequences. */
const LARGEST = 1 << 20;
const MOST_SEQUENCES = 1 << 12;
const GRADES = ['no roundings explain it', 'a conspiracy of roundings', 'not graded'] as const;
const MEMORIES: readonly MemoryKind[] = ['attention', 'recurrent', 'hybrid', 'none'];

/** Reads a case file. Throws `file` if it cannot be read or is no case file of this version. */
export function readCaseFile(path: string): CaseFile {
  return checkCaseFile(readJson(path, 'the case'));
}

/** The same for a text. */
export function parseCaseFile(text: string, path: string): CaseFile {
  return checkCaseFile(parseJson(text, path, 'the case'));
}

function checkCaseFile(file: Field): CaseFile {
  checkVersion(file);
  const texts = ['isobatch', 'seed', 'model', 'model_sha256', 'replay', 'again'];
  for (const key of texts) file.get(key).text();
  for (const key of ['statement', 'fingerprint', 'fault', 'isa', 'properties_module', 'log'])
    file.optional(key)?.text();
  file.get('index').integer({ least: -1 });
  const p = file.optional('p');
  if (p !== undefined && !(p.number() > 0 && p.number() < 1)) p.bad('a probability between 0 and 1');
  file.optional('count')?.integer({ least: 1 });
  const reference = file.optional('reference');
  if (reference !== undefined && !['oracle', 'self'].includes(reference.text()))
    reference.bad('"oracle" or "self"');
  checkSubject(file);
  checkModelInfo(file.optional('model_info'));
  checkReplayable(file);
  const builtIn = file.value !== null && file.optional('properties_module') === undefined;
  checkCase(file.get('case'), builtIn);
  const original = file.optional('original');
  if (original !== undefined) checkCase(original, builtIn);
  checkFailure(file.get('failure'), file.get('case'));
  return file.value as CaseFile;
}

function checkVersion(file: Field): void {
  const version = file.get('isobatch_case');
  if (version.value === CASE_VERSION) return;
  if (version.value === undefined)
    throw new IsobatchError('file', `${file.file} is not a case file: it has no field isobatch_case`, {
      path: file.file,
    });
  const again = file.get('again').value;
  const anew = typeof again === 'string' ? `; to keep the case anew run: ${again}` : '';
  throw new IsobatchError(
    'file',
    `${file.file} is a case file of version ${JSON.stringify(version.value)}, this isobatch reads version ${CASE_VERSION}${anew}`,
    { path: file.file, field: 'isobatch_case', got: version.value, want: CASE_VERSION },
  );
}

/** What lies in a report and cannot be run by itself. */
function checkReplayable(file: Field): void {
  const property = file.get('case').get('property');
  if (property.value !== SMALL_SCOPE) return;
  const again = file.get('again').text();
  throw new IsobatchError(
    'file',
    `${file.file} keeps an input of the small scope, which is enumerated and not replayed; run: ${again}`,
    { path: file.file, field: property.name, got: property.value },
  );
}

function checkSubject(file: Field): void {
  const subject = file.get('subject');
  const kind = subject.get('kind').oneOf(['engine', 'plain', 'module', 'command', 'llama']);
  if (kind === 'module') subject.get('path').text();
  if (kind === 'llama') {
    subject.get('lib').text();
    subject.optional('isa')?.text();
  }
  if (kind === 'command') subject.get('command').text();
  const info = file.get('subject_info');
  info.get('name').text();
  info.get('version').text();
  const splits = info.get('splits');
  for (const memory of Object.keys(splits.object()))
    for (const policy of splits.get(memory).list()) policy.text();
}

function checkModelInfo(info: Field | undefined): void {
  if (info === undefined) return;
  info.get('arch').text();
  info.get('memory').oneOf(MEMORIES);
  info.get('n_vocab').integer({ least: 0 });
  for (const key of ['n_embd', 'n_layer', 'n_params']) info.get(key).integer({ least: 0 });
}

function checkCase(c: Field, builtIn: boolean): void {
  const version = c.get('version');
  if (version.value !== 1) version.bad('1');
  const property = c.get('property').text();
  for (const key of ['model', 'seed']) c.get(key).text();
  c.get('index').integer({ least: -1 });
  const script = c.optional('script');
  const base = c.optional('base');
  for (const s of [script, base]) if (s !== undefined) checkScript(s);
  for (const key of ['pairs', 'alone', 'positions'] as const) {
    const field = c.optional(key);
    if (field === undefined) continue;
    if (script === undefined) field.bad('left out where there is no script');
    if (key === 'pairs' && base === undefined) field.bad('left out where there is no base');
  }
  if (script !== undefined) checkDemands(c, script.value as Script, base?.value as Script | undefined);
  if (!builtIn) return;
  if (isWhite(property)) checkWhite(property, c.get('white'));
  else if (script === undefined) c.get('script').object(); // nothing to run
}

function checkScript(script: Field): void {
  const params = script.get('params');
  for (const key of ['n_ctx', 'n_batch', 'n_ubatch']) params.get(key).integer({ least: 1, most: LARGEST });
  const n_seq_max = params.get('n_seq_max').integer({ least: 1, most: MOST_SEQUENCES });
  params.get('split').oneOf(SPLIT_POLICIES);
  checkParams(params);
  for (const call of script.get('calls').list()) checkCall(call, n_seq_max);
}

/** Parameters of a context, as far as they are given. */
function checkParams(params: Field): void {
  for (const key of ['n_ctx', 'n_batch', 'n_ubatch'])
    params.optional(key)?.integer({ least: 1, most: LARGEST });
  params.optional('n_seq_max')?.integer({ least: 1, most: MOST_SEQUENCES });
  params.optional('split')?.oneOf(SPLIT_POLICIES);
  params.optional('n_keep_tail')?.integer({ least: 0, most: LARGEST });
  params.optional('n_rs_seq')?.integer({ least: 0, most: LARGEST });
  params.optional('type_kv')?.oneOf(['F32', 'F16']);
  params.optional('isa')?.text();
  for (const key of ['kv_unified', 'swa_full', 'flash_attn', 'embeddings']) params.optional(key)?.flag();
  params.optional('pooling')?.oneOf(POOLINGS);
  params.optional('n_threads')?.integer({ least: 1, most: 1024 });
}

const OPS = [
  'decode',
  'encode',
  'seqRm',
  'seqCp',
  'seqKeep',
  'seqAdd',
  'seqDiv',
  'clear',
  'stateSave',
  'stateLoad',
  'newContext',
] as const;

/** Calls that must be refused may hold any whole numbers: that is what they are for. */
function checkCall(call: Field, n_seq_max: number): void {
  const op = call.get('op').oneOf(OPS);
  if (op === 'clear') return;
  const legal = call.optional('refused') === undefined;
  if (!legal) call.get('refused').text();
  const ids = legal ? { least: 0, most: n_seq_max - 1 } : {};
  if (op === 'decode' || op === 'encode') checkBatch(call.get('batch'), legal, ids);
  if (op === 'stateSave' || op === 'stateLoad') {
    call.get('slot').text();
    call.optional('seq')?.integer(ids);
    call.optional('cut')?.integer({ least: 1, most: LARGEST });
  }
  const changes = op === 'newContext' ? call.optional('params') : undefined;
  if (changes !== undefined) checkParams(changes);
  if (op === 'seqRm') call.get('seq').integer(legal ? { ...ids, least: -1 } : {});
  const moves = op === 'seqAdd' || op === 'seqDiv';
  if (op === 'seqKeep' || moves) call.get('seq').integer(ids);
  if (moves) call.get('by').integer(legal && op === 'seqDiv' ? { least: 1 } : {});
  if (op === 'seqCp') for (const key of ['from', 'to']) call.get(key).integer(ids);
  if (op === 'seqRm' || op === 'seqCp' || moves) for (const key of ['p0', 'p1']) call.get(key).integer();
}

function checkBatch(batch: Field, legal: boolean, ids: { least?: number; most?: number }): void {
  const token = batch.get('token').list({ least: legal ? 1 : 0 });
  for (const t of token) t.integer(legal ? { least: 0 } : {});
  const length = legal ? token.length : undefined;
  for (const pos of batch.optional('pos')?.list({ length }) ?? []) pos.integer();
  for (const flag of batch.optional('logits')?.list({ length }) ?? []) flag.flag();
  for (const set of batch.optional('seq_id')?.list({ length }) ?? []) {
    const listed = set.list({ least: legal ? 1 : 0 }).map((id) => id.integer(ids));
    if (legal && new Set(listed).size < listed.length) set.bad('a list without doubles');
  }
}

/** The decode at this number, if it is one that is not refused. */
function decodeAt(script: Script, call: number): Extract<Call, { op: 'decode' }> | undefined {
  const found = script.calls[call];
  return found?.op === 'decode' && found.refused === undefined ? found : undefined;
}

/** [call, batch index] of an output row. */
function checkRow(call: Field, index: Field, script: Script, output: boolean): void {
  const found = decodeAt(script, call.integer({ least: 0, most: script.calls.length - 1 }));
  if (found === undefined) call.bad('the number of a decode that is not refused');
  const { token, logits } = found!.batch;
  const i = index.integer({ least: 0, most: token.length - 1 });
  if (output && !(logits?.[i] ?? i === token.length - 1)) index.bad('the batch index of an output');
}

function checkDemands(c: Field, script: Script, base: Script | undefined): void {
  for (const pair of c.optional('pairs')?.list() ?? []) {
    const [call, index, baseCall, baseIndex] = pair.list({ length: 4 }) as [Field, Field, Field, Field];
    checkRow(call, index, script, true);
    checkRow(baseCall, baseIndex, base!, true);
  }
  for (const row of c.optional('alone')?.list() ?? []) {
    checkRow(row.get('call'), row.get('index'), script, true);
    for (const token of row.get('tokens').list({ least: 1 })) token.integer({ least: 0 });
  }
  let last = 0;
  for (const question of c.optional('positions')?.list() ?? []) {
    const [call, seq, min, max] = question.list({ length: 4 }) as [Field, Field, Field, Field];
    last = call.integer({ least: last, most: script.calls.length - 1 });
    seq.integer({ least: 0, most: script.params.n_seq_max - 1 });
    for (const pos of [min, max]) pos.integer({ least: -1 });
  }
}

function checkFailure(failure: Field, c: Field): void {
  for (const key of ['message', 'signature']) failure.get(key).text();
  const difference = failure.get('difference');
  difference.get('what').text();
  difference.optional('index')?.integer();
  for (const key of ['got', 'want']) {
    const field = difference.optional(key);
    // What is not finite becomes null in JSON.
    if (field !== undefined && field.value !== null && typeof field.value !== 'string') field.number();
  }
  const at = difference.optional('at');
  const script = c.optional('script')?.value as Script | undefined;
  if (at !== undefined && script === undefined) at.bad('left out where there is no script');
  if (at !== undefined) checkRow(at.get('call'), at.get('index'), script!, false);
  const missed = difference.optional('missed');
  if (missed !== undefined) checkMissed(missed);
  const truth = difference.optional('truth');
  if (truth !== undefined) checkTruth(truth);
  checkTold(failure);
}

function checkTruth(truth: Field): void {
  truth.get('value').number();
  truth.get('bound').number();
  truth.get('wrong').oneOf(['got', 'want', 'both', 'neither']);
}

function checkMissed(missed: Field): void {
  for (const key of ['bound', 'sigmas', 'worst_case']) {
    const field = key === 'worst_case' ? missed.optional(key) : missed.get(key);
    if (field !== undefined && field.value !== null) field.number();
  }
  missed.get('grade').oneOf(GRADES);
}

/** What was found out after shrinking. */
function checkTold(failure: Field): void {
  for (const line of failure.optional('probe')?.list() ?? []) line.text();
  const explanation = failure.optional('explanation');
  if (explanation === undefined) return;
  explanation.get('sentence').text();
  explanation.get('runs').integer({ least: 0 });
  explanation.get('seconds').number();
  explanation.get('cut').flag();
  for (const fact of explanation.get('facts').list()) {
    for (const key of ['what', 'verdict']) fact.get(key).text();
    fact.get('runs').integer({ least: 0 });
  }
}
