/**
 * Perplexity of a trained model on the first 64 KiB of a text:
 *
 *   node dist/golden/perplexity-main.js MODEL TEXT [--by engine|oracle] [--chunks N] [--ubatch N] [--isa NAME]
 *
 * MODEL: tiny-llama, tiny-mamba, tiny-gemma2 or a GGUF file. TEXT: recall64k, prose or a file.
 */
import { existsSync, readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { IsobatchError } from '../contract/errors.ts';
import { engineSubject } from '../engine/subject.ts';
import { loadModel } from '../model/load.ts';
import { goldenModel, goldenModelNames, goldenText, goldenTextNames } from './assets.ts';
import { oracleChunks, subjectChunks } from './chunks.ts';
import { perplexity } from './perplexity.ts';

const FIRST_BYTES = 65_536;

function bytesOf(name: string, known: readonly string[], golden: (name: string) => Uint8Array): Uint8Array {
  if (known.includes(name)) return golden(name);
  if (!existsSync(name))
    throw new IsobatchError('file', `there is no ${name} (known names: ${known.join(', ')})`);
  return readFileSync(name);
}

async function main(args: string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      by: { type: 'string', default: 'engine' },
      chunks: { type: 'string' },
      ubatch: { type: 'string' },
      isa: { type: 'string' },
    },
  });
  const [modelName, textName] = positionals;
  if (modelName === undefined || textName === undefined)
    throw new IsobatchError('usage', 'needs MODEL and TEXT');
  const bytes = bytesOf(modelName, goldenModelNames, goldenModel);
  const text = bytesOf(textName, goldenTextNames, goldenText).subarray(0, FIRST_BYTES);
  const start = process.hrtime.bigint();
  const chunk =
    values.by === 'oracle'
      ? oracleChunks(loadModel(bytes, modelName))
      : await subjectChunks(engineSubject().load(bytes, modelName), {
          n_ubatch: values.ubatch === undefined ? undefined : Number(values.ubatch),
          isa: values.isa,
        });
  const result = await perplexity(chunk, text, {
    chunks: values.chunks === undefined ? undefined : Number(values.chunks),
  });
  const seconds = Number(process.hrtime.bigint() - start) / 1e9;
  console.log(
    `${modelName} on ${textName} by ${values.by}: PPL ${result.ppl.toFixed(6)}, half ${result.half.toFixed(6)} ` +
      `(${result.n_chunks} chunks, ${result.n_tokens} predictions, ${seconds.toFixed(1)} s)`,
  );
}

main(process.argv.slice(2)).catch((error: Error) => {
  console.error(error instanceof IsobatchError ? error.message : String(error));
  process.exitCode = error instanceof IsobatchError && error.kind === 'usage' ? 2 : 3;
});
