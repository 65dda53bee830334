/* Features to real coefficients and back, for the transform codec. basis.py is the reference, packed.py packs.
 *
 * READ ME FIRST, five things that bite:
 *
 * 1. The spectrum is [frequency][block][channel] (blocks.c), hence everything here is [block][something]: what is
 *    innermost is summed over, or 16 neighbours of it are worked on side by side. Coefficients leave and enter as the
 *    coder wants them, [plane][block].
 * 2. The first m ranks are turned. On their way they stand in *columns*, sorted by frequency and not by rank: so each
 *    frequency fills, and later reads, neighbouring columns. The matrices are packed in that order.
 * 3. Channel bases and rotation are packed in groups of 16 planes in falling order of scale, so that a smaller number
 *    of active planes is a shorter walk over the same memory: nothing is prepared per quality. `place` says where in
 *    the order of coding a plane stands; it is active if that is below `count`.
 * 4. Analysis is dense sums of products. In synthesis most coefficients are 0: turning them back visits the others.
 *    What comes of that is dense again.
 * 5. Floats may differ in the last bits from machine to machine (sums are fused here, and their order is ours); only
 *    integers travel. No input is undefined: features are clamped, and a sum that is not a number is coded as 0.
 */
#include "blocks.h"
#include "kernel.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__clang__)
#pragma STDC FP_CONTRACT ON
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=fast")
#endif

enum {
    CHUNK = 128,    /* columns of the rotation back are padded to a multiple of it */
    MOST = 1 << 16, /* of any size of a tensor */
};

/* ---- Sums of products ---------------------------------------------------------------------------------------- */

/* `terms` products for each sum; x[row][pitch] and sums[row][apart]. */
typedef struct {
    const float *weights;
    size_t terms;
    const float *x;
    size_t pitch;
    float *sums;
    size_t apart;
} product;

typedef void multiply_function(const product *, size_t rows);
typedef void combine_function(const float *, const uint32_t *, size_t, const float *, size_t, float *);

/* One group of sums at a time, or two that share the loads of x where there are registers enough. */
typedef struct {
    multiply_function *one, *two;
    combine_function *combine;
} arithmetic;

#define NAME(x) x##_plain
#define TARGET
#define LANES 4
#define TILE 4
#define SETS 1
#define PARTS 8
#include "multiply.h"

#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && __GNUC__ >= 12
#define VERSIONS
#define NAME(x) x##_v3
#define TARGET __attribute__((target("arch=x86-64-v3")))
#define LANES 8
#define TILE 4
#define SETS 1
#define PARTS 8
#include "multiply.h"
#define NAME(x) x##_v4
#define TARGET __attribute__((target("arch=x86-64-v4")))
#define LANES 16
#define TILE 10
#define SETS 1
#define PARTS 8
#include "multiply.h"
#define NAME(x) x##_v4_twice
#define TARGET __attribute__((target("arch=x86-64-v4")))
#define LANES 16
#define TILE 10
#define SETS 2
#include "multiply.h"
#endif

/* Floats in the widest registers that may be used: what there are, unless a test wants to see the others. */
static int widest = 16;

static arithmetic best(void)
{
#if defined(VERSIONS)
    if (widest >= 16 && __builtin_cpu_supports("x86-64-v4"))
        return (arithmetic){multiply_v4, multiply_v4_twice, combine_v4};
    if (widest >= 8 && __builtin_cpu_supports("x86-64-v3"))
        return (arithmetic){multiply_v3, NULL, combine_v3};
#endif
    return (arithmetic){multiply_plain, NULL, combine_plain};
}

/* ---- Analysis ------------------------------------------------------------------------------------------------ */

/* What an edge knows of a tensor. Groups of 16 planes: first those that fill the columns, then the turned planes, then
 * the direct ones. */
typedef struct {
    const float *mean;                /* [pitch] */
    const float *columns_forward;     /* [column_groups][channel][GROUP] */
    const uint8_t *columns_frequency; /* [column_groups] */
    const uint8_t *columns_used;      /* [column_groups]: planes of the group, 1 to GROUP */
    const float *turn;                /* [turned_groups][columns][GROUP] */
    const float *direct_forward;      /* [direct_groups][channel][GROUP] */
    const uint8_t *direct_frequency;  /* [direct_groups] */
    const uint32_t *place;            /* [turned_groups + direct_groups][GROUP]; the largest number: no plane */
    size_t column_groups, columns, turned_groups, direct_groups;
} analysis;

