/** A feed-forward net of experts (spec: architectures.md 3 and 8). */
import type { Shares } from '../experts.ts';
import { linear, type Pass } from './parts.ts';

/**
 * The list of sum_e w_e down_e(SiLU(gate_e n) * up_e n) over the `n_used` experts with the largest logits, for the rows n
 * of entries t of the pass (`feedForward`); w is the softmax over all logits, renormalised over the chosen ones unless
 * `shares` says otherwise.
 */
export function expertFeedForward<R>(
  pass: Pass<R>,
  il: number,
  n_used: number,
  shares: Shares = 'chosen',
): (n: R, t: number) => R {
  const { weights, ops, order } = pass;
  const blk = `blk.${il}`;
  const router = linear(pass, `${blk}.ffn_gate_inp`);
  const each = (name: string) => {
    const matrices = weights.matrices(`${blk}.${name}.weight`);
    return (e: number, x: R) => ops.matVec(matrices[e]!, x, `${blk}.${name}.${e}`);
  };
  const [gate, up, down] = [each('ffn_gate_exps'), each('ffn_up_exps'), each('ffn_down_exps')];
  return (n, t) => {
    const expert = (e: number) =>
      down(e, ops.mul(ops.silu(gate(e, n), `${blk}.ffn_silu.${e}`), up(e, n), `${blk}.ffn_mul.${e}`));
    return ops.mixture(router(n), n_used, expert, { entry: order[t]!, il }, `${blk}.ffn_moe`, shares);
  };
}
