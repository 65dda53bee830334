/* What coefficients.c, for frames that are coded alone, and temporal.c, for those coded after another, share: planes,
 * contexts, symbols and what symbols do not say. coefficients.py is the reference; coefficients.c says what bites.
 *
 * Everything here is static: each of the two files has its own, compiled for it. */
#ifndef MIDSTREAM_COEFFICIENTS_H
#define MIDSTREAM_COEFFICIENTS_H

#include "kernel.h"
#include "rans.h"

#include <math.h>
#include <stdlib.h>

enum {
    EDGES = 9,
    BINS = EDGES + 1,
    SYMBOLS = 16,
    ESCAPE = SYMBOLS - 1,
    MOST = 4,   /* of a symbol, in the activity */
    POINT = 8,  /* binary digits of activity and expectation behind the point */
    DECAY = 5,  /* with every plane they lose 2^-5 of themselves */
    LENGTH = 4, /* bits that say how many bits follow an escape */
    SIGNS = RANS_BITS,
    TOP = INT16_MAX,
    PARTS = 5, /* of a coefficient at most: symbol, escape's length, escape's bits, low bits, sign */
};

/* ---- What both sides know ------------------------------------------------------------------------------------ */

/* The planes of one tensor, [planes][blocks]. */
typedef struct {
    size_t planes, blocks;
    const uint8_t *classes, *shifts; /* [planes] */
} tensor;

/* Of one tensor as its planes go by. */
typedef struct {
    uint16_t *activity; /* [blocks] */
    uint32_t expectation;
    uint32_t *index; /* [blocks]: which table codes the coefficient of this plane */
    uint8_t *symbols;
    uint32_t *where; /* [blocks]: the coefficients that are not 0 */
    uint16_t *sizes;
} walk;

static void walk_free(walk *w)
{
    free(w->activity);
    free(w->index);
    free(w->symbols);
    free(w->where);
    free(w->sizes);
}

static int walk_start(walk *w, size_t blocks)
{
    *w = (walk){calloc(blocks, sizeof *w->activity), 0, malloc(blocks * sizeof *w->index), malloc(blocks),
                malloc(blocks * sizeof *w->where), malloc(blocks * sizeof *w->sizes)};
    return w->activity && w->index && w->symbols && w->where && w->sizes;
}

/* The tables of all blocks for a plane of this class. Bin j and more begin where (activity + 1) * 64 reaches
 * (expectation + 1) * edge j: as a limit on activity itself, rounded up. */
WIDE static void find_tables(const walk *w, size_t blocks, const uint32_t *edges, unsigned plane_class)
{
    const uint16_t *restrict activity = w->activity;
    uint32_t *restrict index = w->index;
    uint16_t limits[EDGES];
    for (int j = 0; j < EDGES; j++) {
        uint32_t limit = (((w->expectation + (1u << POINT)) * edges[j] + 63) >> 6);
        limit = limit > 1u << POINT ? limit - (1u << POINT) : 0;
        limits[j] = (uint16_t)(limit < UINT16_MAX ? limit : UINT16_MAX);
    }
    for (size_t block = 0; block < blocks; block++) {
        uint16_t bin = (uint16_t)(plane_class * BINS);
        for (int j = 0; j < EDGES; j++)
            bin = (uint16_t)(bin + (activity[block] >= limits[j]));
        index[block] = bin;
    }
}

/* The plane is coded. */
WIDE static void advance(walk *w, size_t blocks, unsigned expected)
{
    uint16_t *restrict activity = w->activity;
    const uint8_t *restrict symbols = w->symbols;
    for (size_t block = 0; block < blocks; block++) {
        unsigned added = symbols[block] < MOST ? symbols[block] : MOST;
        activity[block] = (uint16_t)(activity[block] - (activity[block] >> DECAY) + (added << POINT));
    }
    w->expectation += expected - (w->expectation >> DECAY);
}

/* ---- Encoder ------------------------------------------------------------------------------------------------- */

