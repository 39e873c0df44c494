/**
 * Pictures of small histories. Every number here was worked out by hand from spec batching.md: 2.3 (equal), 2.2
 * (simple) and 2.5 (sequence) for ubatches, 4.2 for slots, 5.2 for cells.
 */
import { describe, expect, it } from 'vitest';
import type { Call, Script } from '../properties/types.ts';
import { batchTable, numbersInWords, otherPictureLines, pictureLines } from './picture.ts';
import { whitePicture } from './picture-white.ts';
import { WIDTH } from './text.ts';

function script(calls: readonly Call[], params: Partial<Script['params']> = {}): Script {
  return { params: { n_ctx: 8, n_batch: 8, n_ubatch: 2, n_seq_max: 4, split: 'equal', ...params }, calls };
}

const decode = (token: number[], seq_id: number[][], outputs: number[] = []): Call => ({
  op: 'decode',
  batch: { token, seq_id, logits: token.map((_, i) => outputs.includes(i)) },
});

const RECURRENT = { memory: 'recurrent', cutsByItself: false } as const;
const ATTENTION = { memory: 'attention', cutsByItself: false } as const;

describe('a picture of recurrent memory', () => {
  /*
   * The fault of the README, smaller. Call 0: the most shared set goes first and alone (2.3), so {0,1,2} is ubatch 0;
   * {1} and {2} follow, equally long, in batch order. Slots (4.2): {0,1,2} takes slot 0 from zero. In ubatch 1 {1} and
   * {2} do not own slot 0 alone: they claim 1 and 2, both from row 0; slot 0 stays with {0}.
   */
  it('of shared tokens, copies on write, a removal and the slot in between', () => {
    const s = script([
      decode([5, 6, 7], [[0, 1, 2], [1], [2]]),
      { op: 'seqRm', seq: 1, p0: 0, p1: -1 },
      decode([8, 9, 3], [[2], [0], [1]], [2]),
    ]);
    expect(pictureLines(s, { ...RECURRENT, at: { call: 2, index: 2 } })).toEqual([
      'call 0: decode 3 tokens: {0,1,2} 5; {1} 6; {2} 7',
      '  batch index    0  1  2',
      '  token          5  6  7',
      '  position       0  1  1',
      '  sequence 0     x  .  .',
      '  sequence 1     x  x  .',
      '  sequence 2     x  .  x',
      '  ubatch         0  1  1',
      '  output         .  .  .',
      '  ubatch 0: token 0, that is {0,1,2} with 1 token',
      '    slot 0: {0,1,2} starts from the zero state',
      '  ubatch 1: tokens 1, 2, that is {1}, {2} with 1 token each',
      '    slot 1: {1} goes on from the state in row 0',
      '    slot 2: {2} goes on from the state in row 0',
      '  slots     before      after',
      '  slot 0    empty   ->  {0}@0',
      '  slot 1    empty   ->  {1}@1',
      '  slot 2    empty   ->  {2}@1',
      '  (the other 1 slot is empty)',
      '',
      'call 1: remove everything of sequence 1',
      '  slots     before      after',
      '  slot 0    {0}@0   ->  {0}@0   (unchanged)',
      '  slot 1    {1}@1   ->  empty',
      '  slot 2    {2}@1   ->  {2}@1   (unchanged)',
      '  (the other 1 slot is empty)',
      '',
      // All three sets have one token; n_ubatch 2 leaves the last one over. {2} lies in slot 2 and {0} in slot 0, so
      // the window is 0 to 2; step 4 moves {2} to 0 and {0} to 1, and slot 2 (the emptied one) is nobody's.
      'call 2: decode 3 tokens: {2} 8; {0} 9; {1} 3*',
      '  batch index    0  1  2',
      '  token          8  9  3',
      '  position       2  1  0',
      '  sequence 0     .  x  .',
      '  sequence 1     .  .  x',
      '  sequence 2     x  .  .',
      '  ubatch         0  0  1',
      '  output         .  .  *',
      '                       ^ this row differs',
      '  ubatch 0: tokens 0, 1, that is {2}, {0} with 1 token each',
      '    slot 0: {2} goes on from the state in row 2',
      '    slot 1: {0} goes on from the state in row 0',
      "    slot 2: nobody's, but between the others: must be zeroed",
      '  ubatch 1: token 2, that is {1} with 1 token',
      '    slot 2: {1} goes on from the state in row 2',
      '  token 2 is 3 of {1}@0: it must see nothing but itself',
      '  slots     before      after',
      '  slot 0    {0}@0   ->  {2}@2',
      '  slot 1    empty   ->  {0}@1',
      '  slot 2    {2}@1   ->  {1}@0',
      '  (the other 1 slot is empty)',
    ]);
  });

  it('says who is carried along in a window, and where a copied state lies', () => {
    const s = script(
      [
        decode([1, 2, 3], [[0], [1], [2]]),
        { op: 'seqCp', from: 0, to: 3, p0: -1, p1: -1 },
        decode([4, 5], [[0], [2]], [0]),
      ],
      { n_ubatch: 4 },
    );
    const lines = pictureLines(s, { ...RECURRENT, at: { call: 2, index: 0 } });
    // {0} shares slot 0 with {3}: it claims the empty slot 3 and reads row 0. {2} lies in slot 2: window 2 to 3, where
    // {0} comes first, so the two change places.
    expect(lines.slice(lines.indexOf('call 1: copy everything of sequence 0 to sequence 3'))).toEqual(
      [
        'call 1: copy everything of sequence 0 to sequence 3',
        '  slots     before      after',
        '  slot 0    {0}@0   ->  {0,3}@0',
        '  slot 1    {1}@0   ->  {1}@0   (unchanged)',
        '  slot 2    {2}@0   ->  {2}@0   (unchanged)',
        '  (the other 1 slot is empty)',
        '',
        'call 2: decode 2 tokens: {0} 4*; {2} 5',
        '  batch index    0  1',
        '  token          4  5',
        '  position       1  1',
        '  sequence 0     x  .',
        '  sequence 2     .  x',
        '  ubatch         0  0',
        '  output         *  .',
        '                 ^ this row differs',
        '  ubatch 0: tokens 0, 1, that is {0}, {2} with 1 token each',
        '    slot 2: {0} goes on from the state in row 0',
        '    slot 3: {2} goes on from the state in row 2',
        '  token 0 is 4 of {0}@1: it must see 1@0 and itself',
        '  slots     before      after',
        '  slot 0    {0,3}@0  ->  {3}@0',
        '  slot 1    {1}@0    ->  {1}@0   (unchanged)',
        '  slot 2    {2}@0    ->  {0}@1',
        '  slot 3    empty    ->  {2}@1',
      ].map((line) =>
        line === '  slots     before      after' ? expect.stringMatching(/^ {2}slots +before +after$/) : line,
      ),
    );
  });
});

