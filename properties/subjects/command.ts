/**
 * Turns `--subject-cmd "CMD"` into a program and its arguments. A plain command is split at blanks, with quotes and
 * backslashes as in a POSIX shell, and started without a shell. One that uses anything else of a shell's language
 * (pipes, redirections, variables, globs, `&&`, assignments before the command) is given to `/bin/sh -c` as it is.
 */
import { IsobatchError } from '../../contract/errors.ts';

export interface Command {
  readonly file: string;
  readonly args: readonly string[];
}

const SHELL_WORDS = /^[A-Za-z_][A-Za-z0-9_]*=/;
const SHELL_CHARS = new Set('|&;<>()$`*?[]{}~#!\n');

/** Throws `usage` on an empty command or an open quote. */
export function parseCommand(command: string): Command {
  const words = split(command);
  if (words === null || SHELL_WORDS.test(command.trim())) return { file: '/bin/sh', args: ['-c', command] };
  const [file, ...args] = words;
  if (file === undefined) throw new IsobatchError('usage', 'the command of a subject is empty');
  return { file, args };
}

/** The words, or null if only a shell can read it. */
function split(command: string): string[] | null {
  const words: string[] = [];
  let word: string | undefined;
  let quote = '';
  for (let i = 0; i < command.length; i++) {
    const c = command[i]!;
    if (quote !== "'" && c === '\\' && i + 1 < command.length) word = (word ?? '') + command[++i];
    else if (quote === c) quote = '';
    else if (quote === '"' && (c === '$' || c === '`')) return null;
    else if (quote !== '') word += c;
    else if (c === "'" || c === '"') {
      quote = c;
      word ??= '';
    } else if (c === ' ' || c === '\t') {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else if (SHELL_CHARS.has(c)) return null;
    else word = (word ?? '') + c;
  }
  if (quote !== '')
    throw new IsobatchError('usage', `the command of a subject has an open quote: ${command}`, { command });
  if (word !== undefined) words.push(word);
  return words;
}
