/** All comparisons of the oracle's operators with ONNX Runtime, in the order of the table. */
import { attention, fusedAttention } from './attention.ts';
import type { Comparison } from './comparison.ts';
import { ssmConv, ssmConvWithState } from './conv.ts';
import { matmul } from './matmul.ts';
import { layerNorm, rmsNorm, simplifiedLayerNorm } from './norms.ts';
import { gelu, sigmoid, silu, siluBySigmoid, softcap, softplus, tanh } from './pointwise.ts';
import { rope, rotaryEmbedding } from './rope.ts';
import { unitParts, wkv6, wkv7 } from './rwkv.ts';
import { ssmScan } from './scan.ts';
import { ssmScanHeads } from './scan-heads.ts';
import { softmax } from './softmax.ts';

export const COMPARISONS: readonly Comparison[] = [
  matmul,
  softmax,
  rmsNorm,
  simplifiedLayerNorm,
  layerNorm,
  silu,
  siluBySigmoid,
  softplus,
  gelu,
  softcap,
  sigmoid,
  tanh,
  unitParts,
  wkv6,
  wkv7,
  ssmScan,
  ssmScanHeads,
  rope,
  attention,
  ssmConv,
  ssmConvWithState,
  rotaryEmbedding,
  fusedAttention,
];
