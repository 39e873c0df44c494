/**
 * `UPSTREAM.md`: a shrunk case as a text that can be filed with llama.cpp as it stands. It says what was run and what
 * was expected in llama.cpp's words, and how to build and run the C file beside it; it holds no path of this machine.
 */
import { basename } from 'node:path';
import { makesEmbeddings } from '../properties/encoder-view.ts';
import type { Case, Difference, Script } from '../properties/types.ts';
import { type BisectRecord, summaryLine } from './bisect-record.ts';
import { callInWords } from './call-words.ts';
import type { CaseFile } from './case-file.ts';

export interface UpstreamFacts {
  readonly file: CaseFile;
  /** What the program opens: `model.gguf`, or the user's own file. */
  readonly model: {
    readonly path: string;
    readonly sha256: string;
    readonly written: boolean;
    /** The type to which llama_model_quantize makes it first. */
    readonly quantized?: { readonly type: string };
  };
  /** Where it fails, if that was looked at. */
  readonly bisect?: BisectRecord;
}

export function upstreamText(facts: UpstreamFacts): string {
  const sections = [
    headLines(facts),
    historyLines(facts.file.case),
    expectedLines(facts.file),
    seenLines(facts.file),
    rangeLines(facts.bisect),
    buildLines(facts),
  ];
  return `${sections.map((lines) => lines.join('\n')).join('\n\n')}\n`;
}

function headLines({ file, model }: UpstreamFacts): string[] {
  const { arch, n_layer, n_embd, n_vocab } = file.model_info ?? {};
  const size =
    arch === undefined ? '' : ` (${arch}, ${n_layer} layers, width ${n_embd}, vocabulary of ${n_vocab})`;
  const made = model.written ? 'generated with random weights, attached' : 'a file of my own';
  const { name, version } = file.subject_info;
  return [
    `# ${titleOf(file)}`,
    '',
    `Found by a fuzzer of batches (isobatch ${file.isobatch}) and made smaller by it.`,
    '',
    `- Build: ${name} ${versionInWords(version)}`,
    `- Model: \`${basename(model.path)}\`${size}, ${made}, sha256 \`${model.sha256}\`${asQuantized(model)}`,
    '- System: Linux x86-64, CPU backend, one thread per context unless said otherwise',
  ];
}

function asQuantized({ quantized }: UpstreamFacts['model']): string {
  return quantized === undefined
    ? ''
    : `; then quantized to ${quantized.type} by llama_model_quantize itself`;
}

/** A build of one's own calls itself by its path. */
function versionInWords(version: string): string {
  return version.includes('/') ? `of my own (\`${basename(version)}\`; commit: fill in)` : version;
}

function titleOf({ failure, model_info, case: c }: CaseFile): string {
  const arch = model_info?.arch ?? c.model;
  const got = String(failure.difference.got);
  if (/\/died: hang$/.test(failure.signature) || /gave no answer to/.test(got))
    return `${arch}: a legal history never comes back`;
  if (/\/died: /.test(failure.signature) || /was killed by SIG/.test(got))
    return `${arch}: a legal history ends the process`;
  const { what } = failure.difference;
  if (/position of sequence/.test(what)) return `${arch}: wrong ${what}`;
  if (typeof failure.difference.got === 'number')
    return `${arch}: wrong ${/\bembedding of/.test(what) ? 'embeddings' : 'logits'} (${whatOf(failure.difference)})`;
  return `${arch}: ${c.property}: ${what}`;
}

function whatOf({ what }: Difference): string {
  return what.replace(/^base history: /, '');
}

/** Parameters by their names in llama_context_params; what is isobatch's own is left out. */
const OWN = new Set(['split', 'n_keep_tail', 'isa']);

