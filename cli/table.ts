/** The command table: every command with its options and the function that runs it. Help is made from it too. */
import { runBisect } from './bisect.ts';
import { runDoctor } from './doctor.ts';
import { runExport } from './export.ts';
import { runReleases } from './releases.ts';
import { runReplay } from './replay.ts';
import { runSubjectCheck, runSubjectServe } from './subject.ts';
import type { Command, OptionTable } from './types.ts';
import { runVerify } from './verify.ts';

const COMMON: OptionTable = {
  help: { type: 'boolean', describe: 'show this help' },
};

const QUIET: OptionTable = {
  quiet: { type: 'boolean', describe: 'print nothing but errors and the verdict' },
};

const SUBJECT: OptionTable = {
  subject: {
    type: 'string',
    value: 'NAME',
    describe:
      '"engine" (default), "plain" (float32, no promise of bits), "llama" (with --lib), or a compiled module that exports `subject`',
  },
  lib: {
    type: 'string',
    value: 'LIB',
    describe: 'for "llama": the path of a libllama.so, or a release (b3889 ... v0.5.0), fetched once',
  },
  'subject-cmd': { type: 'string', value: 'CMD', describe: 'a program that speaks the subject protocol' },
};

const MODULE: OptionTable = {
  'properties-module': {
    type: 'string',
    value: 'FILE',
    describe: 'a compiled module that exports `properties`, instead of the built-in ones',
  },
};

const ENGINE: OptionTable = {
  isa: {
    type: 'string',
    value: 'NAME',
    describe:
      'only this implementation of the kernels; of a libllama, the libggml-cpu-NAME.so that is loaded',
  },
  fault: {
    type: 'string',
    value: 'NAME',
    describe: 'plant a fault in our engine; "list" shows all, "all" (or a pattern with *) must find them',
  },
  'watchdog-seconds': { type: 'string', value: 'S', describe: 'no progress for so long is a hang (30)' },
};

const REFERENCE: OptionTable = {
  reference: {
    type: 'string',
    value: 'WHAT',
    describe: 'what the property reference compares with: "oracle" (default), or "self": token by token',
  },
};

const RELEASES: OptionTable = {
  from: { type: 'string', value: 'NAME', describe: 'the oldest release (b3889)' },
  to: { type: 'string', value: 'NAME', describe: 'the newest release (the newest that is known)' },
};

