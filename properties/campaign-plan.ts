/**
 * What a campaign runs: units of (property, model), how many cases each gets, and in which ranges. The numbers of
 * cases without `--cases` or `--minutes` are all in one table here; they make a run of about five minutes on two cores.
 */
import { isTrained, RULES } from './campaign-models.ts';
import { sampleOf } from './sample.ts';
import type { ProbeAnswer, PropertyFacts } from './worker-messages.ts';
import type { PeerEnd } from './worker-peer.ts';

/** Cases of a default campaign, by property; `white` and `model` are for those that are not named. */
export const DEFAULT_CASES: Readonly<Record<string, number>> = {
  white: 10_000,
  model: 250,
  /** The oracle's bounds cost more than a second run of the engine. */
  reference: 100,
  /** Every implementation runs, the portable one too. */
  kernels: 600,
};

/** Trained models get this part of the cases. */
const TRAINED_PART = 1 / 10;
/** Cases in a range: the unit of work of a worker. Small enough to balance, large enough to pay for the talk. */
const RANGE = { white: 512, model: 128, trained: 16 };
/**
 * Before that every property gets a few short looks at one untrained model of each architecture, each twice as long as
 * the one before: most failures show within them, and need not wait until 20,000 cases of another property are through.
 */
const FIRST_LOOK = { white: 16, model: 8, trained: 0 };
const LOOKS = 4;
/** White-box cases that are announced together. */
const WHITE_BLOCK = 64;

export interface Unit {
  readonly property: PropertyFacts;
  readonly model: string;
  /** Architecture of the model, by which failures are grouped. */
  readonly family: string;
  /** Why it is skipped. */
  readonly skip?: string;
  /** Cases to run, or infinite until the time is up. */
  readonly first: number;
  readonly end: number;
  /** Cases in a range. */
  readonly range: number;
  /** Cases in the first look, 0 for none. */
  readonly look: number;
  /** Cases that are announced together. */
  readonly block: number;
}

export interface PlanOptions {
  readonly cases?: number;
  readonly minutes?: number;
  /** Multiplies the default numbers. */
  readonly scale?: number;
  readonly range?: readonly [number, number];
  readonly models: readonly string[];
  /** Nobody has asked for a number of cases, so large models get fewer (`sample.ts`). */
  readonly unsaid?: boolean;
}

/** All units, in the order of reports: properties as registered, models as given. */
export function planUnits(probe: ProbeAnswer, options: PlanOptions): Unit[] {
  return probe.properties.flatMap((property) => {
    const models = property.white ? [RULES] : options.models;
    const seen = new Set<string>();
    return models.map((model) => {
      const family = probe.models.find((m) => m.name === model)?.info.arch ?? RULES;
      const kind = property.white ? 'white' : isTrained(model) ? 'trained' : 'model';
      const unit = { ...planUnit(probe, property, model, options), family, range: RANGE[kind] };
      // What fits in one range is as quick to run as to look at.
      const look = seen.has(family) || unit.end - unit.first <= unit.range ? 0 : FIRST_LOOK[kind];
      if (look > 0) seen.add(family);
      return { ...unit, look };
    });
  });
}

function planUnit(
  probe: ProbeAnswer,
  property: PropertyFacts,
  model: string,
  options: PlanOptions,
): Omit<Unit, 'family' | 'look' | 'range'> {
  const refused = probe.refused[model];
  const skip = refused === undefined ? property.skip[model] : `the model is refused: ${refused.message}`;
  const info = probe.models.find((m) => m.name === model)?.info;
  const most = property.white || info === undefined ? undefined : sampleOf(info)?.cases;
  const wanted = casesOf(property, model, options);
  const few = options.unsaid === true && most !== undefined ? Math.min(wanted, most) : wanted;
  const [first, end] = options.range ?? [0, few];
  const block = property.white ? WHITE_BLOCK : 1;
  return { property, model, skip, first, end, block };
}

function casesOf(property: PropertyFacts, model: string, options: PlanOptions): number {
  if (options.minutes !== undefined) return Number.POSITIVE_INFINITY;
  const part = !property.white && isTrained(model) ? TRAINED_PART : 1;
  const wanted =
    options.cases ??
    (options.scale ?? 1) *
      (DEFAULT_CASES[property.name] ?? DEFAULT_CASES[property.white ? 'white' : 'model']!);
  return Math.max(1, Math.ceil(wanted * part));
}

