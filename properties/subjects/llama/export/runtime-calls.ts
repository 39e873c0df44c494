/** The part of an exported program that makes calls: contexts, batches, memory operations, states. */

/** Contexts and batches, which every history has. */
export const HISTORIES = String.raw`
/* ---- histories ---- */

/* A token of a batch. What is given says which fields are passed; the library completes the others. */
struct token { int token, pos, n_seq_id, seq_id[MOST_IDS], output; };
enum { POS = 1, SEQ_ID = 2, LOGITS = 4 };

struct row { int call, index; float *value; };

struct history {
    const char *name;
    void *ctx, *memory;
    int embeddings, pooling, width, stopped, n_rows;
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
        if (strcmp(settings->name, "pooling_type") == 0) h->pooling = (int) settings->value;
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

/* With pooling the row of a token is that of its sequence. */
static void keep_row(struct history *h, int call, int index, int seq)
{
    const float *row = !h->embeddings ? get_logits_ith(h->ctx, index)
                     : h->pooling     ? get_embeddings_seq(h->ctx, seq)
                                      : get_embeddings_ith(h->ctx, index);
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

static void run_batch(struct history *h, const char *name, int32_t (*run)(void *ctx, struct batch batch), int rows, int call,
                      const struct token *t, int n, int given, int refused)
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
    snprintf(doing, sizeof doing, "%s ran, %s, call %d", name, h->name, call);
    rc = run(h->ctx, b);
    printf("  call %d: %s, %d tokens: %d\n", call, name, n, rc);
    if ((rc != 0) != refused) {
        failed("%s, call %d: %s answered %d, and the batch is %s: %s", h->name, call, name, rc,
               refused ? "one that must be refused" : "legal", last_log);
        h->stopped = 1;
        return;
    }
    for (i = 0; i < n && rows && !refused && !h->stopped; i++)
        if (given & LOGITS ? t[i].output : i == n - 1) keep_row(h, call, i, given & SEQ_ID ? t[i].seq_id[0] : 0);
}
`;

/** Steps that only some histories have, by the name of their function. */
export const STEPS: Readonly<Record<string, string>> = {
  decode: `
static void decode(struct history *h, int call, const struct token *t, int n, int given, int refused)
{
    run_batch(h, "llama_decode", llama_decode, 1, call, t, n, given, refused);
}
`,
  encode: `
/* Without embeddings an encoder only leaves behind what the decoder attends to. */
static void encode(struct history *h, int call, const struct token *t, int n, int given, int refused)
{
    run_batch(h, "llama_encode", llama_encode, h->embeddings, call, t, n, given, refused);
}
`,
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
  seq_add: String.raw`
static void seq_add(struct history *h, int call, int seq, int p0, int p1, int delta)
{
    if (h->stopped) return;
    snprintf(doing, sizeof doing, "seq_add ran, %s, call %d", h->name, call);
    memory_seq_add(h->memory, seq, p0, p1, delta);
    printf("  call %d: seq_add(%d, %d, %d, %d)\n", call, seq, p0, p1, delta);
}
`,
  seq_div: String.raw`
static void seq_div(struct history *h, int call, int seq, int p0, int p1, int divisor)
{
    if (h->stopped) return;
    snprintf(doing, sizeof doing, "seq_div ran, %s, call %d", h->name, call);
    memory_seq_div(h->memory, seq, p0, p1, divisor);
    printf("  call %d: seq_div(%d, %d, %d, %d)\n", call, seq, p0, p1, divisor);
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
