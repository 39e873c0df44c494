/**
 * JUnit XML: one suite a property, one test a model. The form is the one that CI systems read (testsuites >
 * testsuite > testcase with failure, error or skipped).
 */
import type { CampaignResult, FailureRecord, UnitResult } from '../properties/campaign-result.ts';

/** Escapes text for content and attributes; characters that XML 1.0 cannot hold become a replacement. */
export function escapeXml(text: string): string {
  return (
    Buffer.from(text, 'utf8')
      .toString('utf8') // lone surrogates become U+FFFD
      .replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`)
      .replace(/[\n\r\t]/g, (c) => `&#${c.charCodeAt(0)};`)
      // biome-ignore lint/suspicious/noControlCharactersInRegex: those that XML forbids
      .replace(/[\u0000-\u001f\ufffe\uffff]/g, '\ufffd')
  );
}

function attributes(values: Record<string, string | number>): string {
  return Object.entries(values)
    .map(([name, value]) => ` ${name}="${escapeXml(String(value))}"`)
    .join('');
}

interface Test {
  readonly name: string;
  readonly time_s: number;
  /** Elements inside, in XML. */
  readonly body: string;
  readonly outcome: 'passed' | 'failed' | 'skipped';
}

function suite(name: string, tests: readonly Test[]): string {
  const n = (outcome: Test['outcome']) => tests.filter((t) => t.outcome === outcome).length;
  const time = tests.reduce((sum, t) => sum + t.time_s, 0);
  const head = attributes({
    name,
    tests: tests.length,
    failures: n('failed'),
    errors: 0,
    skipped: n('skipped'),
    time: time.toFixed(3),
  });
  const cases = tests.map((t) => {
    const own = attributes({ classname: name, name: t.name, time: t.time_s.toFixed(3) });
    return t.body === '' ? `    <testcase${own}/>` : `    <testcase${own}>\n${t.body}    </testcase>`;
  });
  return `  <testsuite${head}>\n${cases.join('\n')}\n  </testsuite>`;
}

function failureXml(record: FailureRecord, file: string | undefined): string {
  const { failure, count } = record;
  const { what, index, got, want } = failure.difference;
  const text = [
    failure.message,
    `${what}${index === undefined ? '' : `, element ${index}`}: got ${got}, want ${want}`,
    `case ${failure.case.index} of seed ${failure.case.seed}, ${count} like it`,
    failure.explanation?.sentence ?? '',
    ...(failure.probe ?? []),
    file === undefined ? '' : `isobatch replay ${file}`,
    record.log ?? '',
  ].filter(Boolean);
  const own = attributes({ message: failure.message, type: record.signature });
  return `      <failure${own}>${escapeXml(text.join('\n'))}</failure>\n`;
}

function unitTest(
  unit: UnitResult,
  result: CampaignResult,
  caseFile: (f: FailureRecord) => string | undefined,
): Test {
  const records = result.failures.filter(
    (f) => !f.scope && f.property === unit.property && f.model === unit.model,
  );
  const base = { name: unit.model, time_s: unit.busy_s };
  const excused = result.excused.filter((f) => f.signature in unit.tally.signatures);
  if (unit.status === 'failed') {
    const others = Object.entries(unit.tally.signatures).filter(
      ([s]) => ![...records, ...excused].some((r) => r.signature === s),
    );
    const told = records.map((r) => failureXml(r, caseFile(r))).join('');
    const counted = others.map(([s, n]) => {
      const own = attributes({
        message: `${n} cases with a signature that is told on another model`,
        type: s,
      });
      return `      <failure${own}/>\n`;
    });
    return { ...base, outcome: 'failed', body: told + counted.join('') };
  }
  if (unit.status === 'passed') return { ...base, outcome: 'passed', body: '' };
  const told = excused.map((f) => excuseInWords(f, result.against));
  const message = [`${unit.status}: ${unit.reason ?? 'no reason given'}`, ...told].join('; ');
  return { ...base, outcome: 'skipped', body: `      <skipped${attributes({ message })}/>\n` };
}

/** Why a failure does not count. */
function excuseInWords({ signature, known }: FailureRecord, against: string | undefined): string {
  if (known === undefined) return `shared with ${against}: ${signature}`;
  return `known: ${signature}: ${known.reason}${known.link === undefined ? '' : ` (${known.link})`}`;
}

/** Entries of the list of known failures that do not fail any more: said, and no failure. */
function knownSuite(result: CampaignResult): string[] {
  const gone = result.known?.gone ?? [];
  if (gone.length === 0) return [];
  const tests = gone.map(({ entry, cases }): Test => {
    const message = `no longer fails in ${cases} cases: ${entry.reason}`;
    const body = `      <skipped${attributes({ message })}/>\n`;
    return { name: entry.signature, time_s: 0, outcome: 'skipped', body };
  });
  return [suite('known failures', tests)];
}

function coverageTest(result: CampaignResult, property: string): Test[] {
  const missing = result.missing[property];
  if (missing === undefined) return [];
  const own = attributes({ message: `never reached: ${missing.join('; ')}`, type: `${property}/coverage` });
  return [{ name: 'coverage', time_s: 0, outcome: 'failed', body: `      <failure${own}/>\n` }];
}

function scopeSuite(result: CampaignResult, caseFile: (f: FailureRecord) => string | undefined): string[] {
  const { scope } = result;
  if (scope === undefined) return [];
  const tests = scope.parts.map(({ name, status, reason, elapsed_s }): Test => {
    const base = { name, time_s: elapsed_s };
    if (status === 'passed') return { ...base, outcome: 'passed', body: '' };
    const excuses = result.excused.filter((f) => f.scope && f.model === name);
    const told = excuses.map((f) => excuseInWords(f, result.against));
    const message = [`${status}: ${reason ?? 'inputs differ'}`, ...told].join('; ');
    if (status !== 'failed')
      return { ...base, outcome: 'skipped', body: `      <skipped${attributes({ message })}/>\n` };
    const failures = result.failures.filter((f) => f.scope && f.model === name);
    const alone = `      <failure${attributes({ message, type: 'small-scope' })}/>\n`;
    const body = failures.length > 0 ? failures.map((f) => failureXml(f, caseFile(f))).join('') : alone;
    return { ...base, outcome: 'failed', body };
  });
  return [suite('small-scope', tests)];
}

export function junitXml(result: CampaignResult, caseFile: (f: FailureRecord) => string | undefined): string {
  const properties = [...new Set(result.units.map((u) => u.property))];
  const suites = properties.map((property) => {
    const units = result.units.filter((u) => u.property === property);
    return suite(property, [
      ...units.map((u) => unitTest(u, result, caseFile)),
      ...coverageTest(result, property),
    ]);
  });
  const all = [...suites, ...scopeSuite(result, caseFile), ...knownSuite(result)];
  const time = result.elapsed_s.toFixed(3);
  return `<?xml version="1.0" encoding="UTF-8"?>\n<testsuites${attributes({ name: 'isobatch', time })}>\n${all.join('\n')}\n</testsuites>\n`;
}
