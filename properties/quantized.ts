/** Models that the subject under test quantizes itself, before it loads them: files that live as long as the worker. */
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { IsobatchError } from '../contract/errors.ts';
import type { Subject } from '../contract/subject.ts';
import type { ModelSource } from './campaign-models.ts';
import { temporaryFolder } from './temporary.ts';

/**
 * The path of the quantized model. Throws `model` where the subject quantizes nothing, not to this type, or refuses
 * the model: in each case there is no such model for it.
 */
export async function quantizedFile(
  subject: Subject,
  source: ModelSource,
  type: string,
  name: string,
): Promise<string> {
  const { quantizes } = subject.info;
  if (subject.quantize === undefined || subject.loadFile === undefined || !quantizes?.includes(type))
    throw new IsobatchError(
      'model',
      `${name}: ${subject.info.name} does not quantize to ${type}; it does to ${quantizes?.join(', ') || 'nothing'}`,
      { name, type },
    );
  const folder = temporaryFolder();
  const from = 'path' in source ? source.path : join(folder, 'base.gguf');
  if ('bytes' in source) writeFileSync(from, source.bytes);
  const to = join(folder, 'model.gguf');
  try {
    await subject.quantize(from, to, type);
  } catch (error) {
    if (!(error instanceof IsobatchError) || error.kind !== 'refused') throw error;
    throw new IsobatchError('model', `${name}: ${error.message}`, { name, type });
  } finally {
    if ('bytes' in source) rmSync(from);
  }
  return to;
}
