/**
 * The story of a case: what must hold, each call of the history as one line, the picture, what differs first, what
 * matters. For somebody who knows llama.cpp's words and not this program.
 */
import type { ContextParams, ModelInfo, SubjectInfo } from '../contract/subject.ts';
import type { Case, Difference, Failure, Outcome, Script } from '../properties/types.ts';
import { callInWords } from './call-words.ts';
import { type CaseFile, shellWord } from './case-file.ts';
import { differenceLines, explanationLines, placeOf } from './difference.ts';
import { otherPictureLines, type PictureOptions, pictureLines } from './picture.ts';
import { whitePicture } from './picture-white.ts';
import { WIDTH, wrapped } from './text.ts';

function paramsInWords(params: ContextParams): string[] {
  return Object.entries(params)
    .filter(([name, value]) => value !== undefined && !(name === 'n_keep_tail' && value === 0))
    .map(([name, value], i, all) => `${name} ${value}${i < all.length - 1 ? ',' : ''}`);
}

function scriptLines(script: Script): string[] {
  const calls = script.calls.map((call, i) => wrapped(`  ${i}. `, callInWords(call).split(' ')));
  const context = wrapped('  a new context: ', paramsInWords(script.params));
  return [...context, ...(calls.length > 0 ? calls.flat() : ['  no calls'])];
}

const LEGEND = '  ({sequences} token@position; * marks an output row)';

function sameCalls(a: Script, b: Script): boolean {
  return JSON.stringify(a.calls) === JSON.stringify(b.calls);
}

/** The other history, or only in what its context differs. */
function baseLines(script: Script, base: Script): string[] {
  if (!sameCalls(script, base)) return ['That must give the same rows as', ...scriptLines(base)];
  const before = script.params as unknown as Record<string, unknown>;
  const changed = Object.entries(base.params).filter(([name, value]) => before[name] !== value);
  const params = Object.fromEntries(changed) as unknown as ContextParams;
  return [
    'That must give the same rows as the same calls in',
    ...wrapped('  a context with ', paramsInWords(params)),
  ];
}

