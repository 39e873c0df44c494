/**
 * The part of an exported program that is the same for every case: finding libllama and its functions, the structs
 * whose layout differs between releases, the calls of a history, and the comparison of rows. Facts: spec: libllama.md 2.
 */
import { BATCH_BYTES, PARAMS_BYTES } from '../layout.ts';

/** Needs MOST_IDS, MOST_FIELDS and ISA to be defined before. */
export const HEAD = `
#include <dirent.h>
#include <dlfcn.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- what is called of libllama, by the oldest names that its releases still export ---- */

/* Room for every llama_model_params and llama_context_params so far. By the calling convention of Linux x86-64 a large
   struct lies on the stack, and the library reads only as much of it as it knows. */
struct params { uint8_t byte[${PARAMS_BYTES}]; };

/* The last three fields are those of b3889; later releases read the part before them. */
struct batch {
    int32_t n_tokens;
    int32_t *token;
    float *embd;
    int32_t *pos;
    int32_t *n_seq_id;
    int32_t **seq_id;
    int8_t *logits;
    int32_t all_pos_0, all_pos_1, all_seq_id;
};
typedef char batch_is_of_this_size[sizeof(struct batch) == ${BATCH_BYTES} ? 1 : -1];

static void (*model_default_params)(struct params *out);   /* returned through a hidden pointer */
static void (*context_default_params)(struct params *out);
static void *(*load_model)(const char *path, struct params params);
static void *(*new_context)(void *model, struct params params);
static void (*free_context)(void *ctx);
static void (*backend_init)(void);
static void (*log_set)(void (*log)(int level, const char *text, void *user), void *user);
static int32_t (*llama_decode)(void *ctx, struct batch batch);
static float *(*get_logits_ith)(void *ctx, int32_t i);
static float *(*get_embeddings_ith)(void *ctx, int32_t i);
static int32_t (*n_embd)(const void *model);
static int32_t (*n_vocab)(const void *model_or_vocab);
static const void *(*get_vocab)(const void *model);
static void *(*get_memory)(void *ctx);
static void (*memory_clear)(void *memory, int data);
static _Bool (*memory_seq_rm)(void *memory, int32_t seq, int32_t p0, int32_t p1);
static void (*memory_seq_cp)(void *memory, int32_t from, int32_t to, int32_t p0, int32_t p1);
static void (*memory_seq_keep)(void *memory, int32_t seq);
static int32_t (*memory_seq_pos_min)(void *memory, int32_t seq);
static int32_t (*memory_seq_pos_max)(void *memory, int32_t seq);
static size_t (*state_get_size)(void *ctx);
static size_t (*state_get_data)(void *ctx, uint8_t *out, size_t size);
static size_t (*state_set_data)(void *ctx, const uint8_t *data, size_t size);
static size_t (*state_seq_get_size)(void *ctx, int32_t seq);
static size_t (*state_seq_get_data)(void *ctx, uint8_t *out, size_t size, int32_t seq);
static size_t (*state_seq_set_data)(void *ctx, const uint8_t *data, size_t size, int32_t seq);

/* ---- structs whose layout differs: recognised by what the default function writes ---- */

struct field { const char *name; int at, size; long value; };
struct layout { const char *releases; int bytes; struct field field[MOST_FIELDS]; };
`;

