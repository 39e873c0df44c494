/**
 * Routers that rounding may turn: in a model two of whose experts get equal logits at every token a subject may take
 * either, and is wrong if it takes a third one. What stands for another choice is a file in which two experts have
 * changed places.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { SubjectModel } from '../contract/subject.ts';
import { engineSubject } from '../engine/subject.ts';
import { buildRecipe } from '../golden/recipes.ts';
import { type GgufFile, readGguf, writeGguf } from '../model/gguf.ts';
import { oracleWhite } from '../oracle/white.ts';
import { branchesOf } from './branches.ts';
import { entriesAlone, oracleFor } from './oracle-rows.ts';
import { reference } from './reference.ts';
import { solo } from './solo.ts';
import type { Env, Property } from './types.ts';
import { addBounds, emptyBounds } from './verdict.ts';
import { runCase } from './worker-run.ts';

const engine = engineSubject();
const file = readGguf(buildRecipe('llama-moe'), 'llama-moe');
let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'isobatch-branches-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** With the matrices of two experts copied (`twins`) or exchanged, of tensors whose names match. */
function changed(from: GgufFile, name: RegExp, a: number, b: number, twins = false): GgufFile {
  const all = [...from.tensors.values()].map((tensor) => {
    if (!name.test(tensor.name)) return tensor;
    const data = tensor.data.slice();
    const n = data.length / tensor.ne.at(-1)!;
    data.set(tensor.data.subarray(a * n, (a + 1) * n), b * n);
    if (!twins) data.set(tensor.data.subarray(b * n, (b + 1) * n), a * n);
    return { ...tensor, data };
  });
  return { ...from, tensors: new Map(all.map((tensor) => [tensor.name, tensor])) };
}

const bytesOf = ({ metadata, tensors }: GgufFile) =>
  writeGguf({ metadata: [...metadata], tensors: [...tensors.values()] });

/** Experts 1 and 4 of a layer get equal logits. */
const twinsIn = (il: number) => changed(file, new RegExp(`^blk.${il}.ffn_gate_inp`), 1, 4, true);
/** All experts have changed places with each other but in the router. */
const exchanged = (of: GgufFile, il: number, a: number, b: number) =>
  changed(of, new RegExp(`^blk.${il}.ffn_\\w+_exps`), a, b);

/** The oracle has the right model; the contexts of the subject have these, in turn. */
function envOf(right: GgufFile, subjects: readonly GgufFile[], bit_invariant = true): Env {
  const modelName = join(folder, 'twins.gguf');
  writeFileSync(modelName, bytesOf(right));
  const models = subjects.map((each) => engine.load(bytesOf(each), modelName));
  let opened = 0;
  const loaded: SubjectModel = {
    info: models[0]!.info,
    close() {},
    open: (params) => models[opened++ % models.length]!.open(params),
  };
  return {
    seed: 'branches',
    subject: { ...engine.info, bit_invariant },
    model: loaded.info,
    modelName,
    loaded,
    oracle: oracleWhite,
    coverage: {},
    restrict: { isa: engine.info.isas.at(-1) },
  };
}

async function run(env: Env, property: Property, n: number) {
  const statuses = { passed: 0, failed: 0, skipped: 0 };
  const bounds = emptyBounds();
  const reasons = new Set<string>();
  for (let i = 0; i < n; i++) {
    const outcome = await runCase(property, env, property.generate(env, i));
    statuses[outcome.status as keyof typeof statuses]++;
    if (outcome.bounds) addBounds(bounds, outcome.bounds);
    if (outcome.reason) reasons.add(outcome.reason);
  }
  return { ...statuses, rerouted: bounds.rerouted, reasons: [...reasons] };
}

describe('experts with equal logits', { timeout: 120_000 }, () => {
  const last = twinsIn(1);

  it('our engine takes the lower number, as the oracle does', async () => {
    const found = await run(envOf(last, [last]), reference, 3);
    expect(found).toMatchObject({ passed: 3, rerouted: 0 });
  });

  it('a subject that takes the other one is right', async () => {
    const found = await run(envOf(last, [exchanged(last, 1, 1, 4)]), reference, 3);
    expect(found).toMatchObject({ passed: 3, failed: 0 });
    expect(found.rerouted).toBeGreaterThan(3);
  });

  it('one that takes a third one is not', async () => {
    const found = await run(envOf(last, [exchanged(last, 1, 1, 2)]), reference, 2);
    expect(found).toMatchObject({ failed: 2 });
  });

  it('two answers of a subject may go different ways', async () => {
    const found = await run(envOf(last, [last, exchanged(last, 1, 1, 4)], false), solo, 3);
    expect(found).toMatchObject({ passed: 3, failed: 0 });
    expect(found.rerouted).toBeGreaterThan(3);
    const wrong = await run(envOf(last, [last, exchanged(last, 1, 1, 2)], false), solo, 2);
    expect(wrong.failed).toBeGreaterThan(0);
  });

  it('with more than four undecided places in a list a case that they explain is discarded, and counted', async () => {
    const first = twinsIn(0);
    const found = await run(envOf(first, [exchanged(first, 0, 1, 4)]), reference, 6);
    expect(found.failed).toBe(0);
    expect(found.skipped).toBeGreaterThan(0);
    expect(found.reasons).toEqual(['more than 4 routings of a list are undecided by rounding']);
    // What fits the exact choice needs no other.
    expect(await run(envOf(first, [first]), reference, 2)).toMatchObject({ passed: 2, rerouted: 0 });
  });

  it('every way is evaluated once, that of the exact numbers first', () => {
    const oracle = oracleFor(envOf(twinsIn(0), [file]), {});
    const counts = new Set<number>();
    for (let token = 3; token < 100; token++) {
      const row = oracle.of(entriesAlone([token, token + 1]), 'F32')[1]!;
      const forks = row.carried.forks?.length ?? 0;
      const branches = branchesOf(oracle, row, 'F32');
      expect(branches).toHaveLength(2 ** forks);
      expect(branches[0]!.carried.v).toEqual(row.carried.v);
      expect(new Set(branches.map(({ carried }) => carried.v.join())).size).toBe(branches.length);
      counts.add(forks);
    }
    expect([...counts].sort()).toEqual([0, 1, 2]);
  });
});
