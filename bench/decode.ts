/**
 * Decode of the trained models: microseconds a token, and what a warm decode allocates.
 *
 *   node --expose-gc dist/bench/decode.js [--tokens N]
 *
 * One sequence, token by token (memory cleared every 256 tokens), and 8 sequences side by side. Before anything is
 * timed, the logits of the last token are compared by bits with those of one batch of all tokens.
 */
import { engineSubject } from '../engine/subject.ts';
import { goldenModel, goldenModelNames, goldenText } from '../golden/assets.ts';
import { textTokens } from '../golden/tokens.ts';

const SPAN = 256;

export interface DecodeFigure {
  model: string;
  isa: string;
  n_seqs: number;
  us_per_token: number;
  /** Growth of all array buffers over the timed decodes, in bytes. */
  array_buffer_bytes: number;
}

/** Times decodes of n_seqs tokens a call. Throws if the answers depend on the batch. */
export function measureDecode(name: string, isa: string, n_seqs: number, n_tokens: number): DecodeFigure {
  const model = engineSubject().load(goldenModel(name), name);
  const split = model.info.memory === 'attention' ? 'simple' : 'equal';
  const shape = {
    n_ctx: SPAN * n_seqs,
    n_batch: SPAN,
    n_ubatch: SPAN,
    n_seq_max: n_seqs,
    split,
    isa,
  } as const;
  const context = model.open(shape);
  const text = textTokens(goldenText('prose')).slice(0, SPAN);
  const seq_id = Array.from({ length: n_seqs }, (_, q) => [q]);
  const logits = seq_id.map(() => true);
  const batches = text.map((token) => ({ token: seq_id.map(() => token), seq_id, logits }));

  const whole = model.open({ ...shape, n_seq_max: 1 });
  const wanted = Array.from(whole.decode({ token: text }).logits);
  const round = () => {
    context.clear();
    let last = context.decode(batches[0]!);
    for (let i = 1; i < SPAN; i++) last = context.decode(batches[i]!);
    return last;
  };
  const got = round().logits;
  if (wanted.some((x, v) => !Object.is(x, got[v])))
    throw new Error(`${name}: a token alone and in a batch differ`);

  round();
  globalThis.gc?.();
  const held = process.memoryUsage().arrayBuffers;
  const rounds = Math.max(1, Math.ceil(n_tokens / (SPAN * n_seqs)));
  let best_ns = Infinity;
  for (let r = 0; r < rounds; r++) {
    const start = process.hrtime.bigint();
    round();
    best_ns = Math.min(best_ns, Number(process.hrtime.bigint() - start));
  }
  const array_buffer_bytes = process.memoryUsage().arrayBuffers - held;
  return { model: name, isa, n_seqs, us_per_token: best_ns / 1000 / (SPAN * n_seqs), array_buffer_bytes };
}

if (process.argv[1]?.endsWith('decode.js')) {
  const at = process.argv.indexOf('--tokens');
  const n_tokens = at > 0 ? Number(process.argv[at + 1]) : 20_000;
  console.log(`decode, contexts of ${SPAN} tokens, best round of about ${n_tokens} tokens`);
  for (const name of goldenModelNames) {
    for (const isa of engineSubject().info.isas) {
      for (const n_seqs of [1, 8]) {
        const f = measureDecode(name, isa, n_seqs, isa === 'portable' ? 256 * n_seqs : n_tokens);
        console.log(
          `${name}  ${isa.padEnd(8)}  ${n_seqs} sequences  ${f.us_per_token.toFixed(1).padStart(8)} us a token  ` +
            `${f.array_buffer_bytes} bytes of array buffers allocated`,
        );
      }
    }
  }
}
