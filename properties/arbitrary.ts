/**
 * Cases as a fast-check arbitrary: fast-check chooses the number of the case and drives the shrinking, the property
 * draws the case. Campaigns call `Property.generate` directly; both see the same cases.
 */
import fc from 'fast-check';
import type { Case, Env, Property } from './types.ts';

export class CaseArbitrary extends fc.Arbitrary<Case> {
  private readonly property: Property;
  private readonly env: Env;

  constructor(property: Property, env: Env) {
    super();
    this.property = property;
    this.env = env;
  }

  generate(random: fc.Random): fc.Value<Case> {
    const index = random.nextInt(0, 2 ** 31 - 1);
    return new fc.Value(this.property.generate(this.env, index), undefined);
  }

  canShrinkWithoutContext(value: unknown): value is Case {
    return (value as Case | null)?.property === this.property.name;
  }

  shrink(value: Case): fc.Stream<fc.Value<Case>> {
    const smaller = this.property.shrink(this.env, value)[Symbol.iterator]();
    const values = function* (): IterableIterator<fc.Value<Case>> {
      for (let next = smaller.next(); next.done !== true; next = smaller.next()) {
        yield new fc.Value(next.value, undefined);
      }
    };
    return new fc.Stream(values());
  }
}
