/* Planes of coefficients to a rANS stream and back, for the transform codec. coefficients.py is the reference.
 *
 * READ ME FIRST, four things that bite:
 *
 * 1. Planes depend on each other, by the activity of their blocks; the blocks of a plane do not. So a plane is worked
 *    on as a whole: the tables of all blocks, then all symbols, then what symbols do not say.
 * 2. An encoder lists parts (rans.h) because activity runs forwards and rANS backwards. The list grows plane by plane.
 * 3. Activity and expectation are integers of 8 bits behind the point and at most 4 * 2^8 is added to what keeps
 *    31/32 of itself: both stay below 2^15 + 1, and 16 bits hold them.
 * 4. A decoder checks nothing but escapes as it goes: whatever the bytes are, each plane takes a bounded number of
 *    symbols, and rans_end() says whether the bytes are those that an encoder writes.
 */
#include "kernel.h"
#include "rans.h"

#include <math.h>
#include <stdlib.h>

enum {
    CLASSES = 17,
    EDGES = 9,
    BINS = EDGES + 1,
    TABLES = CLASSES * BINS,
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

/* Activity over expectation, in 64ths. */
static const uint32_t edges[EDGES] = {19, 29, 38, 48, 58, 70, 86, 109, 147};

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
WIDE static void find_tables(const walk *w, size_t blocks, unsigned plane_class)
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

/* The parts [SYMBOLS] of every table's symbols: what rans_symbol_part() gives. */
typedef struct {
    const uint16_t *expected;
    const rans_part *parts;  /* [TABLES][SYMBOLS] */
    const float *thresholds; /* [TABLES][SYMBOLS], of which the last is not used */
} encoder;

WIDE static void put_symbols(list *l, const walk *w, const rans_part *parts, size_t blocks)
{
    rans_part *restrict to = l->parts + l->count;
    const uint32_t *restrict index = w->index;
    const uint8_t *restrict symbols = w->symbols;
    for (size_t block = 0; block < blocks; block++)
        to[block] = parts[index[block] * SYMBOLS + symbols[block]];
    l->count += blocks;
}

static int encode_tensor(list *l, const encoder *e, const tensor *t, walk *w, const float *y)
{
    for (size_t plane = 0; plane < t->planes; plane++, y += t->blocks) {
        unsigned shift = t->shifts[plane];
        if (!reserve(l, t->blocks * PARTS))
            return 0;
        find_tables(w, t->blocks, t->classes[plane]);
        size_t n = shift ? quantise_shifted(w, y, shift, t->blocks) : quantise(w, y, e->thresholds, t->blocks);
        put_symbols(l, w, e->parts, t->blocks);
        if (shift || RARELY(any_escape(w->symbols, t->blocks)))
            put_rest(l, w, shift, t->blocks);
        put_signs(l, w->where, n, y);
        advance(w, t->blocks, e->expected[t->classes[plane]]);
    }
    return 1;
}

/* ---- Decoder ------------------------------------------------------------------------------------------------- */

typedef struct {
    const uint16_t *expected;
    const uint16_t *rows; /* of rANS, 16 numbers each */
    const float *values;  /* [TABLES][SYMBOLS]: what sizes below ESCAPE stand for without a shift */
} decoder;

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

/* Signs of the n coefficients that are not 0, to y, which holds their sizes or what those stand for. */
static void take_signs(rans_decoder *d, const uint32_t *where, size_t n, float *y)
{
    for (size_t i = 0; i < n; i += SIGNS) {
        size_t end = n - i < SIGNS ? n : i + SIGNS;
        uint32_t signs = rans_take_raw(d, (int)(end - i));
        for (size_t k = end; k-- > i; signs >>= 1)
            y[where[k]] *= signs & 1 ? -1.0f : 1.0f;
    }
}

/* Values of symbols, of which those that are not 0 are listed. */
WIDE static void look_up(const walk *w, const float *values, size_t blocks, float *restrict y)
{
    const uint32_t *restrict index = w->index;
    const uint8_t *restrict symbols = w->symbols;
    for (size_t block = 0; block < blocks; block++)
        y[block] = values[index[block] * SYMBOLS + symbols[block]];
}

static size_t list_symbols(const uint8_t *restrict symbols, size_t blocks, uint32_t *restrict where)
{
    size_t n = 0;
    for (size_t block = 0; block < blocks; block++) {
        where[n] = (uint32_t)block;
        n += symbols[block] != 0;
    }
    return n;
}

/* Values of escapes, or of everything if there is a shift; returns how many coefficients are not 0. */
static size_t apply_sizes(walk *w, unsigned shift, size_t blocks, float *y)
{
    size_t n = 0;
    for (size_t block = 0; block < blocks; block++) {
        if (shift || w->symbols[block] == ESCAPE)
            y[block] = w->sizes[block];
        w->where[n] = (uint32_t)block;
        n += w->sizes[block] != 0;
    }
    return n;
}

/* Returns 0 if no encoder writes this. */
static int decode_tensor(rans_decoder *d, const decoder *from, const tensor *t, walk *w, float *y)
{
    for (size_t plane = 0; plane < t->planes; plane++, y += t->blocks) {
        unsigned shift = t->shifts[plane];
        find_tables(w, t->blocks, t->classes[plane]);
        rans_take_plane(d, from->rows, SYMBOLS, w->index, w->symbols, t->blocks);
        look_up(w, from->values, t->blocks, y);
        size_t n;
        if (shift || RARELY(any_escape(w->symbols, t->blocks))) {
            if (!take_rest(d, w, shift, t->blocks))
                return 0;
            n = apply_sizes(w, shift, t->blocks, y);
        } else
            n = list_symbols(w->symbols, t->blocks, w->where);
        take_signs(d, w->where, n, y);
        advance(w, t->blocks, from->expected[t->classes[plane]]);
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

static int check_planes(const job *j)
{
    const uint8_t *classes = j->classes.buf, *shifts = j->shifts.buf;
    const uint16_t *expected = j->expected.buf;
    int ok = 1;
    for (Py_ssize_t i = 0; i < j->classes.len; i++)
        ok &= classes[i] < CLASSES && shifts[i] <= RANS_BITS;
    for (int i = 0; i < CLASSES; i++)
        ok &= expected[i] <= MOST << POINT;
    if (!ok)
        PyErr_SetString(PyExc_ValueError, "planes: expected classes below 17, shifts to 14, expectations to 1024");
    return ok;
}

static int check_job(job *j)
{
    return check_length("expected", &j->expected, 2 * CLASSES) && check_sizes(j) && check_planes(j);
}

static void release(job *j)
{
    PyBuffer_Release(&j->y);
    PyBuffer_Release(&j->sizes);
    PyBuffer_Release(&j->classes);
    PyBuffer_Release(&j->shifts);
    PyBuffer_Release(&j->expected);
}

/* All tensors, by an encoder or a decoder. Returns 1, 0 if no encoder writes this, or -1 if there is no memory. */
static int all_tensors(const job *j, const encoder *e, list *l, const decoder *from, rans_decoder *d)
{
    const int32_t *size = j->sizes.buf;
    tensor t = {0, 0, j->classes.buf, j->shifts.buf};
    float *y = j->y.buf;
    int ok = 1;
    for (Py_ssize_t i = 0; ok > 0 && i < j->tensors; i++, size += 2) {
        walk w;
        t.planes = (size_t)size[0];
        t.blocks = (size_t)size[1];
        ok = walk_start(&w, t.blocks) ? 1 : -1;
        if (ok > 0)
            ok = e ? (encode_tensor(l, e, &t, &w, y) ? 1 : -1) : decode_tensor(d, from, &t, &w, y);
        walk_free(&w);
        y += t.planes * t.blocks;
        t.classes += t.planes;
        t.shifts += t.planes;
    }
    return ok;
}

/* Returns NULL with an exception set. */
static PyObject *stream(const job *j, const encoder *e)
{
    list l = {NULL, 0, 0};
    uint8_t *space = NULL;
    size_t bound = 0, length = 0;
    PyObject *result = NULL;
    int ok;
    Py_BEGIN_ALLOW_THREADS
    ok = reserve(&l, (size_t)j->y.len / 4 + (size_t)j->y.len / 16 + 64) && all_tensors(j, e, &l, NULL, NULL) > 0;
    bound = rans_bound(l.count);
    space = ok ? malloc(bound) : NULL;
    if (space)
        length = rans_write(l.parts, l.count, space + bound);
    Py_END_ALLOW_THREADS
    if (length)
        result = PyBytes_FromStringAndSize((const char *)space + bound - length, (Py_ssize_t)length);
    else if (space)
        PyErr_SetString(PyExc_ValueError, "parts: expected 0 < size and start + size <= 2^14");
    else
        PyErr_NoMemory();
    free(space);
    free(l.parts);
    return result;
}

static PyObject *py_coefficients_encode(PyObject *self, PyObject *args)
{
    job j = {0};
    Py_buffer parts, thresholds;
    PyObject *result = NULL;
    (void)self;
    if (!PyArg_ParseTuple(args, "y*y*y*y*y*y*y*", &j.y, &j.sizes, &j.classes, &j.shifts, &j.expected, &parts,
                          &thresholds))
        return NULL;
    if (check_job(&j) && check_length("parts", &parts, TABLES * SYMBOLS * 4) &&
        check_length("thresholds", &thresholds, TABLES * SYMBOLS * 4))
        result = stream(&j, &(encoder){j.expected.buf, parts.buf, thresholds.buf});
    release(&j);
    PyBuffer_Release(&parts);
    PyBuffer_Release(&thresholds);
    return result;
}

static PyObject *py_coefficients_decode(PyObject *self, PyObject *args)
{
    job j = {0};
    Py_buffer data, rows, values;
    int ok;
    (void)self;
    if (!PyArg_ParseTuple(args, "y*w*y*y*y*y*y*y*", &data, &j.y, &j.sizes, &j.classes, &j.shifts, &j.expected, &rows,
                          &values))
        return NULL;
    ok = check_job(&j) && check_length("rows", &rows, 2 * (1 + TABLES * SYMBOLS)) &&
                 check_length("values", &values, TABLES * SYMBOLS * 4)
             ? 1
             : -2;
    if (ok > 0) {
        decoder from = {j.expected.buf, (const uint16_t *)rows.buf + 1, values.buf};
        rans_decoder d;
        Py_BEGIN_ALLOW_THREADS
        ok = rans_start(&d, data.buf, (size_t)data.len) ? all_tensors(&j, NULL, NULL, &from, &d) : 0;
        ok = ok > 0 ? rans_end(&d) : ok;
        Py_END_ALLOW_THREADS
    }
    release(&j);
    PyBuffer_Release(&data);
    PyBuffer_Release(&rows);
    PyBuffer_Release(&values);
    if (ok == -1)
        PyErr_NoMemory();
    return ok < 0 ? NULL : PyBool_FromLong(ok);
}

PyMethodDef coefficients_methods[] = {
    {"coefficients_encode", py_coefficients_encode, METH_VARARGS,
     "coefficients_encode(y, sizes, classes, shifts, expected, parts, thresholds) -> bytes"},
    {"coefficients_decode", py_coefficients_decode, METH_VARARGS,
     "coefficients_decode(data, y, sizes, classes, shifts, expected, rows, values) -> bool: whether data is sound"},
    {NULL, NULL, 0, NULL},
};
