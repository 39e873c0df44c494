/** The command table: every command with its options and the function that runs it. Help is made from it too. */
import { runDoctor } from './doctor.ts';
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
  isa: { type: 'string', value: 'NAME', describe: 'only this implementation of the kernels' },
  fault: {
    type: 'string',
    value: 'NAME',
    describe: 'plant a fault in our engine; "list" shows all, "all" (or a pattern with *) must find them',
  },
  'watchdog-seconds': { type: 'string', value: 'S', describe: 'no progress for so long is a hang (30)' },
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
        describe: 'cases for each property and model (golden models: a tenth)',
      },
      minutes: { type: 'string', value: 'M', describe: 'instead: rounds until the time is up' },
      scale: { type: 'string', value: 'K', describe: 'instead: K times the default campaign' },
      seed: { type: 'string', value: 'S', describe: 'what the cases are made from ("isobatch")' },
      range: {
        type: 'string',
        value: 'A..B',
        describe: 'only the cases A to B-1 of each property and model',
      },
      jobs: { type: 'string', value: 'J', describe: 'worker processes (cores, at most 8)' },
      ...ENGINE,
      p: {
        type: 'string',
        value: 'P',
        describe: 'chance of accusing a correct subject in one comparison with a derived bound (1e-10)',
      },
      'shrink-seconds': {
        type: 'string',
        value: 'S',
        describe: 'time for making one failure smaller (10); 0: no',
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
      'max-failures': { type: 'string', value: 'N', describe: 'stop after N different failures (20)' },
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
