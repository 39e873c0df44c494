/**
 * Writes `texts/prose.txt`: about 64 KiB of plain English-like prose from a seeded grammar, so that the repository
 * has ordinary text whose origin is its own source. Sentences are little scenes at a harbour; words repeat as they
 * do in real text, names and pronouns refer back, and lines are wrapped, so that a language model finds structure at
 * several distances.
 *
 * `prose.test.ts` regenerates the file and compares it.
 */
import { Random } from './random.ts';

const PEOPLE = [
  { name: 'Anna', he: 'she', his: 'her' },
  { name: 'Peter', he: 'he', his: 'his' },
  { name: 'Ruth', he: 'she', his: 'her' },
  { name: 'Old Thomas', he: 'he', his: 'his' },
  { name: 'the pilot', he: 'he', his: 'his' },
  { name: 'the baker', he: 'she', his: 'her' },
  { name: 'the young clerk', he: 'he', his: 'his' },
  { name: 'Margaret', he: 'she', his: 'her' },
] as const;

const PLACES = [
  'the quay',
  'the market',
  'the lighthouse',
  'the church',
  'the rope yard',
  'the inn',
  'the bridge',
];
const THINGS = [
  'letter',
  'lamp',
  'net',
  'basket',
  'coat',
  'knife',
  'map',
  'clock',
  'barrel',
  'key',
  'kettle',
  'boat',
];
const QUALITIES = [
  'old',
  'small',
  'grey',
  'heavy',
  'new',
  'broken',
  'yellow',
  'quiet',
  'wet',
  'narrow',
  'strange',
];
const TIMES = [
  'In the morning',
  'Before noon',
  'Late in the evening',
  'When the tide was low',
  'On the third day',
  'After the storm',
  'In the first week of spring',
  'At half past six',
];
const WEATHER = [
  'The wind came from the north',
  'It had rained since dawn',
  'Fog lay over the water',
  'The sun stood low above the roofs',
  'The sea was flat and grey',
  'Snow fell on the masts',
];
const TOLD = ['carried', 'mended', 'sold', 'lost', 'found', 'hid', 'painted', 'borrowed'];
const WENT = ['walked to', 'ran to', 'came back from', 'waited at', 'looked across to', 'turned away from'];
const THOUGHTS = [
  'nothing would change before winter',
  'the ship would come in with the next tide',
  'somebody had been there during the night',
  'there was still time',
  'the price of rope would rise again',
  'the others already knew',
  'it was better to say nothing',
];
const REASONS = [
  'because the door was locked',
  'because nobody else would do it',
  'although it was late',
  'as if it were the last one',
  'while the bells rang',
  'without a word',
  'and counted the steps',
  'so that the children could sleep',
];
const SPEECH = [
  'We should have gone yesterday',
  'You will find it where you left it',
  'The water is higher than it was last year',
  'Ask me again on Sunday',
  'There are two of them, not three',
  'I never saw that man before',
  'It is only the wind',
];
const NUMBERS = ['two', 'three', 'four', 'seven', 'ten', 'twelve', 'twenty', 'forty'];

type Person = (typeof PEOPLE)[number];

/** What a paragraph keeps in mind, so that later sentences refer to earlier ones. */
interface Scene {
  readonly random: Random;
  readonly person: Person;
  readonly other: Person;
  readonly thing: string;
  readonly place: string;
}

const capital = (text: string): string => text[0]!.toUpperCase() + text.slice(1);
const article = (word: string): string => (/^[aeiou]/.test(word) ? `an ${word}` : `a ${word}`);

/** The kinds of sentences. Each takes the scene and gives one sentence. */
const SENTENCES: readonly ((s: Scene) => string)[] = [
  ({ random: r, person: p, thing }) => `${capital(p.name)} ${r.pick(TOLD)} the ${thing} ${r.pick(REASONS)}.`,
  ({ random: r, person: p, place }) => `${capital(p.he)} ${r.pick(WENT)} ${place} ${r.pick(REASONS)}.`,
  ({ random: r, person: p }) => `${r.pick(TIMES)} ${p.he} thought that ${r.pick(THOUGHTS)}.`,
  ({ random: r, place }) => `${r.pick(WEATHER)}, and ${place} was empty.`,
  ({ random: r, other: o }) => `"${r.pick(SPEECH)}," said ${o.name}.`,
  ({ random: r, person: p, other: o }) =>
    `"${r.pick(SPEECH)}," ${p.name} told ${o.name}, "and ${r.pick(THOUGHTS)}."`,
  ({ random: r, other: o, thing }) =>
    `${capital(o.name)} had ${article(r.pick(QUALITIES))} ${thing} of ${o.his} own, ${r.pick(QUALITIES)} and ${r.pick(QUALITIES)}.`,
  ({ random: r, place, thing }) =>
    `There were ${r.pick(NUMBERS)} ${thing}s at ${place}, and ${r.pick(NUMBERS)} more behind ${r.pick(PLACES)}.`,
  ({ random: r, person: p, thing, place }) =>
    `The ${r.pick(QUALITIES)} ${thing} was still at ${place}, where ${p.name} had left it ${r.pick(NUMBERS)} days before.`,
  ({ random: r, person: p, other: o }) =>
    `${capital(p.name)} and ${o.name} ${r.pick(WENT)} ${r.pick(PLACES)}.`,
];

function paragraph(random: Random): string {
  const person = random.pick(PEOPLE);
  const other = random.pick(PEOPLE.filter((candidate) => candidate !== person));
  const scene: Scene = { random, person, other, thing: random.pick(THINGS), place: random.pick(PLACES) };
  const opening = `${random.pick(TIMES)} ${person.name} ${random.pick(WENT)} ${scene.place}.`;
  const rest = Array.from({ length: 3 + random.below(6) }, () => random.pick(SENTENCES)(scene));
  return [opening, ...rest].join(' ');
}

/** Breaks at spaces, at most `width` characters a line. */
function wrap(text: string, width: number): string {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line);
      line = '';
    }
    line = line === '' ? word : `${line} ${word}`;
  }
  return [...lines, line].join('\n');
}

/** ASCII prose of whole paragraphs, at least `n_bytes` long, cut there. */
export function prose(n_bytes = 65_536, seed = 'prose'): string {
  const random = new Random(seed);
  let text = '';
  while (text.length < n_bytes) text += `${wrap(paragraph(random), 78)}\n\n`;
  return `${text.slice(0, n_bytes - 1)}\n`;
}