/** Recognising the build, opening contexts, decoding. */
export const BASE = String.raw`
static const struct layout *layout;
static struct params context_defaults;
static void *model;
static int fails;
static char doing[160] = "starting";
static char last_log[400];

static void cannot_run(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "cannot run: ");
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
    exit(2);
}

static void failed(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    printf("FAILS: ");
    vprintf(format, args);
    printf("\n");
    va_end(args);
    fails = 1;
}

/* An assertion of the library ends the process: that is a failure too, and here is where. */
static void died(int sig)
{
    const char *name = sig == SIGABRT ? "aborted" : sig == SIGALRM ? "does not come back" : "crashed";
    fflush(stdout);
    dprintf(1, "FAILS: the library %s (signal %d) while %s\n", name, sig, doing);
    _exit(1);
}

static void listen(int level, const char *text, void *user)
{
    (void) level;
    (void) user;
    if (strlen(text) > 2) snprintf(last_log, sizeof last_log, "%s", text);
    last_log[strcspn(last_log, "\n")] = 0;
}

static long read_field(const struct params *p, const struct field *f)
{
    int32_t value;
    if (f->size == 1) return p->byte[f->at];
    memcpy(&value, p->byte + f->at, 4);
    return value;
}

static const struct field *field_of(const struct layout *l, const char *name)
{
    const struct field *f;
    for (f = l->field; f->name; f++) if (strcmp(f->name, name) == 0) return f;
    return NULL;
}

static void set(struct params *p, const char *name, long value)
{
    const struct field *f = field_of(layout, name);
    int32_t word = (int32_t) value;
    if (!f) return; /* this release has no such choice */
    if (f->size == 1) p->byte[f->at] = (uint8_t) value;
    else memcpy(p->byte + f->at, &word, 4);
}

static int fits(const struct layout *l, int bytes)
{
    const struct field *f;
    if (l->bytes != bytes) return 0;
    for (f = l->field; f->name; f++) if (read_field(&context_defaults, f) != f->value) return 0;
    return 1;
}

static void recognise(void)
{
    struct params other;
    int bytes = sizeof other.byte;
    size_t i;
    memset(&context_defaults, 0xaa, sizeof context_defaults);
    memset(&other, 0x55, sizeof other);
    context_default_params(&context_defaults);
    context_default_params(&other);
    while (bytes > 0 && context_defaults.byte[bytes - 1] != other.byte[bytes - 1]) bytes--;
    for (i = 0; i < sizeof LAYOUTS / sizeof *LAYOUTS; i++)
        if (fits(&LAYOUTS[i], bytes)) layout = &LAYOUTS[i];
    if (!layout)
        cannot_run("the llama_context_params of this build (%d bytes with these defaults) lie as in no release that "
                   "this program knows", bytes);
    memset(context_defaults.byte + bytes, 0, sizeof context_defaults.byte - bytes);
}

/* ---- loading ---- */

static void *symbol(int needed, const char *name, const char *newer)
{
    void *found = dlsym(RTLD_DEFAULT, name);
    if (!found && newer) found = dlsym(RTLD_DEFAULT, newer);
    if (!found && needed) cannot_run("the library exports no %s", name);
    return found;
}

/* The shortest file of the folder whose name begins like this and is a library. */
static int find_library(const char *dir, const char *prefix, char *out, size_t size)
{
    DIR *d = opendir(dir);
    struct dirent *e;
    size_t best = 1000;
    if (!d) return 0;
    while ((e = readdir(d)))
        if (strncmp(e->d_name, prefix, strlen(prefix)) == 0 && strstr(e->d_name, ".so") && strlen(e->d_name) < best) {
            best = strlen(e->d_name);
            snprintf(out, size, "%s/%s", dir, e->d_name);
        }
    closedir(d);
    return best < 1000;
}

static void preload(const char *dir, const char *prefix)
{
    char path[4096];
    if (find_library(dir, prefix, path, sizeof path)) dlopen(path, RTLD_NOW | RTLD_GLOBAL);
}

static void load_library(const char *libllama)
{
    char dir[4096], cpu[4200];
    char *slash;
    size_t (*reg_count)(void);
    void (*load_all)(const char *dir);
    void *(*load_one)(const char *path);
    static const char *const APIS[] = { "llama_memory", "llama_kv_self", "llama_kv_cache" };
    char name[64];
    size_t i;

    snprintf(dir, sizeof dir, "%s", libllama);
    slash = strrchr(dir, '/');
    if (slash) *slash = 0;
    else snprintf(dir, sizeof dir, ".");
    preload(dir, "libggml-base.");
    preload(dir, "libggml-cpu.");
    preload(dir, "libggml.");
    if (!dlopen(libllama, RTLD_NOW | RTLD_GLOBAL)) cannot_run("%s", dlerror());

#define GET(f, needed, name, newer) (*(void **) (&f) = symbol(needed, name, newer))
    GET(model_default_params, 1, "llama_model_default_params", NULL);
    GET(context_default_params, 1, "llama_context_default_params", NULL);
    GET(load_model, 1, "llama_load_model_from_file", "llama_model_load_from_file");
    GET(new_context, 1, "llama_new_context_with_model", "llama_init_from_model");
    GET(free_context, 1, "llama_free", NULL);
    GET(backend_init, 1, "llama_backend_init", NULL);
    GET(log_set, 1, "llama_log_set", NULL);
    GET(llama_decode, 1, "llama_decode", NULL);
    GET(get_logits_ith, 1, "llama_get_logits_ith", NULL);
    GET(get_embeddings_ith, 1, "llama_get_embeddings_ith", NULL);
    GET(n_embd, 1, "llama_model_n_embd", "llama_n_embd");
    GET(n_vocab, 1, "llama_vocab_n_tokens", "llama_n_vocab");
    GET(state_get_size, 1, "llama_state_get_size", NULL);
    GET(state_get_data, 1, "llama_state_get_data", NULL);
    GET(state_set_data, 1, "llama_state_set_data", NULL);
    GET(state_seq_get_size, 1, "llama_state_seq_get_size", NULL);
    GET(state_seq_get_data, 1, "llama_state_seq_get_data", NULL);
    GET(state_seq_set_data, 1, "llama_state_seq_set_data", NULL);
    GET(get_vocab, 0, "llama_model_get_vocab", NULL);
    GET(get_memory, 0, "llama_get_memory", NULL);
    for (i = 0; i < 3 && !memory_seq_rm; i++) {
#define GET_MEMORY(f, what) (snprintf(name, sizeof name, "%s_" what, APIS[i]), GET(f, 0, name, NULL))
        GET_MEMORY(memory_seq_rm, "seq_rm");
        GET_MEMORY(memory_seq_cp, "seq_cp");
        GET_MEMORY(memory_seq_keep, "seq_keep");
        GET_MEMORY(memory_clear, "clear");
        GET_MEMORY(memory_seq_pos_max, "seq_pos_max");
        GET_MEMORY(memory_seq_pos_min, "seq_pos_min");
        if (i > 0) get_memory = NULL; /* these take the context itself */
    }
    if (!memory_seq_rm) cannot_run("the library exports no llama_memory_seq_rm nor its older names");
    recognise();

    log_set(listen, NULL);
    GET(reg_count, 0, "ggml_backend_reg_count", NULL);
    GET(load_all, 0, "ggml_backend_load_all_from_path", NULL);
    GET(load_one, 0, "ggml_backend_load", NULL);
    if (!reg_count || reg_count() == 0) { /* the CPU's code is in files of its own */
        snprintf(cpu, sizeof cpu, "%s/libggml-cpu-%s.so", dir, ISA);
        if (*ISA && load_one && load_one(cpu)) printf("backend   %s\n", ISA);
        else if (load_all) load_all(dir);
    }
    backend_init();
}

/* ---- histories ---- */

/* A token of a batch. What is given to decode says which fields are passed; the library completes the others. */
struct token { int token, pos, n_seq_id, seq_id[MOST_IDS], output; };
enum { POS = 1, SEQ_ID = 2, LOGITS = 4 };

struct row { int call, index; float *value; };

struct history {
    const char *name;
    void *ctx, *memory;
    int embeddings, width, stopped, n_rows;
    struct row *row;
};

struct setting { const char *name; long value; };

static void *open_context(struct history *h, long n_ctx, const struct setting *settings)
{
    struct params p = context_defaults;
    set(&p, "n_ctx", n_ctx);
    for (; settings->name; settings++) {
        set(&p, settings->name, settings->value);
        if (strcmp(settings->name, "embeddings") == 0) h->embeddings = (int) settings->value;
    }
    return new_context(model, p);
}

static void enter(struct history *h, void *ctx)
{
    h->ctx = ctx;
    h->memory = get_memory ? get_memory(ctx) : ctx;
    h->width = h->embeddings ? n_embd(model) : n_vocab(get_vocab ? get_vocab(model) : model);
}

static void open_history(struct history *h, const char *name, long n_ctx, const struct setting *settings, int open_fails)
{
    void *ctx;
    memset(h, 0, sizeof *h);
    h->name = name;
    snprintf(doing, sizeof doing, "opening the context of %s", name);
    ctx = open_context(h, n_ctx, settings);
    if (!ctx && !open_fails) cannot_run("%s: the context is refused: %s", name, last_log);
    if (!ctx) {
        failed("%s: the context is refused: %s", name, last_log);
        h->stopped = 1;
        return;
    }
    enter(h, ctx);
    printf("%s\n", name);
}

static void close_history(struct history *h)
{
    snprintf(doing, sizeof doing, "freeing the context of %s", h->name);
    if (h->ctx) free_context(h->ctx);
    h->ctx = NULL;
}

static void keep_row(struct history *h, int call, int index)
{
    const float *row = h->embeddings ? get_embeddings_ith(h->ctx, index) : get_logits_ith(h->ctx, index);
    struct row *kept;
    int k;
    if (!row) {
        failed("%s, call %d: no row for token %d of the batch: %s", h->name, call, index, last_log);
        h->stopped = 1;
        return;
    }
    h->row = realloc(h->row, (h->n_rows + 1) * sizeof *h->row);
    kept = &h->row[h->n_rows++];
    kept->call = call;
    kept->index = index;
    kept->value = malloc(h->width * sizeof *row);
    memcpy(kept->value, row, h->width * sizeof *row);
    for (k = 0; k < h->width; k++)
        if (!isfinite(row[k])) {
            failed("%s, call %d: the row of token %d holds %g at element %d", h->name, call, index, row[k], k);
            h->stopped = 1;
            return;
        }
}

static void decode(struct history *h, int call, const struct token *t, int n, int given, int refused)
{
    struct batch b;
    int32_t rc;
    int i;
    if (h->stopped) return;
    memset(&b, 0, sizeof b);
    b.n_tokens = n;
    b.all_pos_1 = 1;
    b.token = calloc(n + 1, sizeof *b.token);
    b.pos = calloc(n + 1, sizeof *b.pos);
    b.n_seq_id = calloc(n + 1, sizeof *b.n_seq_id);
    b.seq_id = calloc(n + 1, sizeof *b.seq_id);
    b.logits = calloc(n + 1, sizeof *b.logits);
    for (i = 0; i < n; i++) {
        b.token[i] = t[i].token;
        b.pos[i] = t[i].pos;
        b.n_seq_id[i] = t[i].n_seq_id;
        b.seq_id[i] = (int32_t *) t[i].seq_id;
        b.logits[i] = (int8_t) t[i].output;
    }
    /* Releases with kv_unified complete positions themselves. */
    if (!(given & POS) && field_of(layout, "kv_unified")) b.pos = NULL;
    if (!(given & SEQ_ID)) b.n_seq_id = NULL, b.seq_id = NULL;
    if (!(given & LOGITS)) b.logits = NULL;
    snprintf(doing, sizeof doing, "llama_decode ran, %s, call %d", h->name, call);
    rc = llama_decode(h->ctx, b);
    printf("  call %d: llama_decode, %d tokens: %d\n", call, n, rc);
    if ((rc != 0) != refused) {
        failed("%s, call %d: llama_decode answered %d, and the batch is %s: %s", h->name, call, rc,
               refused ? "one that must be refused" : "legal", last_log);
        h->stopped = 1;
        return;
    }
    for (i = 0; i < n && !refused && !h->stopped; i++)
        if (given & LOGITS ? t[i].output : i == n - 1) keep_row(h, call, i);
}
`;

