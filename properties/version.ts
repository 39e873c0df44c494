/** The version of the package, from its package.json: beside the sources, or one folder above the build. */
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { IsobatchError } from '../contract/errors.ts';

export function packageVersion(): string {
  for (const path of ['../package.json', '../../package.json']) {
    const file = fileURLToPath(new URL(path, import.meta.url));
    if (!existsSync(file)) continue;
    const { name, version } = JSON.parse(readFileSync(file, 'utf8')) as { name?: string; version?: string };
    if (name === 'isobatch' && version !== undefined) return version;
  }
  throw new IsobatchError('file', 'the package.json of isobatch is missing');
}
