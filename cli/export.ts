/** `isobatch export CASE.json --c`: writes a C program that shows the failure, its model, and a text for upstream. */
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { IsobatchError } from '../contract/errors.ts';
import type { ModelInfo } from '../contract/subject.ts';
import { releaseByName } from '../properties/subjects/llama/builds.ts';
import { compileAndRun } from '../properties/subjects/llama/export/compile.ts';
import { layoutOf } from '../properties/subjects/llama/export/layouts.ts';
import { type ExportedModel, exportedModel } from '../properties/subjects/llama/export/model-file.ts';
import { exportPlan } from '../properties/subjects/llama/export/plan.ts';
import { programText } from '../properties/subjects/llama/export/program.ts';
import { resolveLib } from '../properties/subjects/llama/fetch.ts';
import { memoryOf } from '../properties/subjects/llama/model.ts';
import { readBisect } from '../reports/bisect-record.ts';
import { type CaseFile, shellWord } from '../reports/case-file.ts';
import { readCaseFile } from '../reports/case-read.ts';
import { upstreamText, withoutFolders } from '../reports/upstream.ts';
import type { Args, Io } from './types.ts';

/** What the case file says of the model; the model itself says the rest. */
function infoOf(file: CaseFile, model: ExportedModel): ModelInfo {
  if (file.model_info !== undefined) return file.model_info;
  if (model.arch === undefined)
    throw new IsobatchError('file', `the case says nothing of its model ${file.model} (model_info)`, {
      model: file.model,
    });
  const memory = memoryOf(model.arch);
  const unknown = { n_vocab: 0, n_embd: 0, n_layer: 0, n_params: 0 };
  const encoder = memory === 'none' ? 'only' : model.arch === 't5' ? 'with decoder' : undefined;
  return { arch: model.arch, memory, ...unknown, windowed: model.windowed, encoder };
}

function layoutFor(release: string | undefined) {
  if (release === undefined) return undefined;
  const { name } = releaseByName(release);
  return layoutOf(name);
}

export async function runExport(args: Args, io: Io): Promise<number> {
  if (!args.flag.c)
    throw new IsobatchError('usage', 'isobatch export needs --c: a C program is what it can write');
  const [path] = args.positionals as [string];
  const file = readCaseFile(path);
  const out = args.text.out ?? 'isobatch-export';
  const layout = layoutFor(args.text.release);
  const lib =
    args.text.run === undefined ? undefined : await resolveLib(args.text.run, { signal: io.signal });
  const model = exportedModel(file.model, file.model_sha256, file.subject.kind === 'llama');
  const plan = exportPlan(file.case, file.failure, infoOf(file, model));
  const bisect = readBisect(args.text.bisect ?? join(out, 'bisect.json'), file.case);
  const isa = file.subject.kind === 'llama' ? file.subject.isa : undefined;
  const ftype = model.quantized?.ftype;
  const program = programText(plan, { about: aboutLines(file), model: model.path, ftype, layout, isa });
  const written = model.bytes !== undefined;
  const text = upstreamText({ file, model: { ...model, written }, bisect });
  write(out, () => {
    writeFileSync(join(out, 'reproduce.c'), program);
    writeFileSync(join(out, 'UPSTREAM.md'), text);
    if (model.bytes !== undefined) writeFileSync(join(out, 'model.gguf'), model.bytes);
    copyFileSync(path, join(out, 'case.json'));
  });
  if (!args.flag.quiet) for (const line of nextLines(out, model)) io.out.write(`${line}\n`);
  if (lib === undefined) return 0;
  const at = written ? model.path : resolve(model.path);
  const { code, said } = compileAndRun(out, lib.libllama, at);
  const verdict = verdictOf(said);
  if (code === 2)
    throw new IsobatchError('file', `the program could not be run on ${lib.name}: ${verdict.trim()}`, {
      out,
    });
  io.out.write(args.flag.quiet ? verdict : said);
  return code;
}

/** What fails, and the last line. */
function verdictOf(said: string): string {
  const lines = said.trimEnd().split('\n');
  return `${lines.filter((line, i) => line.startsWith('FAILS') || i === lines.length - 1).join('\n')}\n`;
}

function write(out: string, files: () => void): void {
  try {
    mkdirSync(out, { recursive: true });
    files();
  } catch (error) {
    throw new IsobatchError('file', `cannot write to ${out}: ${(error as Error).message}`, { out });
  }
}

function aboutLines({ case: c, failure, statement, subject_info, isobatch }: CaseFile): string[] {
  return [
    `${c.property}${statement === undefined ? '' : `: ${statement}`}`,
    `Seen in ${subject_info.name} ${withoutFolders(subject_info.version)}: ${withoutFolders(failure.message)}`,
    `Written by isobatch ${isobatch}.`,
  ];
}

function nextLines(out: string, model: ExportedModel): string[] {
  const names = [
    'reproduce.c',
    ...(model.bytes === undefined ? [] : ['model.gguf']),
    'UPSTREAM.md',
    'case.json',
  ];
  const own = model.bytes === undefined ? `; the model stays ${basename(model.path)}` : '';
  return [
    `wrote ${names.join(', ')} to ${out}${own}`,
    `  cd ${shellWord(out)} && cc reproduce.c -o reproduce -ldl && ./reproduce PATH/libllama.so`,
  ];
}