static int active(const uint32_t *place, size_t group, size_t groups, size_t count)
{
    return group < groups && place[group * GROUP] < count;
}

/* The first stage of what will be turned, to columns[block][apart]. A group writes 16 columns even if it has fewer: the
 * next one, or nobody, needs the others. */
static void fill_columns(const grid *g, const analysis *a, const float *spectrum, float *columns, size_t apart)
{
    arithmetic use = best();
    size_t sets;
    for (size_t group = 0; group < a->column_groups; group += sets) {
        size_t f = a->columns_frequency[group], next = group + 1;
        product p = {a->columns_forward + group * g->channels * GROUP, g->channels,
                     spectrum + f * g->wave, g->pitch, columns, apart};
        sets = use.two && next < a->column_groups && a->columns_frequency[next] == f ? 2 : 1;
        (sets == 2 ? use.two : use.one)(&p, g->blocks);
        columns += a->columns_used[group] + (sets == 2 ? a->columns_used[next] : 0);
    }
}

/* One group's sums, [block][apart], to the rows of its active planes. */
WIDE static void spread(const uint32_t *place, size_t count, const float *restrict sums, size_t apart, size_t blocks,
                        float scale, float *restrict y)
{
    for (size_t lane = 0; lane < GROUP && place[lane] < count; lane++) {
        float *row = y + place[lane] * blocks;
        for (size_t block = 0; block < blocks; block++)
            row[block] = sums[block * apart + lane] * scale;
    }
}

/* Two neighbours are worked on at a time if `may` says that they have the same x. */
static size_t one_or_two(const grid *g, arithmetic use, const product *p, int may, const uint32_t *place, size_t count,
                         float scale, float *y)
{
    size_t sets = use.two && may ? 2 : 1;
    (sets == 2 ? use.two : use.one)(p, g->blocks);
    for (size_t set = 0; set < sets; set++)
        spread(place + set * GROUP, count, p->sums + set * GROUP, p->apart, g->blocks, scale, y);
    return sets;
}

static void turned_planes(const grid *g, const analysis *a, const float *columns, size_t apart, float *sums,
                          size_t count, float scale, float *y)
{
    arithmetic use = best();
    for (size_t group = 0; active(a->place, group, a->turned_groups, count);) {
        product p = {a->turn + group * a->columns * GROUP, a->columns, columns, apart, sums, 2 * GROUP};
        int may = active(a->place, group + 1, a->turned_groups, count);
        group += one_or_two(g, use, &p, may, a->place + group * GROUP, count, scale, y);
    }
}

static void direct_planes(const grid *g, const analysis *a, const float *spectrum, float *sums, size_t count,
                          float scale, float *y)
{
    arithmetic use = best();
    const uint32_t *place = a->place + a->turned_groups * GROUP;
    for (size_t group = 0; group < a->direct_groups;) {
        size_t f = a->direct_frequency[group], next = group + 1;
        product p = {a->direct_forward + group * g->channels * GROUP, g->channels,
                     spectrum + f * g->wave, g->pitch, sums, 2 * GROUP};
        int may = active(place, next, a->direct_groups, count) && a->direct_frequency[next] == f;
        if (active(place, group, a->direct_groups, count))
            group += one_or_two(g, use, &p, may, place + group * GROUP, count, scale, y);
        else
            group++;
    }
}

/* Aligned for the widest registers. */
static float *floats(size_t count)
{
    return aligned_alloc(64, (count * sizeof(float) + 63) / 64 * 64);
}

/* y[count][blocks], times `scale`. Returns 0 if there is no memory. */
static int analyse(const grid *g, const analysis *a, const float *features, size_t count, float scale, float *y)
{
    size_t apart = (a->columns + 2 * GROUP - 1) / GROUP * GROUP, size = spectrum_size(g);
    float *spectrum = floats(size + g->room * (apart + 2 * GROUP));
    if (!spectrum)
        return 0;
    float *sums = spectrum + size, *columns = sums + g->room * 2 * GROUP;
    blocks_forward(g, features, a->mean, spectrum);
    if (active(a->place, 0, a->turned_groups, count)) {
        fill_columns(g, a, spectrum, columns, apart);
        turned_planes(g, a, columns, apart, sums, count, scale, y);
    }
    direct_planes(g, a, spectrum, sums, count, scale, y);
    free(spectrum);
    return 1;
}