/** Whether enough cases of a property ran to demand that each class occurs. */
export function demandsCoverage(options: Omit<PlanOptions, 'models'>): boolean {
  const { cases, minutes, range, scale = 1 } = options;
  return cases === undefined && minutes === undefined && range === undefined && scale >= 1;
}

/** Cases of a unit that one worker runs in one go. */
export interface Task {
  readonly unit: Unit;
  readonly first: number;
  readonly count: number;
  readonly block: number;
  /** A worker died in this block: it is run again one by one, to name the case. */
  readonly suspect?: PeerEnd;
}

/** Whether the next range of a unit is one of its short first looks. */
function isLooking({ unit, given }: { unit: Unit; given: number }): boolean {
  return unit.look > 0 && given < LOOKS;
}

/**
 * Ranges that a worker's own models, and those that nobody has, may be ahead of another worker's before it takes from
 * that: a model is loaded, answered by the oracle and copied with noise in each process that runs cases of it.
 */
const OTHERS = 1.5;
const NOBODYS = 0.5;
/** The same for another model than the last one: a library gets a new process for it. */
const SWITCH = 0.25;

/**
 * Hands out tasks: first short looks, unit by unit, then a worker stays with its unit while that has work, and takes
 * the unit that is farthest behind after that. Where it can, each worker has models of its own. Tasks of a dead worker
 * come back and go out first.
 */
export class TaskQueue {
  readonly #units: { unit: Unit; next: number; given: number }[];
  readonly #back: Task[] = [];
  readonly #closed = new Set<Unit>();
  /** Who was given cases of a model first. */
  readonly #owners = new Map<string, number>();
  /** Until when open-ended units get new ranges: milliseconds since the epoch. */
  readonly #deadline: number;

  constructor(units: readonly Unit[], deadline = Number.POSITIVE_INFINITY) {
    this.#units = units
      .filter((unit) => unit.skip === undefined)
      .map((unit) => ({ unit, next: unit.first, given: 0 }));
    this.#deadline = deadline;
  }

  /** The next task for a worker, preferably of the unit that it had last; undefined if there is none (now). */
  next(worker: number, current?: Unit): Task | undefined {
    const back = this.#back.shift();
    if (back !== undefined) return this.#closed.has(back.unit) ? this.next(worker, current) : back;
    const open = this.#units.filter(
      (u) => u.next < u.unit.end && !this.#closed.has(u.unit) && this.#inTime(u),
    );
    if (open.length === 0) return undefined;
    const looking = open.filter((u) => isLooking(u));
    const turn = (u: { unit: Unit; given: number }) => u.given + this.#distance(u.unit, worker, current);
    const least = (looking.length > 0 ? looking : open).reduce((a, b) => (turn(b) < turn(a) ? b : a));
    // Open-ended units take turns, so that each has had its share when the time is up.
    const same = open.find((u) => u.unit === current && Number.isFinite(u.unit.end));
    const chosen = looking.length > 0 ? least : (same ?? least);
    if (!this.#owners.has(chosen.unit.model)) this.#owners.set(chosen.unit.model, worker);
    const { range, look, end } = chosen.unit;
    const size = isLooking(chosen) ? Math.min(range, look * 2 ** chosen.given) : range;
    const count = Math.min(size, end - chosen.next);
    const first = chosen.next;
    chosen.next += count;
    chosen.given++;
    return { unit: chosen.unit, first, count, block: chosen.unit.block };
  }

  #distance({ model }: Unit, worker: number, current?: Unit): number {
    const owner = this.#owners.get(model);
    if (model === RULES || model === current?.model) return 0;
    if (owner === worker) return SWITCH;
    return owner === undefined ? NOBODYS : OTHERS;
  }

  /** Every unit gets its first range, however little time there is: a unit without cases would say nothing. */
  #inTime(u: { unit: Unit; given: number }): boolean {
    return Number.isFinite(u.unit.end) || u.given === 0 || Date.now() < this.#deadline;
  }

  /** Work of a worker that died. */
  giveBack(task: Task): void {
    if (task.count > 0) this.#back.push(task);
  }

  /** No more work of this unit. */
  close(unit: Unit): void {
    this.#closed.add(unit);
  }

  /** No more work at all. */
  closeAll(): void {
    for (const { unit } of this.#units) this.#closed.add(unit);
  }
}
