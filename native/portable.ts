/**
 * The plan interpreter in TypeScript: the slowest of the named implementations, with the same bits as all others. It
 * runs where no compiler is, and is the one that a reader can follow with a debugger.
 */

import { DIM, type Kernels, type Memory, OP, OP_WORDS, ROPE, STATUS, TYPE } from './plan.ts';
import { attention } from './portable/attention.ts';
import { expertMatmul, expertSum, route } from './portable/experts.ts';
import { capOutputs, geluMul, normAdd, outputRows, scaleRows, timesEach } from './portable/gemma.ts';
import { matmul } from './portable/matmul.ts';
import {
  embed,
  gatherRows,
  headNorm,
  kvLoad,
  kvStore,
  rmsNorm,
  rope,
  siluMul,
  stateGather,
  stateScatter,
} from './portable/rows.ts';
import * as rwkv from './portable/rwkv.ts';
import { Sets } from './portable/sets.ts';
import { shortConv } from './portable/shortconv.ts';
import { ssmConv, ssmGate, ssmScan } from './portable/ssm.ts';
import { ssmGateNorm, ssmScanHeads } from './portable/ssm-heads.ts';
import { type Views, viewsOf } from './portable/views.ts';

/** Which operand of an opcode is an element type; a type that we do not know is a bad op. */
const TYPE_OPERAND: Readonly<Record<number, number>> = {
  [OP.embed]: 6,
  [OP.matmul]: 11,
  [OP.kvStore]: 6,
  [OP.kvLoad]: 6,
  [OP.attention]: 11,
  [OP.expertMatmul]: 15,
};

function setsOf(seqs: number, a: Int32Array, dims: Int32Array): Sets {
  return new Sets(seqs, dims[a[2]!]!, dims[DIM.kept]!);
}

/** One record; 0 or a STATUS. */
function runOp(a: Int32Array, dims: Int32Array, m: Views): number {
  const op = a[0]!;
  const typeAt = TYPE_OPERAND[op];
  if (typeAt !== undefined && a[typeAt] !== TYPE.F32 && a[typeAt] !== TYPE.F16) return STATUS.badOp;
  const rows = dims[a[1]!]!;
  switch (op) {
    case OP.embed:
      embed(a, rows, m);
      return 0;
    case OP.rmsNorm:
      rmsNorm(a, rows, m);
      return 0;
    case OP.matmul:
      matmul(a, rows, m);
      return 0;
    case OP.rope:
      if (a[9] !== ROPE.NORMAL && a[9] !== ROPE.NEOX) return STATUS.badOp;
      rope(a, rows, m);
      return 0;
    case OP.kvStore:
      return kvStore(a, rows, m) ? 0 : STATUS.kvOverflow;
    case OP.kvLoad:
      kvLoad(a, rows, m);
      return 0;
    case OP.attention:
      attention(a, rows, m);
      return 0;
    case OP.siluMul:
      siluMul(a, rows, m);
      return 0;
    case OP.gatherRows:
      gatherRows(a, rows, m);
      return 0;
    case OP.stateGather:
      stateGather(a, rows, m);
      return 0;
    case OP.stateScatter:
      stateScatter(a, rows, m);
      return 0;
    case OP.ssmConv:
      ssmConv(a, setsOf(rows, a, dims), m);
      return 0;
    case OP.ssmScan:
      ssmScan(a, setsOf(rows, a, dims), m);
      return 0;
    case OP.ssmGate:
      ssmGate(a, rows, m);
      return 0;
    case OP.ssmScanHeads:
      ssmScanHeads(a, setsOf(rows, a, dims), m);
      return 0;
    case OP.ssmGateNorm:
      ssmGateNorm(a, rows, m);
      return 0;
    case OP.shortConv:
      shortConv(a, setsOf(rows, a, dims), m);
      return 0;
    case OP.headNorm:
      headNorm(a, rows, m);
      return 0;
    case OP.route:
      route(a, rows, m);
      return 0;
    case OP.expertMatmul:
      expertMatmul(a, rows, m);
      return 0;
    case OP.expertSum:
      expertSum(a, rows, m);
      return 0;
    case OP.layerNorm:
      rwkv.layerNorm(a, rows, m);
      return 0;
    case OP.tokenShift:
      rwkv.tokenShift(a, setsOf(rows, a, dims), m);
      return 0;
    case OP.lerp:
      rwkv.lerp(a, rows, m);
      return 0;
    case OP.pointwise:
      return rwkv.pointwise(a, rows, m) ? 0 : STATUS.badOp;
    case OP.gatedAdd:
      rwkv.gatedAdd(a, rows, m);
      return 0;
    case OP.wkv6:
      rwkv.wkv6(a, setsOf(rows, a, dims), m);
      return 0;
    case OP.wkv7Keys:
      rwkv.wkv7Keys(a, rows, m);
      return 0;
    case OP.wkv7:
      rwkv.wkv7(a, setsOf(rows, a, dims), m);
      return 0;
    case OP.wkv7Output:
      rwkv.wkv7Output(a, rows, m);
      return 0;
    case OP.geluMul:
      geluMul(a, rows, m);
      return 0;
    case OP.scaleRows:
      scaleRows(a, rows, m);
      return 0;
    case OP.timesEach:
      timesEach(a, rows, m);
      return 0;
    case OP.outputRows:
      outputRows(a, rows, m);
      return 0;
    case OP.normAdd:
      normAdd(a, rows, m);
      return 0;
    case OP.capOutputs:
      capOutputs(a, rows, m);
      return 0;
    default:
      return STATUS.badOp;
  }
}

/** The portable implementation. */
export const portable: Kernels = {
  isa: 'portable',
  run(plan: Int32Array, n_ops: number, dims: Int32Array, memory: Memory): number {
    const views = viewsOf(memory);
    for (let i = 0; i < n_ops; i++) {
      const status = runOp(plan.subarray(i * OP_WORDS, (i + 1) * OP_WORDS), dims, views);
      if (status !== 0) return (i << 8) | status;
    }
    return 0;
  },
};