/** Steps that only some histories have, by the name of their function. */
export const STEPS: Readonly<Record<string, string>> = {
  seq_rm: String.raw`
static void seq_rm(struct history *h, int call, int seq, int p0, int p1, int refused)
{
    int done;
    if (h->stopped) return;
    snprintf(doing, sizeof doing, "seq_rm ran, %s, call %d", h->name, call);
    done = memory_seq_rm(h->memory, seq, p0, p1);
    printf("  call %d: seq_rm(%d, %d, %d): %s\n", call, seq, p0, p1, done ? "true" : "false");
    if (done != refused) return;
    failed("%s, call %d: seq_rm answered %s", h->name, call, done ? "true" : "false");
    h->stopped = 1;
}
`,
  seq_cp: String.raw`
static void seq_cp(struct history *h, int call, int from, int to, int p0, int p1)
{
    if (h->stopped) return;
    snprintf(doing, sizeof doing, "seq_cp ran, %s, call %d", h->name, call);
    memory_seq_cp(h->memory, from, to, p0, p1);
    printf("  call %d: seq_cp(%d, %d, %d, %d)\n", call, from, to, p0, p1);
}
`,
  seq_keep: String.raw`
static void seq_keep(struct history *h, int call, int seq)
{
    if (h->stopped) return;
    snprintf(doing, sizeof doing, "seq_keep ran, %s, call %d", h->name, call);
    memory_seq_keep(h->memory, seq);
    printf("  call %d: seq_keep(%d)\n", call, seq);
}
`,
  clear: String.raw`
static void clear(struct history *h, int call)
{
    if (h->stopped) return;
    snprintf(doing, sizeof doing, "memory was cleared, %s, call %d", h->name, call);
    memory_clear(h->memory, 1);
    printf("  call %d: clear\n", call);
}
`,
  state_save: String.raw`
/* A sequence of -1 means everything that memory holds. */
static void state_save(struct history *h, int call, int slot, int seq)
{
    struct slot *s = &SLOTS[slot];
    if (h->stopped) return;
    snprintf(doing, sizeof doing, "a state was saved, %s, call %d", h->name, call);
    s->size = seq < 0 ? state_get_size(h->ctx) : state_seq_get_size(h->ctx, seq);
    free(s->data);
    s->data = calloc(s->size + 1, 1);
    s->size = seq < 0 ? state_get_data(h->ctx, s->data, s->size) : state_seq_get_data(h->ctx, s->data, s->size, seq);
    printf("  call %d: state of %d saved: %zu bytes\n", call, seq, s->size);
    if (s->size > 0) return;
    failed("%s, call %d: the state was not saved: %s", h->name, call, last_log);
    h->stopped = 1;
}
`,
  state_load: String.raw`
static void state_load(struct history *h, int call, int slot, int seq, int cut, int refused)
{
    struct slot *s = &SLOTS[slot];
    size_t size = s->size > (size_t) cut ? s->size - cut : 0, n;
    uint8_t *copy;
    if (h->stopped) return;
    snprintf(doing, sizeof doing, "a state was loaded, %s, call %d", h->name, call);
    copy = calloc(size + 1, 1);
    memcpy(copy, s->data, size);
    n = seq < 0 ? state_set_data(h->ctx, copy, size) : state_seq_set_data(h->ctx, copy, size, seq);
    free(copy);
    printf("  call %d: state loaded to %d, %zu bytes: %zu\n", call, seq, size, n);
    if ((n == 0) == refused) return;
    failed("%s, call %d: loading the state answered %zu, and it is %s: %s", h->name, call, n,
           refused ? "cut short" : "whole", last_log);
    h->stopped = 1;
}
`,
  next_context: String.raw`
static void next_context(struct history *h, int call, long n_ctx, const struct setting *settings, int refused)
{
    void *ctx;
    if (h->stopped) return;
    snprintf(doing, sizeof doing, "another context was opened, %s, call %d", h->name, call);
    ctx = open_context(h, n_ctx, settings);
    printf("  call %d: another context: %s\n", call, ctx ? "opened" : "refused");
    if ((ctx == NULL) != refused) {
        failed("%s, call %d: another context is %s: %s", h->name, call, ctx ? "opened" : "refused", last_log);
        h->stopped = 1;
    }
    if (!ctx) return;
    free_context(h->ctx);
    enter(h, ctx);
}
`,
  positions: `
/* NOT_ASKED: the smallest position of a window is the library's business. Releases that do not tell the smallest
   position say 0 for the largest one of an empty sequence. */
enum { NOT_ASKED = -2 };

static void positions(struct history *h, int call, int seq, int min, int max)
{
    int got;
    if (h->stopped) return;
    snprintf(doing, sizeof doing, "memory was asked for positions, %s, call %d", h->name, call);
    if (!memory_seq_pos_min && max == -1) max = 0;
    if (memory_seq_pos_min && min != NOT_ASKED && (got = memory_seq_pos_min(h->memory, seq)) != min)
        failed("%s, after call %d: the smallest position of sequence %d is %d, want %d", h->name, call, seq, got, min);
    if ((got = memory_seq_pos_max(h->memory, seq)) != max)
        failed("%s, after call %d: the largest position of sequence %d is %d, want %d", h->name, call, seq, got, max);
}
`,
};

