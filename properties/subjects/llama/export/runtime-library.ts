/**
 * The part of an exported program that finds libllama: its functions, the structs whose layout differs between releases,
 * and the model. Facts: spec: libllama.md 2.
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
static int32_t (*llama_encode)(void *ctx, struct batch batch);
static float *(*get_logits_ith)(void *ctx, int32_t i);
static float *(*get_embeddings_ith)(void *ctx, int32_t i);
static float *(*get_embeddings_seq)(void *ctx, int32_t seq);
static int32_t (*n_embd)(const void *model);
static int32_t (*n_vocab)(const void *model_or_vocab);
static const void *(*get_vocab)(const void *model);
static void *(*get_memory)(void *ctx);
static void (*memory_clear)(void *memory, int data);
static _Bool (*memory_seq_rm)(void *memory, int32_t seq, int32_t p0, int32_t p1);
static void (*memory_seq_cp)(void *memory, int32_t from, int32_t to, int32_t p0, int32_t p1);
static void (*memory_seq_add)(void *memory, int32_t seq, int32_t p0, int32_t p1, int32_t delta);
static void (*memory_seq_div)(void *memory, int32_t seq, int32_t p0, int32_t p1, int32_t divisor);
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

/** Recognising the build, and loading it. */
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
    GET(llama_encode, 1, "llama_encode", NULL);
    GET(get_logits_ith, 1, "llama_get_logits_ith", NULL);
    GET(get_embeddings_ith, 1, "llama_get_embeddings_ith", NULL);
    GET(get_embeddings_seq, 1, "llama_get_embeddings_seq", NULL);
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
        GET_MEMORY(memory_seq_add, "seq_add");
        GET_MEMORY(memory_seq_div, "seq_div");
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
`;

/** The model as it is. */
export const AS_IT_IS = `
#define quantized(path) (path)
`;

/** Needs FTYPE. The first two fields of llama_model_quantize_params have never moved; their defaults are checked. */
export const QUANTIZED = `
/* The library quantizes the model itself, into a file that is gone once it is loaded. */
static const char *quantized(const char *path)
{
    static char out[] = "/tmp/reproduce-XXXXXX";
    void (*default_params)(struct params *out);
    uint32_t (*quantize)(const char *from, const char *to, const struct params *params);
    struct params p;
    int32_t field[2]; /* threads, and the type */
    int fd = mkstemp(out);
    if (fd < 0) cannot_run("no file can be made in /tmp");
    close(fd);
    GET(default_params, 1, "llama_model_quantize_default_params", NULL);
    GET(quantize, 1, "llama_model_quantize", NULL);
    memset(&p, 0, sizeof p);
    default_params(&p);
    memcpy(field, p.byte, sizeof field);
    if (field[0] != 0 || (field[1] != 9 && field[1] != 7))
        cannot_run("the llama_model_quantize_params of this build begin with %d and %d", field[0], field[1]);
    field[0] = 1;
    field[1] = FTYPE;
    memcpy(p.byte, field, sizeof field);
    if (quantize(path, out, &p) == 0) return out;
    unlink(out);
    cannot_run("%s is not quantized: %s", path, last_log);
    return NULL;
}
`;

export const START = String.raw`
static void start(const char *libllama, const char *path)
{
    struct params p;
    const char *file;
    setenv("GGML_NO_BACKTRACE", "1", 1); /* without it an assertion starts a debugger */
    setvbuf(stdout, NULL, _IOLBF, 0);
    load_library(libllama);
    printf("library   %s, structs as in %s\n", libllama, layout->releases);
    memset(&p, 0, sizeof p);
    model_default_params(&p);
    file = quantized(path);
    model = load_model(file, p);
    if (file != path) unlink(file);
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
