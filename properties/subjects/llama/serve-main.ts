/**
 * The process in which a libllama lives: serves it over the subject protocol until its parent says bye. The argument is
 * a JSON record of the build and of the instruction set that is pinned. What the library logs during a call goes to
 * standard error as well, so that its last words are known if it aborts.
 */
import type { RoundingProfile } from '../../../contract/subject.ts';
import { writeFrameSync } from '../../frames.ts';
import { errorRecord } from '../../protocol.ts';
import { serveSubject } from '../serve.ts';
import { type BuildFiles, Library } from './library.ts';
import { llamaSubject } from './subject.ts';

/** What every release keeps: the weakest statement about how it rounds. */
const WEAKEST: RoundingProfile = {
  fma: false,
  products: { order: 'any' },
  rows: { order: 'any' },
  keys: { order: 'any' },
  rope: 'F32',
  f16_activations: 'F16',
  attention: 'F32',
  softplus: 'log1p',
  kv: 'as asked',
};
const WEAKEST_FLASH: RoundingProfile = { ...WEAKEST, attention: 'F16', kv: 'F16' };

interface Job {
  readonly files: BuildFiles;
  readonly isa?: string;
}

// What libraries print must not come between the frames.
process.stdout.write = process.stderr.write.bind(process.stderr) as typeof process.stdout.write;

const { files, isa } = JSON.parse(process.argv[2]!) as Job;
try {
  const subject = llamaSubject(new Library(files, isa), { rounding: WEAKEST, rounding_flash: WEAKEST_FLASH });
  await serveSubject(subject, process.stdin, (header, payload) => writeFrameSync(1, header, payload));
} catch (error) {
  // Nobody has asked yet; the first question gets the reason.
  writeFrameSync(1, { id: 1, error: errorRecord(error) });
}
process.exit(0);