function scriptLines(title: string, { params, calls }: Script): string[] {
  const values = Object.entries({ kv_unified: true, ...params }).filter(
    ([name, value]) => !OWN.has(name) && value !== undefined,
  );
  return [
    `${title}: a new context with ${values.map(([name, value]) => `\`${name}\` ${value}`).join(', ')}; then`,
    '',
    ...calls.map((call, i) => `${i}. ${callInWords(call)}`),
  ];
}

function historyLines(c: Case): string[] {
  const legend =
    'A token is written `id@position`, after the `{sequences}` that it belongs to; `*` marks an output.';
  const base = c.base === undefined ? [] : ['', ...scriptLines('The other history', c.base)];
  return [
    '## What is run',
    '',
    legend,
    '`n_ctx` is the room of each sequence: where a context divides it (`kv_unified` false), it is asked for `n_seq_max` times that (`reproduce.c` has the exact value for each release).',
    '',
    ...scriptLines('The history', c.script!),
    ...base,
    ...embeddingLines(c),
  ];
}

/** What is run besides the calls of the history, where a property makes embeddings. */
function embeddingLines({ property }: Case): string[] {
  if (!makesEmbeddings(property)) return [];
  return [
    '',
    'Contexts make embeddings (`embeddings` true). Each batch of an encoder goes to llama_encode (of BERT, to llama_decode); before each batch of another model memory is cleared.',
  ];
}

function expectedLines({ case: c, statement }: CaseFile): string[] {
  const lines = [statement === undefined ? '' : `In general: ${statement}.`];
  if (c.base !== undefined) {
    const pairs = (c.pairs ?? [])
      .slice(0, 8)
      .map(
        ([call, index, otherCall, otherIndex]) =>
          `- token ${index} of call ${call} and token ${otherIndex} of call ${otherCall} of the other history`,
      );
    lines.push('', 'These rows must be equal but for rounding:', '', ...pairs);
  }
  for (const { call, index, tokens } of (c.alone ?? []).slice(0, 8))
    lines.push(
      '',
      `The row of token ${index} of call ${call} must be, but for rounding, what its sequence says alone: a new context with one sequence, one token per call: ${tokens.slice(0, 24).join(' ')}${tokens.length > 24 ? ' ...' : ''}`,
    );
  for (const [call, seq, min, max] of (c.positions ?? []).slice(0, 8))
    lines.push(
      '',
      `After call ${call}, sequence ${seq} holds the positions ${min} to ${max}${max < 0 ? ' (none)' : ''}.`,
    );
  lines.push('', 'No call aborts, and only calls that are marked so are refused.');
  return [
    '## What is expected',
    ...lines.filter((line, i) => i > 0 || line !== '').flatMap((l, i) => (i === 0 ? ['', l] : [l])),
  ];
}

function seenLines({ failure, log }: CaseFile): string[] {
  const { difference, message, explanation, probe = [] } = failure;
  const { what, index, got, want, missed } = difference;
  const where = index === undefined ? what : `${what}, element ${index}`;
  const cell = (x: unknown) => withoutFolders(String(x ?? 'not finite')).replaceAll('|', '/');
  const rows = [`| ${where} | ${cell(got)} | ${cell(want)} |`];
  const bound =
    missed === undefined || typeof missed.bound !== 'number'
      ? []
      : [
          '',
          `By the rounding errors of this computation, derived for this element, the two can differ by at most ${Number(missed.bound.toPrecision(4))}.`,
        ];
  return [
    '## What is seen',
    '',
    message.includes(what) ? '' : `${withoutFolders(message)}.\n`,
    '| where | got | want |',
    '| --- | --- | --- |',
    ...rows,
    ...bound,
    ...(explanation === undefined ? [] : ['', `What matters: ${explanation.sentence}`]),
    ...(probe.length === 0 ? [] : ['', ...probe.map((line) => `- ${line}`)]),
    ...logLines(log),
  ].filter((line, i, all) => line !== '' || all[i - 1] !== '');
}

/** Its own last words; addresses and paths of this machine say nothing to others. */
function logLines(log: string | undefined): string[] {
  const lines = (log ?? '').trim().split('\n').filter(Boolean).slice(-6);
  if (lines.length === 0) return [];
  return ['', 'Last words of the process:', '', '```', ...lines.map(withoutFolders), '```'];
}

export function withoutFolders(line: string): string {
  return line.replaceAll(/(?:\/[\w.@+-]+)+\/([\w.@+-]+)/g, '$1');
}

function rangeLines(bisect: BisectRecord | undefined): string[] {
  if (bisect === undefined) return ['## Releases', '', 'Only this build was looked at.'];
  const rows = bisect.releases.map(
    ({ name, verdict, detail }) =>
      `| ${name} | ${verdict}${detail === undefined ? '' : `: ${withoutFolders(detail)}`} |`,
  );
  return [
    '## Releases',
    '',
    `${summaryLine(bisect)}.`,
    '',
    '| release | the case |',
    '| --- | --- |',
    ...rows,
  ];
}

function buildLines({ model }: UpstreamFacts): string[] {
  const named = model.written ? '' : ` ${basename(model.path)}`;
  return [
    '## How to see it',
    '',
    '`reproduce.c` is one file and needs no header of llama.cpp; it finds the functions of the library when it runs.',
    '',
    '```sh',
    'cc reproduce.c -o reproduce -ldl',
    `./reproduce build/bin/libllama.so${named}`,
    '```',
    '',
    'It prints each call, both values of the rows, and ends with 0 if all holds, 1 if not (also if the library aborts), 2 if it could not be run.',
  ];
}