/* ---- Synthesis ----------------------------------------------------------------------------------------------- */

/* What a cloud knows of a tensor. */
typedef struct {
    const float *mean, *blank;       /* [pitch], [channel][height][width] */
    const uint32_t *turned_place;    /* [columns]: of the turned planes in falling order of scale */
    const float *unturn;             /* [columns][columns, rounded up to CHUNK]: what a turned plane adds to columns */
    const uint32_t *terms;           /* [frequency]: how many columns it has */
    const float *columns_inverse;    /* for each frequency [pitch / GROUP][terms][GROUP] */
    const uint32_t *direct_place;    /* [direct_groups][GROUP]; the largest number: no plane */
    const uint8_t *direct_frequency; /* [direct_groups] */
    const float *direct_inverse;     /* [direct_groups * GROUP][pitch] */
    size_t columns, direct_groups;
} synthesis;

/* Room for a list of turned planes. Of one block after the other: if lists were apart by a large power of 2, they would
 * meet in one set of the cache. */
static size_t list_room(size_t columns)
{
    return columns / (2 * GROUP) * (2 * GROUP) + 3 * GROUP;
}

static size_t chunks(size_t columns)
{
    return (columns + CHUNK - 1) / CHUNK * CHUNK;
}

/* What is not 0 in the turned planes of each block: which, and its value. Written without a branch: where it is,
 * nothing can predict. */
WIDE static void list_turned(const grid *g, const synthesis *s, const float *y, size_t count, float step,
                             uint32_t *restrict number, uint32_t *restrict which, float *restrict value)
{
    memset(number, 0, g->blocks * sizeof *number);
    for (size_t plane = 0; plane < s->columns && s->turned_place[plane] < count; plane++) {
        const float *row = y + s->turned_place[plane] * g->blocks;
        for (size_t block = 0; block < g->blocks; block++) {
            size_t at = block * list_room(s->columns) + number[block];
            which[at] = (uint32_t)plane;
            value[at] = row[block] * step;
            number[block] += row[block] != 0.0f;
        }
    }
}

/* Turned planes to columns[block][apart], by way of `space`. */
static void unturn_planes(const grid *g, const synthesis *s, const float *y, size_t count, float step, float *space,
                          float *columns, size_t apart)
{
    size_t most = list_room(s->columns);
    uint32_t *number = (uint32_t *)space, *which = number + g->room;
    float *value = (float *)(which + g->room * most);
    arithmetic use = best();
    list_turned(g, s, y, count, step, number, which, value);
    for (size_t block = 0; block < g->blocks; block++)
        use.combine(value + block * most, which + block * most, number[block], s->unturn, chunks(s->columns),
                    columns + block * apart);
    memset(columns + g->blocks * apart, 0, (g->room - g->blocks) * apart * sizeof *columns);
}

/* Columns to the spectrum; frequencies without columns are 0. */
static void empty_columns(const grid *g, const synthesis *s, const float *columns, size_t apart, float *spectrum)
{
    arithmetic use = best();
    const float *weights = s->columns_inverse;
    for (size_t f = 0; f < g->block * g->block; f++) {
        float *to = spectrum + f * g->wave;
        size_t terms = s->terms[f], sets;
        if (!terms)
            memset(to, 0, g->wave * sizeof *to);
        for (size_t c = 0; terms && c < g->pitch; c += sets * GROUP) {
            product p = {weights + c * terms, terms, columns, apart, to + c, g->pitch};
            sets = use.two && c + GROUP < g->pitch ? 2 : 1;
            (sets == 2 ? use.two : use.one)(&p, g->blocks);
        }
        columns += terms;
        weights += terms * g->pitch;
    }
}

/* Lists what is not 0 in a row. */
INLINE size_t list_row(const float *restrict row, size_t blocks, uint32_t *restrict which)
{
    size_t n = 0;
    for (size_t block = 0; block < blocks; block++) {
        which[n] = (uint32_t)block;
        n += row[block] != 0.0f;
    }
    return n;
}

