import { describe, expect, it } from 'vitest';
import { parseCommand } from './command.ts';

describe('the command of a subject', () => {
  it.each([
    ['python engine.py', 'python', ['engine.py']],
    ['  node   a.mjs\t--x=1 ', 'node', ['a.mjs', '--x=1']],
    [`node 'my engine.mjs' "a \\"b\\"" c\\ d`, 'node', ['my engine.mjs', 'a "b"', 'c d']],
    [`x '' ""`, 'x', ['', '']],
  ])('is split without a shell: %s', (command, file, args) => {
    expect(parseCommand(command)).toEqual({ file, args });
  });

  it.each(['a | b', 'a > log', 'a && b', 'A=1 b', 'a $HOME', 'a "$HOME"', 'a *.js'])(
    'needs a shell: %s',
    (command) => {
      expect(parseCommand(command)).toEqual({ file: '/bin/sh', args: ['-c', command] });
    },
  );

  it('must not be empty, nor leave a quote open', () => {
    expect(() => parseCommand('  ')).toThrow(expect.objectContaining({ kind: 'usage' }));
    expect(() => parseCommand("a 'b")).toThrow(/open quote/);
  });
});
