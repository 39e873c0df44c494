/**
 * Campaigns whose subjects are killed from outside at random moments: nothing of a campaign may depend on when that
 * happens. Every case must be in the result, every campaign must end by itself, and a death must be called a death.
 *
 * Linux only: what is killed is found in /proc. Only processes that workers of this very process have started are.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { type VerifyOptions, verify } from './campaign.ts';
import { type CampaignResult, exitCodeOf } from './campaign-result.ts';
import { Random } from './random.ts';

export interface KillOptions {
  /** What each campaign is asked for; its seed is the number of the campaign. */
  readonly campaign: VerifyOptions;
  readonly kills: number;
  /** Milliseconds between two kills: drawn evenly from 0 to twice that. */
  readonly mean_ms: number;
  readonly seed: number;
  readonly onKill?: (n: number) => void;
}

/** One campaign. */
export interface KilledCampaign {
  readonly kills: number;
  /** Cases that were planned, and those that are in the result. */
  readonly planned: number;
  readonly cases: number;
  /** As of `isobatch verify`; undefined if the campaign did not end by itself. */
  readonly exit_code?: number;
  readonly signatures: Readonly<Record<string, number>>;
  /** The error that ended it. */
  readonly error?: string;
}

/** Runs campaigns until so many kills are done; each goes on to its end. */
export async function runKilled(options: KillOptions): Promise<KilledCampaign[]> {
  const out: KilledCampaign[] = [];
  for (let kills = 0, n = 0; kills < options.kills; n++) {
    const one = await killedCampaign(options, n, kills);
    out.push(one);
    kills += one.kills;
    // A campaign in which there is nothing to kill would be run for ever.
    if (one.kills === 0) break;
  }
  return out;
}

async function killedCampaign(options: KillOptions, n: number, before: number): Promise<KilledCampaign> {
  const r = new Random(options.seed, n, 0);
  let kills = 0;
  let timer: NodeJS.Timeout | undefined;
  const later = (): void => {
    timer = setTimeout(kill, r.below(2 * options.mean_ms));
  };
  const kill = (): void => {
    const living = subjects();
    if (living.length > 0 && killed(r.pick(living))) {
      kills++;
      options.onKill?.(before + kills);
    }
    if (before + kills < options.kills) later();
  };
  let began = false;
  const onProgress = ({ stage, cases }: { stage: string; cases: number }): void => {
    // Until the first case a death is an error, as it should be: there may be no subject at all.
    if (began || stage !== 'running' || cases === 0) return;
    began = true;
    later();
  };
  try {
    const result = await verify({ ...options.campaign, seed: `${options.seed}-${n}` }, { onProgress });
    return { kills, ...told(result) };
  } catch (error) {
    return { kills, planned: 0, cases: 0, signatures: {}, error: (error as Error).message };
  } finally {
    clearTimeout(timer);
  }
}

function told(result: CampaignResult): Omit<KilledCampaign, 'kills'> {
  const signatures: Record<string, number> = {};
  let cases = 0;
  for (const { tally } of result.units) {
    cases += tally.cases;
    for (const [name, count] of Object.entries(tally.signatures))
      signatures[name] = (signatures[name] ?? 0) + count;
  }
  const run = result.units.filter(({ status }) => status !== 'skipped').length;
  return {
    planned: run * (result.settings.cases ?? 0),
    cases,
    exit_code: exitCodeOf(result),
    signatures,
  };
}

/** What is wrong with a campaign, in words; empty if nothing is. */
export function faultsOf(one: KilledCampaign): string[] {
  if (one.error !== undefined) return [`it did not end by itself: ${one.error}`];
  const faults: string[] = [];
  if (one.cases !== one.planned) faults.push(`${one.cases} of ${one.planned} cases are in the result`);
  const vague = Object.keys(one.signatures).filter((name) => /nonsense|threw/.test(name));
  for (const name of vague) faults.push(`a death is not called one: ${name}`);
  const deaths = deathsOf(one);
  if (deaths > one.kills) faults.push(`${deaths} deaths by SIGKILL after ${one.kills} kills`);
  return faults;
}

/** Cases that failed by SIGKILL. A kill while nothing was asked, or in shrinking, is none of them. */
export function deathsOf({ signatures }: KilledCampaign): number {
  return Object.entries(signatures).reduce(
    (n, [name, count]) => (name.includes('SIGKILL') ? n + count : n),
    0,
  );
}

/** Processes that children of this process have started: the subjects of its workers. */
function subjects(): number[] {
  const parents = parentsOf();
  return [...parents].filter(([, parent]) => parents.get(parent) === process.pid).map(([pid]) => pid);
}

/** Every living process with its parent. */
function parentsOf(): Map<number, number> {
  const parents = new Map<number, number>();
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      // "pid (name) state parent ...", and the name may hold anything.
      const stat = readFileSync(`/proc/${name}/stat`, 'latin1');
      const [state, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      if (state !== 'Z') parents.set(Number(name), Number(parent));
    } catch {
      // It is gone.
    }
  }
  return parents;
}

function killed(pid: number): boolean {
  try {
    process.kill(pid, 'SIGKILL');
    return true;
  } catch {
    return false; // it was faster
  }
}
