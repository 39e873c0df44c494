/** From words to options: strict, with the nearest name for what is unknown. All errors are of kind `usage`. */
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { IsobatchError } from '../contract/errors.ts';
import { unknownName } from '../properties/names.ts';
import type { Reference } from '../properties/types.ts';
import type { Args, Command, OptionTable } from './types.ts';

function usage(message: string, detail: Record<string, unknown> = {}): IsobatchError {
  return new IsobatchError('usage', message, detail);
}

/** Finds the command in the first one or two words. Throws `usage`. */
export function findCommand(words: readonly string[], commands: readonly Command[]): [Command, string[]] {
  const two = commands.find((c) => c.name === `${words[0]} ${words[1]}`);
  if (two !== undefined) return [two, words.slice(2)];
  const one = commands.find((c) => c.name === words[0]);
  if (one !== undefined) return [one, words.slice(1)];
  const names = commands.map((c) => c.name);
  const group = names.filter((name) => name.startsWith(`${words[0]} `));
  if (group.length > 0 && (words[1] === undefined || words[1].startsWith('-')))
    throw usage(`${words[0]} needs one of: ${group.map((name) => name.split(' ')[1]).join(', ')}`);
  const typed = group.length > 0 ? `${words[0]} ${words[1]}` : (words[0] ?? '');
  throw unknownName('command', typed, names);
}

/** Reads the words after the command. Throws `usage`. */
export function readArgs(command: Command, words: readonly string[]): Args {
  const options = Object.fromEntries(
    Object.entries(command.options).map(([name, { type, multiple = false }]) => [name, { type, multiple }]),
  );
  const { values, positionals, tokens } = parseArgs({
    args: [...words],
    options,
    strict: false,
    tokens: true,
    allowPositionals: true,
  });
  for (const token of tokens) if (token.kind === 'option') checkOption(token, command.options);
  const args: {
    text: Record<string, string>;
    list: Record<string, string[]>;
    flag: Record<string, boolean>;
  } = {
    text: {},
    list: {},
    flag: {},
  };
  for (const [name, value] of Object.entries(values)) {
    if (Array.isArray(value)) args.list[name] = value as string[];
    else if (typeof value === 'boolean') args.flag[name] = value;
    else args.text[name] = value as string;
  }
  if (!args.flag.help) checkPositionals(command, positionals);
  return { ...args, positionals };
}

function checkOption(token: { name: string; rawName: string; value?: string }, options: OptionTable): void {
  const spec = Object.hasOwn(options, token.name) ? options[token.name] : undefined;
  if (spec === undefined) {
    const names = Object.keys(options).map((name) => `--${name}`);
    throw unknownName('option', token.rawName, names);
  }
  if (spec.type === 'boolean' && token.value !== undefined)
    throw usage(`${token.rawName} takes no value, got ${token.value}`);
  if (spec.type === 'string' && token.value === undefined)
    throw usage(`${token.rawName} needs a value: ${spec.value}`);
}

function checkPositionals(command: Command, positionals: readonly string[]): void {
  const wanted = command.arguments ?? [];
  if (positionals.length < wanted.length)
    throw usage(`isobatch ${command.name} needs ${wanted.slice(positionals.length).join(' and ')}`);
  if (positionals.length > wanted.length)
    throw usage(`isobatch ${command.name} does not know what to do with ${positionals[wanted.length]}`);
}

/** A number option. Throws `usage` if it is no number of at least `least`, or not whole where it must be. */
export function numberOption(
  args: Args,
  name: string,
  { least, whole = false }: { least: number; whole?: boolean },
): number | undefined {
  const text = args.text[name];
  if (text === undefined) return undefined;
  const value = text.trim() === '' ? Number.NaN : Number(text);
  if (!Number.isFinite(value) || value < least || (whole && !Number.isSafeInteger(value)))
    throw usage(`--${name} must be a ${whole ? 'whole ' : ''}number of at least ${least}, got ${text}`, {
      got: text,
    });
  return value;
}

/** `--properties-module FILE`, as a full path. */
export function modulePath(args: Args): string | undefined {
  const path = args.text['properties-module'];
  return path === undefined ? undefined : resolve(path);
}

/** `--range A..B`: the cases A to B-1. */
export function rangeOption(args: Args): readonly [number, number] | undefined {
  const text = args.text.range;
  if (text === undefined) return undefined;
  const match = /^(\d+)\.\.(\d+)$/.exec(text);
  const [first, end] = [Number(match?.[1]), Number(match?.[2])];
  if (match === null || !Number.isSafeInteger(end) || end <= first)
    throw usage(`--range must be A..B with A < B, got ${text}`, { got: text });
  return [first, end];
}

/** `--reference oracle|self`. Throws `usage`. */
export function referenceOption(args: Args): Reference | undefined {
  const text = args.text.reference;
  if (text === undefined || text === 'oracle' || text === 'self') return text;
  throw usage(`--reference must be "oracle" or "self", got ${text}`, { got: text });
}

/** `--threads N,N,...`: whole numbers from 1 up, the plain one first. Throws `usage`. */
export function threadsOption(args: Args): readonly number[] | undefined {
  const text = args.text.threads;
  if (text === undefined) return undefined;
  const list = [...new Set(text.split(',').map(Number))];
  if (list.every((n) => Number.isSafeInteger(n) && n >= 1)) return list;
  throw usage(`--threads must be a list of numbers such as 1,2, got ${text}`, { got: text });
}
