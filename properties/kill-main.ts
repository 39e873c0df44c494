/**
 * Kills the process of a release at random moments of campaigns on it, and says what became of them.
 *
 *     node dist/properties/kill-main.js LIB [KILLS=100] [MODEL=recipe:mamba-loadable] [PROPERTY=solo] [CASES=400]
 *         [MEAN_MS=400] [SEED=1]
 *
 * Prints one line a campaign: kills, cases in the result, exit code, signatures. Ends with 1 if a campaign did not end by
 * itself, lost a case, or called a death something else.
 */
import { deathsOf, faultsOf, runKilled } from './kills.ts';

const [lib, kills = '100', model = 'recipe:mamba-loadable', property = 'solo', ...numbers] =
  process.argv.slice(2);
const [cases = 400, mean_ms = 400, seed = 1] = numbers.map(Number);
if (lib === undefined) {
  console.error('kill-main LIB [KILLS] [MODEL] [PROPERTY] [CASES] [MEAN_MS] [SEED]');
  process.exit(2);
}

const campaigns = await runKilled({
  campaign: {
    subject: { kind: 'llama', lib },
    models: [model],
    properties: [property],
    cases,
    jobs: 1,
    shrink_seconds: 2,
  },
  kills: Number(kills),
  mean_ms,
  seed,
});
let bad = 0;
for (const one of campaigns) {
  const { cases: in_result, planned, exit_code, signatures } = one;
  const list = Object.entries(signatures).map(([name, count]) => `${count} x ${name}`);
  console.log(
    `${one.kills} kills: ${in_result} of ${planned} cases in the result, exit code ${exit_code ?? 'none'}, ` +
      `${deathsOf(one)} cases failed by SIGKILL: ${list.join('; ') || 'nothing failed'}`,
  );
  for (const fault of faultsOf(one)) {
    bad++;
    console.log(`  WRONG: ${fault}`);
  }
}
const total = campaigns.reduce((n, one) => n + one.kills, 0);
console.log(`${total} kills in ${campaigns.length} campaigns on ${lib} ${model}: ${bad} wrong`);
process.exit(bad > 0 || total < Number(kills) ? 1 : 0);
