/** What a command is, and what it gets to run with. */

export interface OptionSpec {
  readonly type: 'string' | 'boolean';
  readonly multiple?: boolean;
  /** Name of its value in the help. */
  readonly value?: string;
  readonly describe: string;
}

export type OptionTable = Readonly<Record<string, OptionSpec>>;

/** Values by option name, as typed. */
export interface Args {
  readonly text: Readonly<Record<string, string | undefined>>;
  readonly list: Readonly<Record<string, readonly string[]>>;
  readonly flag: Readonly<Record<string, boolean>>;
  readonly positionals: readonly string[];
}

export interface Stream {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

export interface Io {
  readonly out: Stream;
  readonly err: Stream;
  /** Fires on the first Ctrl-C. */
  readonly signal: AbortSignal;
}

export interface Command {
  /** One or two words. */
  readonly name: string;
  readonly arguments?: readonly string[];
  readonly summary: string;
  readonly options: OptionTable;
  /** Gives the exit code. */
  run(args: Args, io: Io): Promise<number>;
}
