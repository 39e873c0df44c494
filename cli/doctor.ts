/** `isobatch doctor`: what was found on this machine, and what is missing. */
import { execFileSync } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { goldenModel, goldenModelNames } from '../golden/assets.ts';
import { recipeNames, recipes } from '../golden/recipes.ts';
import { readGguf } from '../model/gguf.ts';
import { loadModel } from '../model/load.ts';
import { packageVersion } from '../properties/version.ts';
import { workerFile } from '../properties/worker-process.ts';
import { paintFor, table } from '../reports/text.ts';
import { llamaFindings } from './doctor-llama.ts';
import type { Args, Io } from './types.ts';

export interface Finding {
  readonly what: string;
  readonly state: 'ok' | 'missing' | 'none';
  readonly detail: string;
}

const OLDEST_NODE = [20, 19];

/** Looks for something that is needed: what it throws is why it is missing. */
function needed(what: string, look: () => string): Finding {
  try {
    return { what, state: 'ok', detail: look() };
  } catch (error) {
    return { what, state: 'missing', detail: (error as Error).message };
  }
}

function nodeVersion(): string {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  const [least, leastMinor] = OLDEST_NODE as [number, number];
  if (major < least || (major === least && minor < leastMinor))
    throw new Error(`${process.version} is too old: at least ${OLDEST_NODE.join('.')}`);
  return process.version;
}

function compiler(): Finding {
  const names = [process.env.CXX, 'c++', 'g++', 'clang++'].filter((name): name is string => Boolean(name));
  for (const name of names) {
    try {
      const said = execFileSync(name, ['--version'], {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
      });
      return { what: 'C++ compiler', state: 'ok', detail: `${name}: ${said.split('\n')[0]}` };
    } catch {
      // the next one
    }
  }
  return {
    what: 'C++ compiler',
    state: 'none',
    detail: `none of ${names.join(', ')}: portable kernels only`,
  };
}

async function kernels(): Promise<Finding[]> {
  const { loadKernels } = await import('../native/binding.ts');
  const { native, isas } = loadKernels();
  const found: Finding =
    'path' in native
      ? { what: 'native kernels', state: 'ok', detail: native.path }
      : { what: 'native kernels', state: 'none', detail: `${native.unavailable}: the portable ones run` };
  return [
    found,
    { what: 'implementations', state: isas.length > 0 ? 'ok' : 'missing', detail: isas.join(', ') },
  ];
}

async function find(): Promise<Finding[]> {
  const models = goldenModelNames.map((name) =>
    needed(`golden:${name}`, () => `${loadModel(goldenModel(name), name).n_params} parameters`),
  );
  const built = needed('recipes', () => {
    for (const { name, engine, build } of recipes) {
      const bytes = build();
      // The others are for real llama.cpp: our loader refuses their architectures.
      if (engine) loadModel(bytes, name);
      else readGguf(bytes, name);
    }
    return recipeNames.join(', ');
  });
  return [
    needed('isobatch', packageVersion),
    needed('node', nodeVersion),
    { what: 'cores', state: 'ok', detail: String(availableParallelism()) },
    needed('workers', workerFile),
    compiler(),
    ...(await kernels().catch((error: Error): Finding[] => [
      { what: 'kernels', state: 'missing', detail: error.message },
    ])),
    built,
    ...models,
    ...llamaFindings(),
  ];
}

export async function runDoctor(args: Args, io: Io): Promise<number> {
  const findings = await find();
  const missing = findings.filter((f) => f.state === 'missing');
  const paint = paintFor(io.out);
  const colour = { ok: 'green', missing: 'red', none: 'yellow' } as const;
  const lines = table(
    findings.map((f) => [f.what, f.state, f.detail]),
    [],
  ).map((line, i) => {
    const { state } = findings[i]!;
    return line.replace(state, (s) => paint(colour[state], s));
  });
  if (!args.flag.quiet) for (const line of lines) io.out.write(`${line}\n`);
  const names = missing.map((f) => f.what).join(', ');
  io.out.write(missing.length === 0 ? 'everything that is needed is here\n' : `missing: ${names}\n`);
  return missing.length === 0 ? 0 : 3;
}
