/** Which probes are asked about a failing model. */
import { expect, test } from 'vitest';
import type { MemoryKind } from '../../contract/batch.ts';
import { candidatesFor } from './candidates.ts';

test.each<[string, MemoryKind, number, string[]]>([
  ['llama', 'attention', 2, ['llama-set', 'llama-set-wide']],
  ['openelm', 'attention', 3, ['llama-set', 'llama-set-wide']],
  ['gemma2', 'attention', 4, ['gemma2']],
  ['gemma2', 'attention', 26, ['gemma2-26']],
  ['gemma3', 'attention', 7, ['gemma3']],
  ['jamba', 'hybrid', 3, ['jamba', 'jamba-count']],
  ['falcon-h1', 'hybrid', 2, ['jamba', 'jamba-count']],
  ['lfm2', 'hybrid', 3, ['jamba', 'jamba-count']],
  ['mamba2', 'recurrent', 2, ['mamba', 'mamba-count', 'mamba-count-wide']],
  ['rwkv6', 'recurrent', 2, ['rwkv6', 'rwkv6-count']],
  ['rwkv7', 'recurrent', 2, ['rwkv6', 'rwkv6-count']],
  ['bert', 'none', 2, []],
])('%s with %s memory and %i layers', (arch, memory, n_layer, names) => {
  expect(candidatesFor({ arch, memory, n_layer }).map(({ name }) => name)).toEqual(names);
});
