/** What queries are multiplied by where nothing is turned (llama4). */

export interface Temperature {
  /** Positions of a step. */
  readonly length: number;
  readonly scale: number;
}

/** 1 + scale ln(floor((pos + 1) / length) + 1), a float32; 1 if there is none. */
export function temperatureAt(t: Temperature | null, pos: number): number {
  return t === null ? 1 : Math.fround(1 + t.scale * Math.log(Math.floor((pos + 1) / t.length) + 1));
}
