/** The part of an exported program that compares rows. */
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
