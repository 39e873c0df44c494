/**
 * The process in which a libllama lives: serves it over the subject protocol until its parent says bye. The argument is
 * a JSON record of the build and of the instruction set that is pinned. What the library logs during a call goes to
 * standard error as well, so that its last words are known if it aborts.
 */
import { writeFrameSync } from '../../frames.ts';
import { errorRecord } from '../../protocol.ts';
import { serveSubject } from '../serve.ts';
import type { LibFiles } from './fetch.ts';
import { Library } from './library.ts';
import { profileOf } from './profile-cache.ts';
import { drives, eraOf } from './releases.ts';
import { llamaSubject } from './subject.ts';

interface Job {
  readonly files: LibFiles;
  readonly isa?: string;
}

// What libraries print must not come between the frames.
process.stdout.write = process.stderr.write.bind(process.stderr) as typeof process.stdout.write;

const { files, isa } = JSON.parse(process.argv[2]!) as Job;
try {
  const library = new Library(files, isa);
  const plain = llamaSubject(library);
  const flash_f32 = drives(eraOf(library), 'flash_f32');
  const profile = await profileOf(plain, { ...files, isa }, { flash_f32 });
  const subject = llamaSubject(library, profile);
  await serveSubject(subject, process.stdin, (header, payload) => writeFrameSync(1, header, payload));
} catch (error) {
  // Nobody has asked yet; the first question gets the reason.
  writeFrameSync(1, { id: 1, error: errorRecord(error) });
}
process.exit(0);
