/** Probes: the same bytes on every machine, and what the oracle answers on them spells what each entry saw. */
import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { readGguf } from '../../model/gguf.ts';
import { architectures, loadModel } from '../../model/load.ts';
import { type Entry, Sequences } from '../../oracle/entries.ts';
import { logits } from '../../oracle/forward.ts';
import {
  buildProbe,
  hybridProbes,
  positionProbe,
  probeNames,
  probes,
  setProbes,
  stateProbes,
} from './registry.ts';
import type { Probe } from './types.ts';

/** A changed sum means changed weights: kept cases and recorded margins are then void. */
const SHA256: Readonly<Record<string, string>> = {
  'llama-set': 'a97156ad49980aab424ef52ac0dd6d7515c6eead10f0988b9ce0366458a5394e',
  'llama-set-wide': '180d0805e2d7a14c950ed9b079beaa9a379c69bf0389f6eb026920495a6e56f6',
  'llama-positions': 'ca84fe1ccf8f459a43d2d8ba08e9212bf414b44d64ec587aca3c28af2216b8c6',
  mamba: '1da4891e3746f275df2b6b4b97c0d9114ea304127e29ff6c25a27f37931e666e',
  'mamba-count': '8e40113f7b6c46d2a1c14dd9c9f5f2dedcc42b515baff545ab77a4e5f8e41baa',
  'mamba-count-wide': '5681369e221b21291cd1272b5603a577a0e97970f1135869ab02aeade09ee074',
  rwkv6: 'abc430b667a0682353cb2de06b1ee031d25c3ec597cb826ad45f33bdd00edee1',
  'rwkv6-count': 'd4abbb482c9a15b6b0b32d46a2fc222bdde1ca6fd9ba6b9987004b65c74d9691',
  gemma2: 'df75db55e41682bcb6fc07bcc8e6e1006cf9aeb1ffb71c133ef02e5904c89a8f',
  'gemma2-26': 'aa205197a3c067a17f168d3ebb57cc4b86c667c0ef0d2ccad3c1c17476f9ff5e',
  gemma3: 'fa2c7d7d1a1c0f6e02a19f000083b6d596c190b7f975cda8318e9eda91d5d136',
  jamba: 'f8b2df4cf2a5dc6a5f475c77ec28cba725542ee3d707bd8745f0f35501fca16f',
  'jamba-count': 'a337a136af546af0bc1e430c8c286d30e599a7fd491e8b8b4f13ba414f13012f',
};

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** Entries of ids `seqs[i]`, one sequence each, interleaved as given; ids of events count up. */
function entriesOf(probe: Probe, seqs: readonly number[]): { entries: Entry[]; ids: Map<Entry, number> } {
  const pos = seqs.map((seq, i) => seqs.slice(0, i).filter((s) => s === seq).length);
  const entries = new Sequences(4).decode({
    token: seqs.map((_, i) => probe.token(i)),
    pos,
    seq_id: seqs.map((seq) => [seq]),
    logits: seqs.map(() => true),
  });
  return { entries, ids: new Map(entries.map((entry, i) => [entry, i])) };
}

const SEQS = [0, 1, 0, 2, 2, 1, 0, 0, 2, 1, 0, 2, 0, 0];