export const commands: readonly Command[] = [
  {
    name: 'verify',
    summary: 'check properties on a subject',
    options: {
      ...SUBJECT,
      model: {
        type: 'string',
        multiple: true,
        value: 'MODEL',
        describe: 'recipe:NAME, golden:NAME or a GGUF file; repeatable',
      },
      property: {
        type: 'string',
        multiple: true,
        value: 'NAME',
        describe: 'only this property (or small-scope); repeatable',
      },
      ...MODULE,
      cases: {
        type: 'string',
        value: 'N',
        describe: 'cases for each property and model (golden models: a tenth; on llama.cpp 10)',
      },
      minutes: { type: 'string', value: 'M', describe: 'instead: rounds until the time is up' },
      scale: { type: 'string', value: 'K', describe: 'instead: K times the default campaign' },
      seed: { type: 'string', value: 'S', describe: 'what the cases are made from ("isobatch")' },
      range: {
        type: 'string',
        value: 'A..B',
        describe: 'only the cases A to B-1 of each property and model',
      },
      threads: {
        type: 'string',
        value: 'LIST',
        describe: 'numbers of threads that cases choose from, such as 1,2 (default: one)',
      },
      jobs: { type: 'string', value: 'J', describe: 'worker processes (cores, at most 8)' },
      ...ENGINE,
      p: {
        type: 'string',
        value: 'P',
        describe: 'chance of accusing a correct subject in one comparison with a derived bound (1e-10)',
      },
      ...REFERENCE,
      'fault-seeds': {
        type: 'string',
        value: 'N',
        describe: 'with --fault all or a pattern: campaigns that each fault gets (3)',
      },
      'shrink-seconds': {
        type: 'string',
        value: 'S',
        describe: 'time for making one failure smaller (10; on llama.cpp 5); 0: no',
      },
      known: {
        type: 'string',
        value: 'FILE',
        describe: 'failures that are known, by signature: reported, not failing',
      },
      against: {
        type: 'string',
        value: 'SUBJECT',
        describe: 'only what this subject does not show too: "engine", a module, or "cmd:CMD"',
      },
      'max-failures': {
        type: 'string',
        value: 'N',
        describe: 'stop after N different failures (20; on llama.cpp 60)',
      },
      out: { type: 'string', value: 'DIR', describe: 'where the report goes (isobatch-report)' },
      ...QUIET,
      ...COMMON,
    },
    run: runVerify,
  },
  {
    name: 'replay',
    arguments: ['CASE.json'],
    summary: 'run one kept case again and tell its story',
    options: {
      ...SUBJECT,
      ...MODULE,
      ...REFERENCE,
      ...ENGINE,
      fault: {
        type: 'string',
        value: 'NAME',
        describe: 'another fault than that of the case; "none": without',
      },
      json: { type: 'boolean', describe: 'print one JSON record instead of the story' },
      ...QUIET,
      ...COMMON,
    },
    run: runReplay,
  },
  {
    name: 'export',
    arguments: ['CASE.json'],
    summary: 'write a C program that shows a kept failure in any libllama, and a text for upstream',
    options: {
      c: { type: 'boolean', describe: 'as C, with its model: reproduce.c, model.gguf, UPSTREAM.md' },
      release: {
        type: 'string',
        value: 'NAME',
        describe: 'only for the structs of this release (default: for all that are known)',
      },
      bisect: {
        type: 'string',
        value: 'FILE',
        describe: 'what bisect wrote of this case, for the text (OUT/bisect.json)',
      },
      run: {
        type: 'string',
        value: 'LIB',
        describe:
          'compile it with cc, and run it on a release or a libllama.so: ends with 1 if it fails there',
      },
      out: { type: 'string', value: 'DIR', describe: 'where the files go (isobatch-export)' },
      ...QUIET,
      ...COMMON,
    },
    run: runExport,
  },
  {
    name: 'bisect',
    arguments: ['CASE.json'],
    summary: 'run a kept case on the releases of llama.cpp: where it fails first and last',
    options: {
      ...RELEASES,
      isa: { type: 'string', value: 'NAME', describe: 'only this instruction set of the builds' },
      'watchdog-seconds': ENGINE['watchdog-seconds']!,
      out: { type: 'string', value: 'DIR', describe: 'where bisect.json goes (isobatch-report)' },
      ...QUIET,
      ...COMMON,
    },
    run: runBisect,
  },
  {
    name: 'releases',
    summary: 'check properties on the releases of llama.cpp: release, architecture, property',
    options: {
      ...RELEASES,
      legal: {
        type: 'boolean',
        describe: 'only print where releases may differ without being wrong, with the sources',
      },
      model: {
        type: 'string',
        multiple: true,
        value: 'MODEL',
        describe: 'recipe:NAME or a GGUF file; repeatable (default: a recipe of each architecture)',
      },
      property: { type: 'string', multiple: true, value: 'NAME', describe: 'only this property; repeatable' },
      cases: { type: 'string', value: 'N', describe: 'cases for each release, property and model (20)' },
      minutes: {
        type: 'string',
        value: 'M',
        describe: 'instead: rounds on each release until the time is up',
      },
      isa: { type: 'string', value: 'NAME', describe: 'only this instruction set of the builds' },
      seed: { type: 'string', value: 'S', describe: 'what the cases are made from ("isobatch")' },
      jobs: { type: 'string', value: 'J', describe: 'worker processes (cores, at most 8)' },
      ...REFERENCE,
      'shrink-seconds': {
        type: 'string',
        value: 'S',
        describe: 'time for making one failure smaller (5); 0: no',
      },
      'watchdog-seconds': ENGINE['watchdog-seconds']!,
      out: { type: 'string', value: 'DIR', describe: 'where the reports go (isobatch-releases)' },
      ...QUIET,
      ...COMMON,
    },
    run: runReleases,
  },
  {
    name: 'subject check',
    arguments: ['CMD'],
    summary: 'check that a program speaks the subject protocol',
    options: {
      model: {
        type: 'string',
        multiple: true,
        value: 'MODEL',
        describe: 'models to check with (default: recipes of its architectures)',
      },
      'watchdog-seconds': { type: 'string', value: 'S', describe: 'an answer may take so long (20)' },
      ...QUIET,
      ...COMMON,
    },
    run: runSubjectCheck,
  },
  {
    name: 'subject serve',
    summary: 'serve a subject over standard input and output, by the subject protocol',
    options: { subject: SUBJECT.subject!, lib: SUBJECT.lib!, ...COMMON },
    run: runSubjectServe,
  },
  {
    name: 'doctor',
    summary: 'what was found on this machine, and what is missing',
    options: { ...QUIET, ...COMMON },
    run: runDoctor,
  },
];