describe('a picture of attention', () => {
  it('of cells that are freed in the middle and taken again, with what a row must see', () => {
    const s = script(
      [
        decode([10, 11, 12, 13], [[0], [1], [0], [1]]),
        { op: 'seqRm', seq: 0, p0: 1, p1: -1 },
        decode([14, 15], [[1], [0]], [1]),
        { op: 'clear' },
      ],
      { split: 'simple', n_ubatch: 3 },
    );
    expect(pictureLines(s, { ...ATTENTION, at: { call: 2, index: 1 } })).toEqual([
      'call 0: decode 4 tokens: {0} 10; {1} 11; {0} 12; {1} 13',
      '  batch index     0   1   2   3',
      '  token          10  11  12  13',
      '  position        0   0   1   1',
      '  sequence 0      x   .   x   .',
      '  sequence 1      .   x   .   x',
      '  ubatch          0   0   0   1',
      '  output          .   .   .   .',
      '  ubatch 0: tokens 0, 1, 2; into cells 0, 1, 2',
      '  ubatch 1: token 3; into cell 3',
      '  cells before       0..7:free',
      '  cells after        0:{0}@0 (new)  1:{1}@0 (new)  2:{0}@1 (new)  3:{1}@1 (new)  4..7:free',
      '',
      'call 1: remove positions 1 to the end of sequence 0',
      '  cells before       0:{0}@0  1:{1}@0  2:{0}@1  3:{1}@1  4..7:free',
      '  cells after        0:{0}@0  1:{1}@0  2:free (freed)  3:{1}@1  4..7:free',
      '',
      // 5.2: the freed cell 2 is where the search starts; then cell 3 is taken, 4 is free.
      'call 2: decode 2 tokens: {1} 14; {0} 15*',
      '  batch index     0   1',
      '  token          14  15',
      '  position        2   1',
      '  sequence 0      .   x',
      '  sequence 1      x   .',
      '  ubatch          0   0',
      '  output          .   *',
      '                      ^ this row differs',
      '  ubatch 0: tokens 0, 1; into cells 2, 4',
      '  token 1 is 15 of {0}@1: it must see 10@0 (cell 0), and itself',
      '  cells before       0:{0}@0  1:{1}@0  2:free  3:{1}@1  4..7:free',
      '  cells after        0:{0}@0  1:{1}@0  2:{1}@2 (new)  3:{1}@1  4:{0}@1 (new)  5..7:free',
      '',
      '(1 more call comes too late to matter)',
    ]);
  });

  it('marks a call that was refused against the rules, and ends with one that the rules refuse', () => {
    const s = script([
      decode([1], [[0]]),
      { op: 'decode', batch: { token: [], seq_id: [] }, refused: 'batch.empty' },
      { op: 'seqKeep', seq: 0 },
    ]);
    const lines = pictureLines(s, { ...ATTENTION, at: { call: 2 } });
    expect(lines.slice(-6)).toEqual([
      'call 1: decode 0 tokens:   (must be refused: batch.empty)',
      '  memory stays as it is',
      '',
      'call 2: keep only sequence 0',
      '  ^ this call differs',
      '  cells, unchanged   0:{0}@0  1..7:free',
    ]);
    const gap = script([{ op: 'decode', batch: { token: [1], pos: [3], seq_id: [[0]] } }, { op: 'clear' }]);
    expect(pictureLines(gap, ATTENTION)).toEqual([
      'call 0: decode 1 token: {0} 1@3*',
      '  By the rules this call is refused (batch.position).',
      '  (the picture ends here)',
    ]);
  });

  it('does not guess how a subject cuts by itself', () => {
    const s = script([decode([1, 2], [[0], [1]], [0, 1])]);
    expect(pictureLines(s, { memory: 'attention', cutsByItself: true, at: { call: 0, index: 0 } })).toEqual([
      'call 0: decode 2 tokens: {0} 1*; {1} 2*',
      '  batch index    0  1',
      '  token          1  2',
      '  position       0  0',
      '  sequence 0     x  .',
      '  sequence 1     .  x',
      '  output         *  *',
      '                 ^ this row differs',
      '  ubatches: the subject cuts by itself',
      '  token 0 is 1 of {0}@0: it must see nothing but itself',
      '  memory before      empty',
      '  memory after       {0}@0..0  {1}@0..0',
    ]);
  });

  it('draws the other context only where it differs', () => {
    const calls = [decode([1], [[0]]), decode([2, 3], [[0], [0]], [1])];
    const options = { ...ATTENTION, at: { call: 1, index: 1 } };
    const first = pictureLines(script(calls, { split: 'simple', n_ubatch: 2 }), options);
    const other = otherPictureLines(script(calls, { split: 'simple', n_ubatch: 1 }), options, first);
    expect(other[0]).toBe('call 0: as above');
    expect(other).toContain('  ubatch         0  1');
    expect(first).toContain('  ubatch         0  0');
    const same = otherPictureLines(script(calls, { split: 'simple', n_ubatch: 3 }), options, first);
    expect(same).toEqual([]);
  });
});