/* Adds every direct coefficient times its plane's basis [pitch] to the spectrum. */
WIDE static void add_direct(const grid *g, const synthesis *s, const float *y, size_t count, float step,
                            uint32_t *which, float *spectrum)
{
    for (size_t i = 0; i < s->direct_groups * GROUP; i++) {
        size_t place = s->direct_place[i], f = s->direct_frequency[i / GROUP];
        if (place >= count)
            continue;
        const float *row = y + place * g->blocks;
        const float *restrict from = s->direct_inverse + i * g->pitch;
        size_t n = list_row(row, g->blocks, which);
        for (size_t k = 0; k < n; k++) {
            float value = row[which[k]] * step;
            float *restrict to = spectrum + f * g->wave + which[k] * g->pitch;
            for (size_t c = 0; c < g->pitch; c += GROUP)
                for (size_t lane = 0; lane < GROUP; lane++)
                    to[c + lane] += value * from[c + lane];
        }
    }
}

static void add_mean(const grid *g, const float *mean, float *spectrum)
{
    for (size_t block = 0; block < g->blocks; block++)
        for (size_t c = 0; c < g->pitch; c++)
            spectrum[block * g->pitch + c] += mean[c];
}

/* From y[count][blocks] in steps. Returns 0 if there is no memory. */
static int synthesise(const grid *g, const synthesis *s, const float *y, size_t count, float step, float *features)
{
    size_t apart = chunks(s->columns) + GROUP, size = spectrum_size(g);
    size_t lists = g->room * (1 + 2 * list_room(s->columns));
    float *spectrum = floats(size + g->room * apart + lists);
    if (!spectrum)
        return 0;
    float *columns = spectrum + size, *space = columns + g->room * apart;
    if (s->columns && s->turned_place[0] < count) {
        unturn_planes(g, s, y, count, step, space, columns, apart);
        empty_columns(g, s, columns, apart, spectrum);
    } else
        memset(spectrum, 0, size * sizeof *spectrum);
    add_mean(g, s->mean, spectrum);
    add_direct(g, s, y, count, step, (uint32_t *)space, spectrum);
    blocks_inverse(g, spectrum, s->blank, features);
    free(spectrum);
    return 1;
}

/* ---- Python ------------------------------------------------------------------------------------------------- */

static int check_size(const char *name, Py_ssize_t value, Py_ssize_t low, Py_ssize_t high)
{
    if (value >= low && value <= high)
        return 1;
    PyErr_Format(PyExc_ValueError, "%s: expected %zd..%zd, got %zd", name, low, high, value);
    return 0;
}

/* `item` is the size of an element, and its alignment. */
static int check_buffer(const char *name, const Py_buffer *buffer, size_t count, size_t item)
{
    if ((size_t)buffer->len == count * item && (uintptr_t)buffer->buf % item == 0)
        return 1;
    PyErr_Format(PyExc_ValueError, "%s: expected %zu aligned elements of %zu bytes, got %zd bytes", name, count, item,
                 buffer->len);
    return 0;
}

static int check_factor(const char *name, float factor)
{
    if (factor >= 0x1p-40f && factor <= 0x1p40f)
        return 1;
    PyErr_Format(PyExc_ValueError, "%s: expected 2^-40..2^40", name);
    return 0;
}

static int check_frequencies(const grid *g, const Py_buffer *frequency)
{
    const uint8_t *f = frequency->buf;
    for (Py_ssize_t i = 0; i < frequency->len; i++)
        if (!check_size("frequency", f[i], 0, (Py_ssize_t)(g->block * g->block) - 1))
            return 0;
    return 1;
}