/* What is put, in the order of the stream. */
typedef struct {
    rans_part *parts;
    size_t count, room;
} list;

/* Makes room for `more`. */
static int reserve(list *l, size_t more)
{
    if (l->room - l->count >= more)
        return 1;
    size_t room = l->room + l->room / 2 + more;
    rans_part *parts = realloc(l->parts, room * sizeof *parts);
    if (!parts)
        return 0;
    l->parts = parts;
    l->room = room;
    return 1;
}

static void put_raw(list *l, uint32_t value, int bits)
{
    l->parts[l->count++] = rans_raw_part(value, bits);
}

/* Lists the blocks whose coefficients are at least their tables' lowest threshold. */
WIDE static size_t above(const float *restrict y, const uint32_t *restrict index, const float *thresholds,
                         size_t blocks, uint8_t *restrict over, uint32_t *restrict where)
{
    size_t n = 0;
    for (size_t block = 0; block < blocks; block++)
        over[block] = fabsf(y[block]) >= thresholds[index[block] * SYMBOLS];
    for (size_t block = 0; block < blocks; block++) {
        where[n] = (uint32_t)block;
        n += over[block];
    }
    return n;
}

/* floor(size + 0.4), at most TOP; what is not a number is 0. */
INLINE unsigned rounded(float size)
{
    size += 0.4f;
    size = size > 0.0f ? size : 0.0f;
    return (unsigned)(size < TOP ? size : TOP);
}

/* Sizes and symbols of a plane without a shift; returns how many are not 0, listed in w->where. */
static size_t quantise(walk *w, const float *y, const float *thresholds, size_t blocks)
{
    size_t n = above(y, w->index, thresholds, blocks, w->symbols, w->where);
    for (size_t i = 0; i < n; i++) {
        size_t block = w->where[i];
        const float *row = thresholds + w->index[block] * SYMBOLS;
        float size = fabsf(y[block]);
        unsigned level = 1;
        while (level < ESCAPE && size >= row[level])
            level++;
        w->symbols[block] = (uint8_t)level;
        if (RARELY(level == ESCAPE)) {
            level = rounded(size);
            w->sizes[block] = (uint16_t)(level > ESCAPE ? level : ESCAPE);
        }
    }
    return n;
}

/* The same with a shift: there are no thresholds. */
static size_t quantise_shifted(walk *w, const float *y, unsigned shift, size_t blocks)
{
    size_t n = 0;
    for (size_t block = 0; block < blocks; block++) {
        unsigned size = rounded(fabsf(y[block])), high = size >> shift;
        w->sizes[block] = (uint16_t)size;
        w->symbols[block] = (uint8_t)(high < ESCAPE ? high : ESCAPE);
        w->where[n] = (uint32_t)block;
        n += size != 0;
    }
    return n;
}

/* What symbols do not say of sizes. */
static void put_rest(list *l, const walk *w, unsigned shift, size_t blocks)
{
    for (size_t block = 0; block < blocks; block++) {
        if (w->symbols[block] == ESCAPE) {
            unsigned beyond = (w->sizes[block] >> shift) - ESCAPE + 1u;
            int length = 0;
            while (beyond >> length > 1)
                length++;
            put_raw(l, (uint32_t)length, LENGTH);
            if (length)
                put_raw(l, beyond, length);
        }
        if (shift)
            put_raw(l, w->sizes[block], (int)shift);
    }
}

static void put_signs(list *l, const uint32_t *where, size_t n, const float *y)
{
    for (size_t i = 0; i < n; i += SIGNS) {
        size_t end = n - i < SIGNS ? n : i + SIGNS;
        uint32_t signs = 0;
        for (size_t k = i; k < end; k++)
            signs = signs << 1 | (y[where[k]] < 0.0f);
        put_raw(l, signs, (int)(end - i));
    }
}

WIDE static int any_escape(const uint8_t *symbols, size_t blocks)
{
    uint8_t most = 0;
    for (size_t block = 0; block < blocks; block++)
        most = symbols[block] > most ? symbols[block] : most;
    return most == ESCAPE;
}