describe('a long batch', () => {
  const n = 300;
  const batch = {
    token: Array.from({ length: n }, (_, i) => 100 + i),
    pos: Array.from({ length: n }, (_, i) => i),
    seq_id: Array.from({ length: n }, () => [3]),
    logits: new Array<boolean>(n).fill(false),
  };
  const ubatches = [{ equal_seqs: true, n_seqs: 1, n_seq_tokens: n, index: batch.pos }];

  it('is wrapped and cut, but never at the row that differs', () => {
    const lines = batchTable(batch, ubatches, 200);
    expect(lines.every((line) => line.length <= WIDTH)).toBe(true);
    expect(lines.filter((line) => line.includes('are not drawn')).length).toBe(2);
    const arrow = lines.findIndex((line) => line.includes('this row differs'));
    const column = lines[arrow]!.indexOf('^');
    const row = (name: string) => lines.slice(0, arrow).findLast((line) => line.startsWith(`  ${name}`))!;
    expect(row('batch index').slice(column - 2, column + 1)).toBe('200');
    expect(row('token').slice(column - 2, column + 1)).toBe('300');
    expect(lines.length).toBeLessThan(40);
  });

  it('fits whatever is drawn into a hundred columns', () => {
    const calls: Call[] = [{ op: 'decode', batch }];
    const s = script(calls, { n_ctx: 512, n_batch: 512, n_ubatch: 7, n_seq_max: 5 });
    for (const memory of ['attention', 'recurrent', 'hybrid'] as const)
      for (const line of pictureLines(s, { memory, cutsByItself: false, at: { call: 0, index: 299 } }))
        expect(line.length).toBeLessThanOrEqual(WIDTH);
  });

  it('tells runs of numbers as one', () => {
    expect(numbersInWords([0, 1, 2, 3, 7, 9, 10])).toBe('0..3, 7, 9, 10');
    expect(numbersInWords([2])).toBe('2');
  });
});