export const ROW_OF = `
/* ---- comparison ---- */

static const float *row_of(const struct history *h, int call, int index)
{
    int i;
    for (i = 0; i < h->n_rows; i++) if (h->row[i].call == call && h->row[i].index == index) return h->row[i].value;
    return NULL;
}
`;

/** A row and another one. */
export const SAME_ROW = String.raw`
static void show(const float *got, const float *want, int k, const char *why)
{
    printf("  element %-6d %14.9g %14.9g   difference %.3g%s\n", k, got[k], want[k], fabs((double) got[k] - want[k]), why);
}

/* Shows both rows and their largest difference; the element that decides, if there is one, is judged by its bound. */
static void same_row(const struct history *a, int call, int index, const char *what, const struct history *b, int other_call,
                     int other_index, int element, double bound)
{
    const float *got = row_of(a, call, index), *want = row_of(b, other_call, other_index);
    int k, most = 0;
    if (!got || !want) return; /* one of the histories ended before: said already */
    for (k = 0; k < a->width; k++)
        if (fabs((double) got[k] - want[k]) > fabs((double) got[most] - want[most])) most = k;
    printf("row of %s\n  must equal token %d of call %d of %s\n", what, other_index, other_call, b->name);
    for (k = 0; k < 4 && k < a->width; k++) show(got, want, k, "");
    show(got, want, most, "   (the largest)");
    if (element < 0 || element >= a->width) return;
    show(got, want, element, "   (this one decides)");
    printf("  bound %.6g\n", bound);
    if (!(fabs((double) got[element] - want[element]) <= bound))
        failed("element %d of the row of %s differs by more than its bound", element, what);
}
`;