WIDE static void put_symbols(list *l, const walk *w, const rans_part *parts, size_t blocks)
{
    rans_part *restrict to = l->parts + l->count;
    const uint32_t *restrict index = w->index;
    const uint8_t *restrict symbols = w->symbols;
    for (size_t block = 0; block < blocks; block++)
        to[block] = parts[index[block] * SYMBOLS + symbols[block]];
    l->count += blocks;
}

/* ---- Decoder ------------------------------------------------------------------------------------------------- */

/* What follows a symbol; sizes[block] is 0 or more. Returns 0 if no encoder writes this. */
static int take_rest(rans_decoder *d, walk *w, unsigned shift, size_t blocks)
{
    for (size_t block = 0; block < blocks; block++) {
        unsigned size = w->symbols[block];
        if (size == ESCAPE) {
            unsigned length = rans_take_raw(d, LENGTH);
            if (length > RANS_BITS)
                return 0;
            size += (1u << length) - 1;
            if (length)
                size += rans_take_raw(d, (int)length);
        }
        if (shift)
            size = size << shift | rans_take_raw(d, (int)shift);
        if (size > TOP)
            return 0;
        w->sizes[block] = (uint16_t)size;
    }
    return 1;
}

/* ---- Python -------------------------------------------------------------------------------------------------- */

/* Tensors that follow one another. */
typedef struct {
    Py_buffer y, sizes, classes, shifts, expected;
    Py_ssize_t tensors;
} job;

static int check_length(const char *name, const Py_buffer *buffer, Py_ssize_t bytes)
{
    if (buffer->len == bytes)
        return 1;
    PyErr_Format(PyExc_ValueError, "%s: expected %zd bytes, got %zd", name, bytes, buffer->len);
    return 0;
}

/* sizes [tensors][2]: planes and blocks of each. */
static int check_sizes(job *j)
{
    const int32_t *size = j->sizes.buf;
    uint64_t count = 0, planes = 0;
    j->tensors = j->sizes.len / 8;
    for (Py_ssize_t i = 0; i < j->tensors; i++, size += 2) {
        if (size[0] < 0 || size[0] > 1 << 22 || size[1] < 1 || size[1] > 1 << 26) {
            PyErr_SetString(PyExc_ValueError, "sizes: expected 0..2^22 planes and 1..2^26 blocks");
            return 0;
        }
        count += (uint64_t)size[0] * (uint64_t)size[1];
        planes += (uint64_t)size[0];
    }
    if (count <= INT32_MAX && count * 4 == (uint64_t)j->y.len && planes == (uint64_t)j->classes.len)
        return check_length("shifts", &j->shifts, j->classes.len);
    PyErr_SetString(PyExc_ValueError, "sizes: expected those of y, and a class for each plane");
    return 0;
}

static int check_planes(const job *j, unsigned most)
{
    const uint8_t *classes = j->classes.buf, *shifts = j->shifts.buf;
    const uint16_t *expected = j->expected.buf;
    int ok = 1;
    for (Py_ssize_t i = 0; i < j->classes.len; i++)
        ok &= classes[i] < most && shifts[i] <= RANS_BITS;
    for (unsigned i = 0; i < most; i++)
        ok &= expected[i] <= MOST << POINT;
    if (!ok)
        PyErr_Format(PyExc_ValueError, "planes: expected classes below %u, shifts to 14, expectations to 1024", most);
    return ok;
}

/* `classes`: how many there are. */
static int check_job(job *j, unsigned classes)
{
    return check_length("expected", &j->expected, 2 * (Py_ssize_t)classes) && check_sizes(j) && check_planes(j, classes);
}

static void release(job *j)
{
    PyBuffer_Release(&j->y);
    PyBuffer_Release(&j->sizes);
    PyBuffer_Release(&j->classes);
    PyBuffer_Release(&j->shifts);
    PyBuffer_Release(&j->expected);
}

#endif