describe('probes', () => {
  it('are these, and unknown names are refused with the known ones', () => {
    expect(probeNames).toEqual(Object.keys(SHA256));
    expect(() => buildProbe('gemma')).toThrow(/unknown probe "gemma"; known are llama-set, llama-set-wide/);
    expect(probes.map((probe) => probe.n_ids)).toEqual([
      155, 315, 127, 63, 155, 635, 62, 310, 205, 205, 205, 50, 420,
    ]);
  });

  it.each(probes)('$name has the pinned bytes, and a token a row', (probe) => {
    const bytes = buildProbe(probe.name);
    expect(sha256(bytes)).toBe(SHA256[probe.name]);
    const { metadata, tensors } = readGguf(bytes, probe.name);
    expect(metadata.get('general.architecture')).toMatchObject({ value: probe.arch });
    expect(metadata.get('tokenizer.ggml.tokens')).toMatchObject({ value: { length: probe.n_vocab } });
    expect(tensors.get('token_embd.weight')!.ne[1]).toBe(probe.n_vocab);
    expect(probe.token(probe.n_ids - 1)).toBeLessThan(probe.n_vocab);
  });

  const own = probes.filter(({ arch }) => architectures.includes(arch));
  it.each(own)('$name loads in our loader', (probe) => {
    const { hparams, bos } = loadModel(probe.build(), probe.name);
    expect(hparams).toMatchObject({ arch: probe.arch, n_vocab: probe.n_vocab });
    expect(bos).toBe(1);
  });

  it.each(setProbes.flatMap((probe) => (['F32', 'F16'] as const).map((type_kv) => ({ ...probe, type_kv }))))(
    '$name spells the set that each entry saw, K and V in $type_kv',
    ({ type_kv, ...probe }) => {
      const { entries, ids } = entriesOf(probe, SEQS);
      const rows = logits(loadModel(probe.build(), probe.name), entries, { type_kv });
      entries.forEach((entry, i) => {
        const reading = probe.read(rows[i]!);
        expect(reading).toMatchObject({ kind: 'set', own: i });
        if (reading.kind === 'unreadable') return;
        expect(reading.counts).toEqual(new Map(entry.saw.map((seen) => [ids.get(seen)!, 1])));
        expect(reading.mass).toBeCloseTo(1, 6);
        expect(reading.margin).toBeLessThan(1e-6);
      });
    },
  );

  it('llama-positions spells how far away each entry saw the others', () => {
    const { entries, ids } = entriesOf(positionProbe, SEQS);
    const rows = logits(loadModel(positionProbe.build(), 'probe'), entries, { type_kv: 'F16' });
    entries.forEach((entry, i) => {
      const reading = positionProbe.read(rows[i]!);
      if (reading.kind === 'unreadable') throw new Error(reading.reason);
      const whole = new Map([...reading.distances].map(([id, distance]) => [id, Math.round(distance)]));
      const want = new Map(entry.saw.slice(0, -1).map((seen) => [ids.get(seen)!, entry.pos - seen.pos]));
      expect(whole).toEqual(want);
      expect(reading.own).toBe(i);
      expect(reading.margin).toBeLessThan(0.05);
    });
  });

  it.each(hybridProbes)('$name spells what went into the state, and what attention saw', (probe) => {
    const { entries, ids } = entriesOf(probe, SEQS);
    const rows = logits(loadModel(probe.build(), probe.name), entries, { type_kv: 'F16' });
    entries.forEach((entry, i) => {
      const reading = probe.read(rows[i]!);
      if (reading.kind === 'unreadable') throw new Error(reading.reason);
      const counts = new Map(entry.saw.map((seen) => [ids.get(seen)!, 1]));
      expect(reading.own).toBe(i);
      expect(reading.set.counts).toEqual(counts);
      expect(reading.state.counts).toEqual(counts);
      expect(reading.margin).toBeLessThan(1e-6);
    });
  });

  it.each(stateProbes)('$name spells what went into the state', (probe) => {
    const { entries, ids } = entriesOf(probe, SEQS);
    const rows = logits(loadModel(probe.build(), probe.name), entries);
    entries.forEach((entry, i) => {
      const reading = probe.read(rows[i]!);
      if (reading.kind === 'unreadable') throw new Error(reading.reason);
      const seen = entry.saw.map((e) => ids.get(e)!);
      const last = seen.length - 1;
      expect(reading.own).toBe(i);
      expect(reading.counts).toEqual(new Map(seen.map((id) => [id, 1])));
      expect(reading.margin).toBeLessThan(1e-6);
      if (probe.name !== 'mamba') return;
      expect(reading.ages).toEqual(new Map(seen.map((id, k) => [id, last - k])));
      const window = seen.map((id, k) => [id, [last - k]] as const).filter(([, [lag]]) => lag! < 4);
      expect(reading.lags).toEqual(new Map(window));
    });
  });
});