/** An element and what the oracle says. */
export const SAME_VALUE = String.raw`
/* The wanted value was computed in double precision from the sequence alone. */
static void same_value(const struct history *h, int call, int index, const char *what, int element, double want, double bound)
{
    const float *got = row_of(h, call, index);
    if (!got || element >= h->width) return;
    printf("row of %s\n  element %d: got %.9g, want %.9g, difference %.3g, bound %.6g\n", what, element, got[element], want,
           fabs(got[element] - want), bound);
    if (!(fabs(got[element] - want) <= bound)) failed("element %d of the row of %s is wrong", element, what);
}
`;

export const START = String.raw`
static void start(const char *libllama, const char *path)
{
    struct params p;
    setenv("GGML_NO_BACKTRACE", "1", 1); /* without it an assertion starts a debugger */
    setvbuf(stdout, NULL, _IOLBF, 0);
    load_library(libllama);
    printf("library   %s, structs as in %s\n", libllama, layout->releases);
    memset(&p, 0, sizeof p);
    model_default_params(&p);
    model = load_model(path, p);
    if (!model) cannot_run("%s is not loaded: %s", path, last_log);
    printf("model     %s\n", path);
    signal(SIGABRT, died);
    signal(SIGSEGV, died);
    signal(SIGBUS, died);
    signal(SIGFPE, died);
    signal(SIGILL, died);
    signal(SIGALRM, died);
}
`;
