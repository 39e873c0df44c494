/** `isobatch doctor`: which releases of llama.cpp lie in the cache. None of them is needed before it is named. */
import { platformRefusal, releases } from '../properties/subjects/llama/builds.ts';
import { cacheState } from '../properties/subjects/llama/cache.ts';
import type { Finding } from './doctor.ts';

/** One row a release, oldest first; elsewhere than on Linux x86-64 one row with the reason. */
export function llamaFindings(platform?: string, arch?: string): Finding[] {
  const why = platformRefusal(platform, arch);
  if (why !== undefined) return [{ what: 'llama.cpp', state: 'none', detail: `Linux x86-64 needed: ${why}` }];
  return releases.map((release): Finding => {
    const what = `llama.cpp ${release.name}`;
    const found = cacheState(release);
    if (found.state === 'cached')
      return { what, state: 'ok', detail: `${found.dir} (${(found.bytes / 1e6).toFixed(1)} MB)` };
    const first = 'fetched on first use';
    const detail = found.state === 'absent' ? `not fetched: ${first}` : `damaged (${found.why}): ${first}`;
    return { what, state: 'none', detail };
  });
}
