/**
 * The releases of llama.cpp that can be named with `--lib`: each is a prebuilt package of the npm registry, whose
 * checksum is pinned here, so that a name means the same bytes everywhere (facts: libllama.md 7). The table is in
 * order of age, which is the order of every function here.
 */
import { IsobatchError } from '../../../contract/errors.ts';
import { unknownName } from '../../names.ts';

export interface Release {
  /** The tag of llama.cpp. */
  readonly name: string;
  /** The npm package that holds the libraries, and its version. */
  readonly package: string;
  readonly npm_version: string;
  /** Checksum of the package's tarball, as npm writes it: `sha512-` and base64. */
  readonly integrity: string;
  /** Year and month of the tag, approximately. */
  readonly date: string;
}

const PACKAGE = '@node-llama-cpp/linux-x64';

/** Oldest first. */
export const releases: readonly Release[] = [
  release(
    'b3889',
    '2024-10',
    '3.1.1',
    's3VsBTrVWJgBfV5HruhfkTrnh5ykbuaCXvm1xRMpmMpnkL2tMMOrJJFJJIvrTurtGTxEvbO45O+wLU4wrVlQOw==',
  ),
  release(
    'b4234',
    '2024-11',
    '3.3.0',
    'dAyGgNV0B5iJg8EIEQhSWolx/QZzhAuHf8E1+hmkjfZn/xOsl4mrqucFmWsLtkqMMzNr/i45qUjpT46ogaPeRA==',
  ),
  release(
    'b4980',
    '2025-03',
    '3.7.0',
    'IC8YtwvIM3sTwf2VKcOxkTmrTJLvE0QqB4dweFqlwFJMh0JDNqRMzoAl5JcN6Q7swyStB9PzsUSklcVrw+xPBw==',
  ),
  release(
    'b5640',
    '2025-06',
    '3.10.0',
    'FbhcI5vfte5usxL4VOU+VmVSaA8QQ+Y3lqWym22PtB3BbLpvDbUK5NF060RvApOBUcLdHM08de8Cu91ta87zhQ==',
  ),
  release(
    'b6122',
    '2025-08',
    '3.12.0',
    '5FYj1bjW45ElF9L6PMWS6LCxItZWrHzl+BrKTxI+HorqUnY6PJ2OxZfeGSvfLYiEusSx973KcSs+ccJrNmMO2w==',
  ),
  release(
    'b6673',
    '2025-10',
    '3.14.0',
    'flqBnK0PQcdrQQA/+eNl+nCJyXWpqItdkiPdiE9MxpF6PVoU07lBupkf/s3vXZpLC2ZU+8y/5me36tB4JGH23A==',
  ),
  release(
    'b8095',
    '2026-02',
    '3.16.0',
    'MkepOeCJRoAHorRMgNkyEpDiRTnPVOnG/YcNvttZ6yvv4unMLhMQ/vold414Rjfkl0rIZJyCAjEImZ1dvZ1lhA==',
  ),
  release(
    'b8352',
    '2026-03',
    '3.18.0',
    '9bMSGc8UDdqK8yb67knGnKNPKHfPuPQPygrXHcMNibnHRjVdgDnK19jb5oYAry3w5lqMQV6P/x1CK2Gj7qfUzQ==',
  ),
  release(
    'v0.5.0',
    '2026-09',
    '3.22.1',
    '5uCCDNqWCNfaAm8aR/Uzxbo4HBpKgNF91kCHPepKhgMgV2OAmatoefbOlMihsqCiH2Od35E/eUHQCFbfRBJuOg==',
  ),
];

function release(name: string, date: string, npm_version: string, sha512: string): Release {
  return { name, package: PACKAGE, npm_version, integrity: `sha512-${sha512}`, date };
}

/** Names of the releases, oldest first. */
export const releaseNames: readonly string[] = releases.map((r) => r.name);

export function isRelease(name: string): boolean {
  return releaseNames.includes(name);
}

/** Throws `usage` with the known names, and with the nearest one. */
export function releaseByName(name: string): Release {
  const found = releases.find((r) => r.name === name);
  if (found === undefined) throw unknownName('release of llama.cpp', name, releaseNames);
  return found;
}

/** Negative if `a` is older than `b`, 0 if they are the same, positive if it is newer. Throws `usage`. */
export function compareReleases(a: string, b: string): number {
  return releases.indexOf(releaseByName(a)) - releases.indexOf(releaseByName(b));
}

/** From one release to another, both included, oldest first; without a bound from or to the end. Throws `usage`. */
export function releasesBetween(from?: string, to?: string): readonly Release[] {
  const first = from ?? releaseNames[0]!;
  const last = to ?? releaseNames.at(-1)!;
  if (compareReleases(first, last) > 0)
    throw new IsobatchError('usage', `no release lies between ${first} and ${last}: ${first} is newer`, {
      from: first,
      to: last,
    });
  return releases.filter((r) => compareReleases(first, r.name) <= 0 && compareReleases(r.name, last) <= 0);
}

/** Why the real llama.cpp cannot be driven on a platform; undefined where it can. */
export function platformRefusal(
  platform: string = process.platform,
  arch: string = process.arch,
): string | undefined {
  if (platform === 'linux' && arch === 'x64') return undefined;
  return (
    'real llama.cpp can be driven on Linux x86-64 only: its structs are passed by the calling convention of that ' +
    `platform, and this is ${platform} ${arch}`
  );
}

/** Throws `native` with the reason on any platform but Linux x86-64. */
export function checkPlatform(platform: string = process.platform, arch: string = process.arch): void {
  const why = platformRefusal(platform, arch);
  if (why !== undefined) throw new IsobatchError('native', why, { platform, arch });
}