/** White-box input as JSON, one field a line. */
function whiteLines(white: unknown): string[] {
  if (typeof white !== 'object' || white === null) return wrapped('  ', [JSON.stringify(white)]);
  return Object.entries(white).flatMap(([name, value]) => {
    const text = JSON.stringify(value) ?? 'nothing';
    return wrapped(`  ${name}: `, text.split(/(?<=,)(?=[[{])/), '');
  });
}

/** The history of a case; `step` is the one of a white-box history that differs. */
export function caseLines(c: Case, step?: number): string[] {
  const lines: string[] = [];
  if (c.script !== undefined) lines.push('What is done', ...scriptLines(c.script), LEGEND);
  if (c.script !== undefined && c.base !== undefined) lines.push(...baseLines(c.script, c.base));
  if (c.alone !== undefined)
    lines.push(
      c.alone.length === 1
        ? 'The row must be what its sequence says alone.'
        : `Each of ${c.alone.length} rows must be what its sequence says alone.`,
    );
  if (c.white !== undefined)
    lines.push('What the rule is asked', ...(whitePicture(c, step) ?? whiteLines(c.white)));
  if (lines.length === 0) lines.push('(the case could not be generated again)');
  return lines;
}

/** What is known of a case when it is told: from its file, and from the process that ran it, if that lived. */
export interface Story {
  readonly file: CaseFile;
  /** Path of the file, for the command. */
  readonly path: string;
  readonly outcome: Outcome;
  readonly statement?: string;
  readonly subject?: Pick<SubjectInfo, 'name' | 'version' | 'splits'>;
  readonly model_info?: ModelInfo;
  /** The fault with which it ran just now. */
  readonly fault?: string;
  readonly log?: string;
}

/** The whole story of a case, section by section, in at most 100 columns. */
export function storyLines(story: Story): string[] {
  const { file, outcome, path } = story;
  // What fails now is told; what failed then if nothing does.
  const failure = outcome.failure ?? file.failure;
  // Explained just now, or when it was kept if it still is the same failure.
  const kept: Partial<Failure> = failure.signature === file.failure.signature ? file.failure : {};
  const { explanation = kept.explanation, probe = kept.probe ?? [] } = failure;
  const sections = [
    headLines(story),
    caseLines(file.case, stepOf(failure.difference)),
    pictureSection(story, failure.difference),
    differenceSection(story, failure),
    probe.length === 0
      ? []
      : [
          'What a probe model saw (sequence@position names a token)',
          ...probe.flatMap((line) => wrapped('  ', line.split(' '))),
        ],
    explanation === undefined
      ? []
      : ['What matters, by running variations of the case', ...explanationLines(explanation)],
    ['To run it again', `  isobatch replay ${shellWord(path)}`, ...originalLines(file)],
  ];
  return sections
    .filter((lines) => lines.length > 0)
    .flatMap((lines, i) => (i === 0 ? lines : ['', ...lines]));
}

/** White-box histories say at which step they broke. */
function stepOf({ what }: Difference): number | undefined {
  const step = /^step (\d+)\b/.exec(what);
  return step === null ? undefined : Number(step[1]);
}

function originalLines(file: CaseFile): string[] {
  if (file.original === undefined) return [];
  return ['and as it was before it was made smaller', `  ${file.again}`];
}

function statementLines(text: string): string[] {
  return wrapped('', text.split(' '), ' ', WIDTH - 2).map((line, i) => (i === 0 ? line : `  ${line}`));
}

function headLines(story: Story): string[] {
  const { file } = story;
  const { property, model, seed, index } = file.case;
  const statement = story.statement ?? file.statement;
  const info = story.model_info ?? file.model_info;
  const subject = story.subject ?? file.subject_info;
  const facts =
    info === undefined ? '' : ` (${info.arch}, ${info.memory} memory, vocabulary of ${info.n_vocab})`;
  const fault = story.fault === undefined ? '' : `, with the planted fault ${story.fault}`;
  const like = (file.count ?? 1) > 1 ? `; ${file.count} cases failed like it` : '';
  const shrunk = file.original === undefined ? '' : ', made smaller';
  const number = index < 0 ? 'one of the small scope' : `case ${index} of seed ${seed}`;
  return [
    ...statementLines(`Property ${property}${statement === undefined ? '' : `: ${statement}`}`),
    ...(model === 'rules' ? [] : [`  model    ${model}${facts}`]),
    `  subject  ${subject.name} ${subject.version}${fault}`,
    `  case     ${number}${shrunk}${like}`,
  ];
}

/** The picture of the history, and of the other one where it must give the same rows in another way. */
function pictureSection(story: Story, difference: Difference): string[] {
  const c = story.file.case;
  const info = story.model_info ?? story.file.model_info;
  if (c.script === undefined || info === undefined) return [];
  const { splits } = story.subject ?? story.file.subject_info;
  const cutsByItself = (splits[info.memory] ?? []).length === 0;
  const options = { memory: info.memory, cutsByItself };
  if (c.base !== undefined && difference.what.startsWith(IN_BASE))
    return basePicture(c, c.base, difference, options);
  const at = placeOf(difference);
  const lines = pictureLines(c.script, { ...options, at });
  if (lines.length === 0) return [];
  const title = `Batch by batch${cutsByItself ? '' : ', by the rules'} (x: the token belongs to the sequence; *: it is an output)`;
  const pair = pairOf(c, at);
  if (c.base === undefined || pair === undefined) return [title, '', ...lines];
  const other = { call: pair[2], index: pair[3] };
  const more = otherPictureLines(c.base, { ...options, at: other }, lines);
  if (more.length === 0) return [title, '', ...lines];
  const what = sameCalls(c.script, c.base) ? 'The same in the other context' : 'The other history';
  return [
    title,
    '',
    ...lines,
    '',
    `${what}, which must give the same row (${difference.truth === undefined ? 'either may be the wrong one' : 'which one is wrong is said below'})`,
    '',
    ...more,
  ];
}

/** So a difference begins that came up while the other history ran. */
const IN_BASE = 'base history: ';

/** It is the other history that went wrong, so that is what is drawn. */
function basePicture(
  c: Case,
  base: Script,
  difference: Difference,
  options: Omit<PictureOptions, 'at'>,
): string[] {
  const at = placeOf({ ...difference, what: difference.what.slice(IN_BASE.length) });
  const what =
    c.script !== undefined && sameCalls(c.script, base) ? 'in the other context' : 'the other history';
  return [`Batch by batch, ${what}, where it went wrong`, '', ...pictureLines(base, { ...options, at })];
}

type Place = ReturnType<typeof placeOf>;

function pairOf(c: Case, at: Place) {
  if (at?.index === undefined) return undefined;
  return c.pairs?.find(([call, index]) => call === at.call && index === at.index);
}

/** What the wanted row is. */
function wantedInWords(c: Case, difference: Difference): string | undefined {
  const at = placeOf(difference);
  if (at?.index === undefined || typeof difference.want !== 'number') return undefined;
  const pair = pairOf(c, at);
  const alone = c.alone?.some(({ call, index }) => call === at.call && index === at.index);
  if (alone) return 'what the sequence says alone';
  if (pair === undefined || c.base === undefined || c.script === undefined) return undefined;
  const other = sameCalls(c.script, c.base) ? 'the same row in the other context' : undefined;
  return other ?? `the row of token ${pair[3]} of call ${pair[2]} of the other history`;
}

function differenceSection(
  story: Story,
  failure: Pick<Failure, 'difference' | 'message' | 'signature'>,
): string[] {
  const { file, outcome, log } = story;
  const now = outcome.failure !== undefined;
  const title = now ? 'What differs first' : 'What differed first when the case was kept';
  const { difference } = failure;
  const other = now && failure.signature !== file.failure.signature;
  const words = failure.message.includes(difference.what) ? [] : wrapped('  ', failure.message.split(' '));
  return [
    title,
    ...words,
    ...differenceLines(difference, wantedInWords(file.case, difference)),
    ...(other ? [`  (another failure than the one that was kept: ${file.failure.signature})`] : []),
    ...(log?.trim() ? ['Last words of the process', ...tail(log, 8).map((line) => `  | ${line}`)] : []),
    ...wrapped('This run ', outcomeLine(outcome).split(' ')),
  ];
}

function tail(log: string, lines: number): string[] {
  return log.trim().split('\n').slice(-lines);
}

export function outcomeLine(outcome: Outcome): string {
  if (outcome.status === 'skipped') return `skipped: ${outcome.reason ?? 'no reason given'}`;
  const { compared, equal, rounding, divergent, tokens } = outcome;
  return `${outcome.status}: ${tokens} ${tokens === 1 ? 'token' : 'tokens'}, ${compared} elements compared: ${equal} equal, ${rounding} within rounding, ${divergent} divergent`;
}
