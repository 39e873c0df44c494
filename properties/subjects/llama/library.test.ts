/**
 * Loading a libllama, against small libraries that are compiled here: what is looked up, and what is refused, with what
 * the message says. The real releases are driven by `end-to-end` runs; nothing here needs one.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import koffi from 'koffi';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PARAMS_BYTES } from './layout.ts';
import { imageOf, membersOf } from './layout-testing.ts';
import { Library, Log } from './library.ts';
import { compiled, compiler, type FakeParts, fakeBuild } from './library-testing.ts';

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'isobatch-library-'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

let count = 0;
const build = (parts: FakeParts) => fakeBuild(dir, `build-${count++}`, parts);

const NEEDED = ['llama_log_set', 'llama_backend_init', 'llama_memory_seq_rm'] as const;
const defaults = imageOf(membersOf('v0.5.0'));
const without = (...names: string[]) => NEEDED.filter((name) => !names.includes(name));

/** The refusal of a build: its kind, and a message that names the build. */
function refusal(parts: FakeParts): string {
  const files = build(parts);
  let caught: unknown;
  try {
    new Library(files);
  } catch (error) {
    caught = error;
  }
  expect(caught).toMatchObject({ kind: 'model', detail: { path: files.libllama } });
  const { message } = caught as Error;
  const start = `the build ${files.name} is not one that isobatch can drive: `;
  expect(message.startsWith(start)).toBe(true);
  return message.slice(start.length);
}

describe.skipIf(!compiler)(`a build${compiler ? '' : ' (skipped: no g++)'}`, () => {
  it.each(['b3889', 'b5640', 'b6122', 'b6673', 'b8352', 'v0.5.0'])(
    'is recognised: structs of %s',
    (release) => {
      const image = imageOf(membersOf(release));
      const library = new Library(build({ defaults: image, exports: NEEDED }));
      expect(library.layout.releases).toContain(release);
      const struct = library.contextDefaults();
      expect(struct.length).toBe(PARAMS_BYTES);
      expect(struct.subarray(0, image.bytes)).toEqual(image.struct.subarray(0, image.bytes));
      expect(struct.subarray(image.bytes).every((byte) => byte === 0)).toBe(true);
      // A copy, which its owner may write to.
      struct.fill(7);
      expect(library.contextDefaults()[0]).toBe(image.struct[0]);
    },
  );

  it('is refused where a field came in between, in words that say what is wrong', () => {
    const members = membersOf('v0.5.0');
    const planted = (at: number, bytes: number) =>
      refusal({ defaults: imageOf(members.toSpliced(at, 0, ['planted', bytes, 0])), exports: NEEDED });
    const start = 'its llama_context_params lie as in no release that is known: nearest is v0.5.0, but ';
    expect(planted(4, 4)).toBe(
      `${start}it ends after 168 bytes, not 160, n_threads (byte 28) is 1, not 4, ` +
        'yarn_ext_factor (byte 64) is 0, not -1, type_k (byte 104) is 0, not 1, ' +
        'type_v (byte 108) is 0, not 1, offload_kqv (byte 129) is 0, not 1, no_perf (byte 130) is 0, not 1, ' +
        'op_offload (byte 131) is 0, not 1, swa_full (byte 132) is 0, not 1',
    );
    const flag = members.findIndex(([name]) => name === 'no_perf');
    expect(planted(flag, 1)).toBe(
      `${start}no_perf (byte 130) is 0, not 1, kv_unified (byte 133) is 1, not 0`,
    );
  });

  it('is refused where it ends elsewhere, or has another default', () => {
    const longer = imageOf([...membersOf('b8352'), ['planted', 8, 0]]);
    expect(refusal({ defaults: longer, exports: NEEDED })).toMatch(
      /nearest is b8095, b8352, but it ends after 144 bytes, not 136$/,
    );
    const struct = defaults.struct.slice();
    struct[5] = 16;
    expect(refusal({ defaults: { struct, bytes: defaults.bytes }, exports: NEEDED })).toMatch(
      /nearest is v0\.5\.0, but n_batch \(byte 4\) is 4096, not 2048$/,
    );
    expect(refusal({ defaults: { struct, bytes: 0 }, exports: NEEDED })).toMatch(/it ends after 0 bytes/);
  });

  it('is refused without a function that every release has', () => {
    for (const name of ['llama_log_set', 'llama_backend_init'])
      expect(refusal({ defaults, exports: without(name) })).toMatch(
        new RegExp(`^it does not export what is needed: .*${name}`),
      );
    expect(refusal({ exports: NEEDED })).toMatch(
      /^it does not export what is needed: .*llama_context_default_params/,
    );
    expect(refusal({ defaults, exports: without('llama_memory_seq_rm') })).toBe(
      'it exports no llama_memory_seq_rm, llama_kv_self_seq_rm or llama_kv_cache_seq_rm',
    );
  });

  it('has its memory under the youngest of the names that it exports', () => {
    const others = without('llama_memory_seq_rm');
    const named = (...names: string[]) =>
      new Library(build({ defaults, exports: [...others, ...names.map((name) => `${name}_seq_rm`)] })).memory;
    expect(named('llama_kv_cache')).toBe('llama_kv_cache');
    expect(named('llama_kv_self', 'llama_kv_cache')).toBe('llama_kv_self');
    expect(named('llama_kv_cache', 'llama_memory', 'llama_kv_self')).toBe('llama_memory');
  });

  it('looks up names, and says what it looked for', () => {
    const library = new Library(build({ defaults, exports: NEEDED, code: 'int seven() { return 7; }' }));
    expect(library.func('int seven()')()).toBe(7);
    expect([library.has('seven'), library.has('isobatch_not_there')]).toEqual([true, false]);
    expect(library.firstOf(['isobatch_not_there', 'seven'])).toBe('seven');
    expect(() => library.firstOf(['isobatch_a', 'isobatch_b'])).toThrow(
      /exports none of isobatch_a, isobatch_b/,
    );
    expect(() => library.func('int isobatch_not_there()')).toThrow(
      expect.objectContaining({ kind: 'model', message: expect.stringContaining('isobatch_not_there') }),
    );
  });

  it('is told to log to us', () => {
    const code = `
      static void (*to)(int, const char *, void *);
      void llama_log_set(void (*f)(int, const char *, void *), void *) { to = f; }
      void speak() { to(2, "half a ", 0); to(2, "line\\n", 0); to(4, "", 0); }`;
    const library = new Library(build({ defaults, exports: without('llama_log_set'), code }));
    library.func('void speak()')();
    expect(library.log.first()).toBe('half a line');
  });

  it('that cannot be loaded is refused by its path', () => {
    const path = join(dir, 'garbage.so');
    const files = { ...build({ defaults, exports: NEEDED }), libllama: path };
    const refused = expect.objectContaining({ kind: 'file', detail: { path } });
    expect(() => new Library(files)).toThrow(refused);
    writeFileSync(path, 'no library');
    expect(() => new Library(files)).toThrow(refused);
    expect(() => new Library({ ...files, libllama: '', preload: [path] })).toThrow(refused);
  });
});