describe('a picture of a rule', () => {
  const of = (property: string, white: unknown, step?: number) =>
    whitePicture({ version: 1, property, model: 'rules', seed: 's', index: 0, white }, step);

  it('of splitting shows which tokens each ubatch must hold', () => {
    const batch = {
      token: [0, 1, 4],
      pos: [0, 0, 1],
      seq_id: [[6], [3, 7], [6]],
      logits: [false, false, true],
    };
    // 2.3: the shared set first and alone, then {6} with two tokens.
    expect(of('split', { batch, options: { policy: 'equal', n_ubatch: 2 } })).toEqual([
      '  cut 3 tokens by equal, n_ubatch 2',
      '  batch index    0  1  2',
      '  token          0  1  4',
      '  position       0  0  1',
      '  sequence 3     .  x  .',
      '  sequence 6     x  .  x',
      '  sequence 7     .  x  .',
      '  ubatch         1  0  1',
      '  output         .  .  *',
      '  ubatch 0 must be token 1',
      '  ubatch 1 must be the tokens 0, 2',
    ]);
    // 2.4 step 1: sequential splits refuse coupled sequences.
    const refused = of('split', { batch, options: { policy: 'equal-sequential', n_ubatch: 2 } });
    expect(refused!.at(-1)).toBe('  By the rules this is refused (batch.coupled).');
  });

  it('of cells and slots shows the steps up to the one that differs', () => {
    const steps = [
      { op: 'place', pos: [0, 1], sets: [[2], [2]] },
      { op: 'rm', seq: 2, p0: 1, p1: -1 },
      { op: 'clear' },
    ];
    expect(of('cells', { n_cells: 2, n_seq: 3, steps }, 1)).toEqual([
      '  memory of n_cells 2 for n_seq 3',
      '  step 0: place {2}@0 {2}@1',
      '  cells before       0..1:free',
      '  cells after        0..1:{2}@0..1 (new)',
      '  step 1: remove positions 1 to the end of sequence 2',
      '  ^ this step differs',
      '  cells before       0..1:{2}@0..1',
      '  cells after        0:{2}@0  1:free (freed)',
    ]);
    const ubatch = { op: 'ubatch', sets: [[1], [0]], n_seq_tokens: 2, last_pos: [1, 1] };
    const history = { n_slots: 2, steps: [ubatch, { op: 'rm', seq: 1, p0: 1, p1: -1 }] };
    expect(of('slots', history, 1)!.slice(2)).toEqual([
      '  step 0: a ubatch of 2 tokens each for {1} up to position 1, {0} up to position 1',
      '    slot 0: {1} starts from the zero state',
      '    slot 1: {0} starts from the zero state',
      '  slots     before      after',
      '  slot 0    empty   ->  {1}@1',
      '  slot 1    empty   ->  {0}@1',
      '  step 1: remove positions 1 to the end of sequence 1',
      '  ^ this step differs',
      '  refused: only a part of a state',
      '  slots, unchanged   0:{1}@1  1:{0}@1',
    ]);
    expect(of('echo', {})).toBeNull();
  });
});