/* size = channels, height, width; place = block, top, left, rows, columns. The blocks begin inside the tensor. */
static int read_grid(const Py_ssize_t size[3], const Py_ssize_t place[5], grid *g)
{
    Py_ssize_t block = place[0];
    if (!check_size("channels", size[0], 1, MOST) || !check_size("height", size[1], 1, MOST) ||
        !check_size("width", size[2], 1, MOST))
        return 0;
    if (block != 4 && block != 8) {
        PyErr_Format(PyExc_ValueError, "block: expected 4 or 8, got %zd", block);
        return 0;
    }
    if (!check_size("top", place[1], 0, size[1] - 1) || !check_size("left", place[2], 0, size[2] - 1) ||
        !check_size("rows", place[3], 1, (size[1] - place[1] + block - 1) / block) ||
        !check_size("columns", place[4], 1, (size[2] - place[2] + block - 1) / block))
        return 0;
    *g = (grid){.channels = (size_t)size[0], .height = (size_t)size[1], .width = (size_t)size[2],
                .block = (size_t)block, .top = (size_t)place[1], .left = (size_t)place[2],
                .rows = (size_t)place[3], .columns = (size_t)place[4]};
    grid_finish(g);
    return 1;
}

/* Buffers that both directions have, then those of one. */
enum { FEATURES, Y, MEAN, OWN, BUFFERS = OWN + 8 };

/* size, place and the first buffers; y has `count` whole rows. */
static int read_tensor(const Py_ssize_t size[3], const Py_ssize_t place[5], const Py_buffer *b, grid *g, size_t *count)
{
    if (!read_grid(size, place, g))
        return 0;
    *count = (size_t)b[Y].len / (g->blocks * sizeof(float));
    return check_buffer("y", &b[Y], *count * g->blocks, 4) && check_buffer("mean", &b[MEAN], g->pitch, 4) &&
           check_buffer("features", &b[FEATURES], g->channels * g->height * g->width, 4);
}

static PyObject *finish(Py_buffer *b, int ok)
{
    for (int i = 0; i < BUFFERS; i++)
        if (b[i].obj)
            PyBuffer_Release(&b[i]);
    if (ok < 0)
        return PyErr_NoMemory();
    return ok ? Py_NewRef(Py_None) : NULL;
}

static size_t groups_of(size_t planes)
{
    return (planes + GROUP - 1) / GROUP;
}

/* Columns are counted from the groups that fill them. A place that is not below `count` is no row of y and is never
 * used, so places need no check. */
static int read_analysis(const grid *g, const Py_buffer *own, const Py_buffer *mean, analysis *a)
{
    const Py_buffer *forward = own, *frequency = own + 1, *used = own + 2, *turn = own + 3, *direct = own + 4,
                    *direct_frequency = own + 5, *place = own + 6;
    const uint8_t *in_group = used->buf;
    size_t groups = (size_t)frequency->len, directs = (size_t)direct_frequency->len, columns = 0;
    if (!check_buffer("used", used, groups, 1))
        return 0;
    for (size_t i = 0; i < groups; columns += in_group[i++])
        if (!check_size("used", in_group[i], 1, GROUP))
            return 0;
    *a = (analysis){mean->buf,   forward->buf,          frequency->buf, used->buf, turn->buf,
                    direct->buf, direct_frequency->buf, place->buf,     groups,    columns,
                    groups_of(columns), directs};
    return check_buffer("columns forward", forward, groups * g->channels * GROUP, 4) &&
           check_buffer("turn", turn, a->turned_groups * columns * GROUP, 4) &&
           check_buffer("direct forward", direct, directs * g->channels * GROUP, 4) &&
           check_buffer("place", place, (a->turned_groups + directs) * GROUP, 4) &&
           check_frequencies(g, frequency) && check_frequencies(g, direct_frequency);
}

/* Two groups are worked on at a time if they have the same frequency: then the first must be whole. */
static int check_whole(const analysis *a)
{
    for (size_t i = 1; i < a->column_groups; i++)
        if (a->columns_frequency[i] == a->columns_frequency[i - 1] &&
            !check_size("used", a->columns_used[i - 1], GROUP, GROUP))
            return 0;
    return 1;
}