describe.skipIf(!compiler)(`instruction sets${compiler ? '' : ' (skipped: no g++)'}`, () => {
  const GGML = `
    static char said[512];
    const char *asked() { return said; }
    void ggml_backend_load_all_from_path(const char *dir) { __builtin_snprintf(said, 512, "all %s", dir); }
    void *ggml_backend_load(const char *path) {
      __builtin_snprintf(said, 512, "one %s", path);
      return __builtin_strstr(path, "broken") ? 0 : said;
    }`;
  const files = () => {
    const libggml = compiled(dir, `ggml-${count++}`, GGML);
    const cpu = (isa: string) => ({ isa, path: join(dir, `libggml-cpu-${isa}.so`), linked: false });
    const fake = build({ defaults, exports: NEEDED });
    return { ...fake, libggml, preload: [libggml], libggml_cpu: [cpu('haswell'), cpu('broken')] };
  };
  it('all of them are loaded, or the one that is asked for', () => {
    const used = files();
    const asked = koffi.load(used.libggml).func('const char *asked()');
    new Library(used);
    expect(asked()).toBe(`all ${dir}`);
    new Library(used, 'haswell');
    expect(asked()).toBe(`one ${join(dir, 'libggml-cpu-haswell.so')}`);
  });

  it('one that there is not, or that does not load, is refused', () => {
    const used = files();
    expect(() => new Library(used, 'zen9')).toThrow(
      expect.objectContaining({
        kind: 'usage',
        message: expect.stringMatching(/has no instruction set "zen9"; it has haswell, broken$/),
      }),
    );
    expect(() => new Library(used, 'broken')).toThrow(
      expect.objectContaining({
        kind: 'file',
        message: expect.stringContaining('ggml refused to load'),
        detail: { path: join(dir, 'libggml-cpu-broken.so') },
      }),
    );
    expect(() => new Library(build({ defaults, exports: NEEDED }), 'zen9')).toThrow(
      /has no instruction set "zen9"; it has one that is built in/,
    );
  });
});

describe('the log', () => {
  const log = (...texts: string[]): Log => {
    const made = new Log();
    for (const text of texts) made.push(text);
    return made;
  };

  it('tells the first line that says something, and the last ones', () => {
    const made = log('\n  \n', 'decode: no room', ' for it\nllama_decode: failed\n', 'and');
    expect(made.first()).toBe('decode: no room for it');
    expect(made.tail(2)).toBe('llama_decode: failed; and');
    expect(made.tail(9)).toBe('decode: no room for it; llama_decode: failed; and');
    made.clear();
    expect([made.first(), made.tail()]).toEqual(['', '']);
  });

  it('leaves out the dots of progress', () => {
    expect(log('loading\n....', '..\n').tail()).toBe('loading');
  });

  it('keeps the last lines only, however many there were', () => {
    const made = log(...Array.from({ length: 1000 }, (_, i) => `line ${i}\n`));
    const kept = made.tail(1000).split('; ');
    expect(kept.at(-1)).toBe('line 999');
    expect(kept.length).toBeLessThanOrEqual(120);
    expect(kept.length).toBeGreaterThanOrEqual(60);
  });
});
