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
#include "coefficients.h"

enum { CLASSES = 17, TABLES = CLASSES * BINS };

/* Activity over expectation, in 64ths. */
static const uint32_t edges[EDGES] = {19, 29, 38, 48, 58, 70, 86, 109, 147};

/* ---- Encoder ------------------------------------------------------------------------------------------------- */

/* The parts [SYMBOLS] of every table's symbols: what rans_symbol_part() gives. */
typedef struct {
    const uint16_t *expected;
    const rans_part *parts;  /* [TABLES][SYMBOLS] */
    const float *thresholds; /* [TABLES][SYMBOLS], of which the last is not used */
} encoder;

static int encode_tensor(list *l, const encoder *e, const tensor *t, walk *w, const float *y)
{
    for (size_t plane = 0; plane < t->planes; plane++, y += t->blocks) {
        unsigned shift = t->shifts[plane];
        if (!reserve(l, t->blocks * PARTS))
            return 0;
        find_tables(w, t->blocks, edges, t->classes[plane]);
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
        find_tables(w, t->blocks, edges, t->classes[plane]);
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
    if (check_job(&j, CLASSES) && check_length("parts", &parts, TABLES * SYMBOLS * 4) &&
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
    ok = check_job(&j, CLASSES) && check_length("rows", &rows, 2 * (1 + TABLES * SYMBOLS)) &&
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