static PyObject *py_analyse(PyObject *self, PyObject *args)
{
    Py_buffer b[BUFFERS] = {0};
    Py_ssize_t size[3], place[5];
    size_t count;
    float scale;
    grid g;
    analysis a;
    (void)self;
    if (!PyArg_ParseTuple(args, "(nnn)(nnnnn)y*w*y*y*y*y*y*y*y*y*f", &size[0], &size[1], &size[2], &place[0],
                          &place[1], &place[2], &place[3], &place[4], &b[FEATURES], &b[Y], &b[MEAN], &b[OWN],
                          &b[OWN + 1], &b[OWN + 2], &b[OWN + 3], &b[OWN + 4], &b[OWN + 5], &b[OWN + 6], &scale))
        return NULL;
    int ok = read_tensor(size, place, b, &g, &count) && read_analysis(&g, b + OWN, &b[MEAN], &a) && check_whole(&a) &&
             check_factor("scale", scale);
    if (ok) {
        Py_BEGIN_ALLOW_THREADS
        ok = analyse(&g, &a, b[FEATURES].buf, count, scale, b[Y].buf) ? 1 : -1;
        Py_END_ALLOW_THREADS
    }
    return finish(b, ok);
}

static int read_synthesis(const grid *g, const Py_buffer *own, const Py_buffer *mean, synthesis *s)
{
    const Py_buffer *blank = own, *turned = own + 1, *unturn = own + 2, *terms = own + 3, *inverse = own + 4,
                    *place = own + 5, *frequency = own + 6, *direct = own + 7;
    size_t groups = (size_t)frequency->len, columns = (size_t)turned->len / 4, total = 0;
    *s = (synthesis){mean->buf,  blank->buf,     turned->buf, unturn->buf, terms->buf, inverse->buf,
                     place->buf, frequency->buf, direct->buf, columns,     groups};
    if (!check_buffer("turned", turned, columns, 4) || !check_buffer("terms", terms, g->block * g->block, 4))
        return 0;
    for (size_t f = 0; f < g->block * g->block; total += s->terms[f++])
        if (s->terms[f] > columns)
            break;
    return check_size("terms", (Py_ssize_t)total, (Py_ssize_t)columns, (Py_ssize_t)columns) &&
           check_buffer("blank", blank, g->channels * g->height * g->width, 4) &&
           check_buffer("unturn", unturn, columns * chunks(columns), 4) &&
           check_buffer("columns inverse", inverse, columns * g->pitch, 4) &&
           check_buffer("place", place, groups * GROUP, 4) &&
           check_buffer("direct inverse", direct, groups * GROUP * g->pitch, 4) && check_frequencies(g, frequency);
}

static PyObject *py_synthesise(PyObject *self, PyObject *args)
{
    Py_buffer b[BUFFERS] = {0};
    Py_ssize_t size[3], place[5];
    size_t count;
    float step;
    grid g;
    synthesis s;
    (void)self;
    if (!PyArg_ParseTuple(args, "(nnn)(nnnnn)y*w*y*y*y*y*y*y*y*y*y*f", &size[0], &size[1], &size[2], &place[0],
                          &place[1], &place[2], &place[3], &place[4], &b[Y], &b[FEATURES], &b[MEAN], &b[OWN],
                          &b[OWN + 1], &b[OWN + 2], &b[OWN + 3], &b[OWN + 4], &b[OWN + 5], &b[OWN + 6], &b[OWN + 7],
                          &step))
        return NULL;
    int ok = read_tensor(size, place, b, &g, &count) && read_synthesis(&g, b + OWN, &b[MEAN], &s) &&
             check_factor("step", step);
    if (ok) {
        Py_BEGIN_ALLOW_THREADS
        ok = synthesise(&g, &s, b[Y].buf, count, step, b[FEATURES].buf) ? 1 : -1;
        Py_END_ALLOW_THREADS
    }
    return finish(b, ok);
}

static PyObject *py_basis_widest(PyObject *self, PyObject *args)
{
    int before = widest;
    (void)self;
    if (!PyArg_ParseTuple(args, "i", &widest))
        return NULL;
    return PyLong_FromLong(before);
}

PyMethodDef basis_methods[] = {
    {"analyse", py_analyse, METH_VARARGS,
     "analyse(shape, grid, features, y, mean, columns_forward, columns_frequency, columns_used, turn, direct_forward, "
     "direct_frequency, place, scale): features into float32 y"},
    {"synthesise", py_synthesise, METH_VARARGS,
     "synthesise(shape, grid, y, features, mean, blank, turned_place, unturn, terms, columns_inverse, direct_place, "
     "direct_frequency, direct_inverse, step): y into features"},
    {"basis_widest", py_basis_widest, METH_VARARGS, "basis_widest(floats) -> int: registers to use at most, before"},
    {NULL, NULL, 0, NULL},
};
