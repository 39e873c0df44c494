import { describe, expect, it } from 'vitest';
import {
  checkPlatform,
  compareReleases,
  isRelease,
  releaseByName,
  releaseNames,
  releases,
  releasesBetween,
} from './builds.ts';

describe('the table of releases', () => {
  it('stands in order of age', () => {
    const dates = releases.map((r) => r.date);
    expect(dates).toEqual([...dates].sort());
    const npm = releases.map((r) => Number(r.npm_version.split('.')[1]));
    expect(npm).toEqual([...npm].sort((a, b) => a - b));
    expect(releaseNames).toEqual([...new Set(releaseNames)]);
  });

  it('pins a whole sha512 for each, all different', () => {
    for (const { integrity } of releases) {
      expect(integrity).toMatch(/^sha512-[A-Za-z0-9+/]{86}==$/);
      expect(Buffer.from(integrity.slice(7), 'base64')).toHaveLength(64);
    }
    expect(new Set(releases.map((r) => r.integrity)).size).toBe(releases.length);
  });
});

describe('a name of a release', () => {
  it('is found', () => {
    expect(releaseByName('b6122').npm_version).toBe('3.12.0');
    expect(isRelease('v0.5.0')).toBe(true);
    expect(isRelease('b1')).toBe(false);
  });

  it('that is unknown is refused with the nearest one and the list', () => {
    expect(() => releaseByName('b6123')).toThrow(expect.objectContaining({ kind: 'usage' }));
    expect(() => releaseByName('b6123')).toThrow(/did you mean b6122\?.*b3889, b4234.*v0\.5\.0/);
  });

  it('has an age', () => {
    expect(compareReleases('b3889', 'v0.5.0')).toBeLessThan(0);
    expect(compareReleases('v0.5.0', 'b8352')).toBeGreaterThan(0);
    expect(compareReleases('b4980', 'b4980')).toBe(0);
    expect(() => compareReleases('b4980', 'b1')).toThrow(/unknown release/);
  });
});

describe('a range of releases', () => {
  const names = (from?: string, to?: string) => releasesBetween(from, to).map((r) => r.name);

  it('includes both ends', () => {
    expect(names()).toEqual(releaseNames);
    expect(names('b6673', 'b8352')).toEqual(['b6673', 'b8095', 'b8352']);
    expect(names('b8352')).toEqual(['b8352', 'v0.5.0']);
    expect(names(undefined, 'b4234')).toEqual(['b3889', 'b4234']);
    expect(names('b5640', 'b5640')).toEqual(['b5640']);
  });

  it('must not run backwards, nor name what nobody knows', () => {
    expect(() => names('v0.5.0', 'b3889')).toThrow(/v0\.5\.0 is newer/);
    expect(() => names('b38')).toThrow(/unknown release/);
  });
});

describe('the platform', () => {
  it('is Linux x86-64', () => {
    expect(() => checkPlatform('linux', 'x64')).not.toThrow();
  });

  it.each([
    ['darwin', 'arm64'],
    ['win32', 'x64'],
    ['linux', 'arm64'],
  ])('%s %s is refused with the reason', (platform, arch) => {
    expect(() => checkPlatform(platform, arch)).toThrow(
      new RegExp(`Linux x86-64 only: .*this is ${platform} ${arch}`),
    );
  });
});
