/**
 * What probes say about a failing case: of its history; if that shows nothing, of what it is compared with, because
 * the fault can lie there: the other history, or the sequence alone, token by token.
 */
import type { SubjectInfo } from '../../contract/subject.ts';
import type { Call, Case, Script } from '../types.ts';
import { candidatesFor, type Probed } from './candidates.ts';
import { type Load, probeStory } from './story.ts';

export interface ProbeEnv {
  /** `Subject.load`. */
  readonly load: Load;
  /** The model whose case failed. */
  readonly model: Probed;
  readonly subject: Pick<SubjectInfo, 'architectures' | 'splits'>;
}

/**
 * Sentences about a failing case, at most seven; none if the probe sees nothing wrong or does not fit (see `story.ts`).
 * Never rejects: whatever goes wrong on the way (a refusal, a death) only means that the probe has nothing to say.
 */
export async function probeFailure(env: ProbeEnv, c: Case): Promise<string[]> {
  if (c.script === undefined || !runs(env)) return [];
  const histories: [where: string, script: Script][] = [['', c.script]];
  if (c.base !== undefined) histories.push(['in the history that it is compared with: ', c.base]);
  const longest = c.alone?.reduce((most, { tokens }) => Math.max(most, tokens.length), 0) ?? 0;
  if (longest > 0)
    histories.push(['in the sequence alone, token by token: ', aloneScript(env, c.script, longest)]);
  for (const [where, script] of histories) {
    const sentences = await told(env, script);
    if (sentences.length > 0) return sentences.map((sentence) => where + sentence);
  }
  return [];
}

/** Whether the subject runs the probe's architecture; one that names none is asked by loading it. */
function runs({ subject: { architectures }, model }: ProbeEnv): boolean {
  const [probe] = candidatesFor(model);
  return probe !== undefined && (architectures.length === 0 || architectures.includes(probe.arch));
}

async function told({ load, model }: ProbeEnv, script: Script): Promise<readonly string[]> {
  try {
    return (await probeStory(load, script, model)).sentences;
  } catch {
    return [];
  }
}

/** One sequence of `n` tokens, each in a batch of its own, in the plainest context. */
function aloneScript({ subject, model }: ProbeEnv, { params }: Script, n: number): Script {
  const offered = subject.splits[model.memory] ?? [];
  const split = (['simple', 'sequence'] as const).find((p) => offered.includes(p)) ?? params.split;
  const { n_keep_tail: _, n_rs_seq: __, ...rest } = params;
  const call: Call = { op: 'decode', batch: { token: [0] } };
  return {
    params: { ...rest, split, n_ctx: n, n_batch: 1, n_ubatch: 1, n_seq_max: 1 },
    calls: Array.from({ length: n }, () => call),
  };
}
