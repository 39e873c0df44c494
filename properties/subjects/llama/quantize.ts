/**
 * `llama_model_quantize`: the types by the names that users know, and its parameters. The first two fields of
 * `llama_model_quantize_params` (threads, type) lie alike in all releases that are known; a build whose default
 * function puts something else there is refused rather than misread.
 */
import { IsobatchError } from '../../../contract/errors.ts';
import type { Api } from './api.ts';
import { PARAMS_BYTES } from './layout.ts';

/** By name: the value of `enum llama_ftype`, with the mixture that is usual for it. */
export const FTYPES: Readonly<Record<string, number>> = {
  F16: 1,
  BF16: 32,
  Q4_0: 2,
  Q4_1: 3,
  Q5_0: 8,
  Q5_1: 9,
  Q8_0: 7,
  Q2_K: 10,
  Q3_K: 12,
  Q4_K: 15,
  Q5_K: 17,
  Q6_K: 18,
};

const N_THREAD = 0;
const FTYPE = 4;
/** What the default function puts there: hardware threads; Q5_1, since 2026 Q8_0. */
const DEFAULT_THREADS = 0;
const DEFAULT_FTYPES = [9, 7];

/** Throws `usage` for an unknown type, `model` for a build whose parameters lie otherwise, `refused` if it refuses. */
export function quantize(api: Api, from: string, to: string, type: string): void {
  const ftype = Object.hasOwn(FTYPES, type) ? FTYPES[type] : undefined;
  if (ftype === undefined)
    throw new IsobatchError('usage', `unknown type ${type}; known are ${Object.keys(FTYPES).join(', ')}`, {
      type,
    });
  const { library } = api;
  library.log.clear();
  const params = new Uint8Array(PARAMS_BYTES);
  api.call('void llama_model_quantize_default_params(void *out)', params);
  const view = new DataView(params.buffer);
  const [threads, usual] = [view.getInt32(N_THREAD, true), view.getInt32(FTYPE, true)];
  if (threads !== DEFAULT_THREADS || !DEFAULT_FTYPES.includes(usual))
    throw library.strange(`its llama_model_quantize_params begin with ${threads} and ${usual}`);
  view.setInt32(N_THREAD, 1, true);
  view.setInt32(FTYPE, ftype, true);
  const rc = api.call(
    'uint32_t llama_model_quantize(const char *from, const char *to, void *params)',
    from,
    to,
    params,
  ) as number;
  if (rc !== 0)
    throw new IsobatchError(
      'refused',
      `llama_model_quantize to ${type} answered ${rc}: ${library.log.tail()}`,
      {
        rc,
        mark: `quantize: ${library.log.tail(1)}`,
      },
    );
}
