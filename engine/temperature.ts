/**
 * By how much queries are multiplied where nothing is turned (llama4): 1 + scale ln(floor((pos + 1) / length) + 1), computed
 * in float64 and rounded once. A table of rows of one number, as the context fills them by position.
 */
import { ln64, type PositionTable } from './rope.ts';

export class TemperatureTable implements PositionTable {
  readonly width = 1;
  readonly #length: number;
  readonly #scale: number;

  constructor({ length, scale }: { readonly length: number; readonly scale: number }) {
    this.#length = length;
    this.#scale = scale;
  }

  copyRow(pos: number, out: Float32Array, at: number): void {
    const steps = Math.floor((pos + 1) / this.#length);
    out[at] = steps === 0 ? 1 : 1 + this.#scale * ln64(steps + 1);
  }

  /** A step turns no query. */
  copyTurn(_delta: number, out: Float32Array, at: number): void {
    out[at] = 1;
  }
}
