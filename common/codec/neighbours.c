/* Levels coded by rANS in the context of their neighbours, for codec 2. neighbours.py is the reference.
 *
 * A tensor is coded row by row, in a row column by column, in a column channel by channel: the channels of one pixel do
 * not depend on each other, so the decoder finds enough to do while it waits for one of them. All of a context but the
 * pixel to the left is known before a row begins and is worked out for the whole row by vector code.
 */
#include "kernel.h"
#include "rans.h"

#include <stdlib.h>

enum { CONTEXTS = 256, BUCKETS = 16 };

/* A row in coding order, [column][channel]. Buckets have a column of zeros before the first and one after the last:
 * what lies outside. */
typedef struct {
    uint8_t *levels, *buckets;
} line;

/* What both directions know of a tensor. */
typedef struct {
    size_t channels, height, width, size; /* size: of a row */
    line here, above;
    uint16_t *first, *index; /* the table that holds a channel's context 0; that of a context without its left part */
} plane;

static void plane_free(plane *p)
{
    free(p->here.levels);
    free(p->here.buckets);
    free(p->above.levels);
    free(p->above.buckets);
    free(p->first);
    free(p->index);
}

/* Returns 0 if there is no memory. `classes` are those of the tensor's channels. */
static int plane_start(plane *p, const int32_t *shape, const uint8_t *classes)
{
    size_t channels = (size_t)shape[0], size = channels * (size_t)shape[2], padded = size + 2 * channels;
    *p = (plane){.channels = channels, .height = (size_t)shape[1], .width = (size_t)shape[2], .size = size};
    p->here = (line){malloc(size), calloc(padded, 1)};
    p->above = (line){malloc(size), calloc(padded, 1)};
    p->first = malloc(size * sizeof *p->first);
    p->index = malloc(size * sizeof *p->index);
    if (!p->here.levels || !p->here.buckets || !p->above.levels || !p->above.buckets || !p->first || !p->index)
        return 0;
    for (size_t i = 0; i < size; i++)
        p->first[i] = (uint16_t)(classes[i % channels] * CONTEXTS);
    return 1;
}

static void swap_lines(plane *p)
{
    line old = p->above;
    p->above = p->here;
    p->here = old;
}

/* Buckets of neighbours left, above, above right and above left are bits 0, 2, 4 and 6 of the context: all but the
 * first, for a whole row. */
static void look_up(const plane *p)
{
    size_t n = p->size, step = p->channels;
    const uint16_t *restrict first = p->first;
    const uint8_t *restrict above = p->above.buckets;
    uint16_t *restrict index = p->index;
    for (size_t i = 0; i < n; i++)
        index[i] = (uint16_t)(first[i] + (above[i + step] << 2) + (above[i + 2 * step] << 4) + (above[i] << 6));
}

/* ---- Encoder: from the last row to the first, and from the last level of each ------------------------------------ */

static void load_line(const plane *p, const line *to, const uint8_t *q, size_t y, const uint8_t *buckets)
{
    for (size_t c = 0; c < p->channels; c++)
        for (size_t x = 0; x < p->width; x++)
            to->levels[x * p->channels + c] = q[(c * p->height + y) * p->width + x];
    for (size_t i = 0; i < p->size; i++)
        to->buckets[i + p->channels] = buckets[to->levels[i]];
}

RANS_INLINE void push_one(rans_writer *w, const plane *p, size_t i, const uint16_t *rows, int stride)
{
    const uint16_t *row = rows + (size_t)(p->index[i] + p->here.buckets[i]) * (size_t)stride;
    rans_push(w, rans_symbol_part(row, p->here.levels[i]));
}

/* Four at a time, with a copy of the writer whose lanes are named by constants: it stays in registers. */
static void push_line(rans_writer *w, const plane *line, const uint16_t *rows, int stride)
{
    const plane p = *line;
    size_t i = p.size;
    for (; i && w->lane; i--)
        push_one(w, &p, i - 1, rows, stride);
    rans_writer four = *w;
    four.turn = 1;
    for (; i >= RANS_LANES; i -= RANS_LANES) {
        four.lane = 0;
        push_one(&four, &p, i - 1, rows, stride);
        push_one(&four, &p, i - 2, rows, stride);
        push_one(&four, &p, i - 3, rows, stride);
        push_one(&four, &p, i - 4, rows, stride);
    }
    *w = four;
    for (; i; i--)
        push_one(w, &p, i - 1, rows, stride);
}

static void encode_plane(rans_writer *w, plane *p, const uint8_t *q, const uint16_t *rows, int stride,
                         const uint8_t *buckets)
{
    load_line(p, &p->here, q, p->height - 1, buckets);
    for (size_t y = p->height; y--; swap_lines(p)) {
        if (y)
            load_line(p, &p->above, q, y - 1, buckets);
        else
            memset(p->above.buckets, 0, p->size + 2 * p->channels);
        look_up(p);
        push_line(w, p, rows, stride);
    }
}

/* ---- Decoder ------------------------------------------------------------------------------------------------- */

static void store_line(const plane *p, uint8_t *q, size_t y)
{
    for (size_t c = 0; c < p->channels; c++)
        for (size_t x = 0; x < p->width; x++)
            q[(c * p->height + y) * p->width + x] = p->here.levels[x * p->channels + c];
}

RANS_INLINE void take_one(rans_decoder *d, const plane *p, size_t i, const uint16_t *rows, int stride,
                          const uint8_t *buckets)
{
    const uint16_t *row = rows + (size_t)(p->index[i] + p->here.buckets[i]) * (size_t)stride;
    unsigned level = rans_take(d, row, stride);
    p->here.levels[i] = (uint8_t)level;
    p->here.buckets[i + p->channels] = buckets[level];
}

/* Four at a time, with a copy of the decoder whose lanes are named by constants: it stays in registers. */
RANS_INLINE void take_line(rans_decoder *d, const plane *line, const uint16_t *rows, int stride, const uint8_t *buckets)
{
    const plane p = *line;
    size_t i = 0;
    for (; i < p.size && d->lane; i++)
        take_one(d, &p, i, rows, stride, buckets);
    rans_decoder four = *d;
    four.turn = 1;
    for (; p.size - i >= RANS_LANES; i += RANS_LANES) {
        four.lane = 0;
        take_one(&four, &p, i, rows, stride, buckets);
        take_one(&four, &p, i + 1, rows, stride, buckets);
        take_one(&four, &p, i + 2, rows, stride, buckets);
        take_one(&four, &p, i + 3, rows, stride, buckets);
    }
    *d = four;
    for (; i < p.size; i++)
        take_one(d, &p, i, rows, stride, buckets);
}

static void decode_plane(rans_decoder *d, plane *p, uint8_t *q, const uint16_t *rows, int stride,
                         const uint8_t *buckets)
{
    for (size_t y = 0; y < p->height; y++, swap_lines(p)) {
        look_up(p);
        if (stride == 4)
            take_line(d, p, rows, 4, buckets);
        else if (stride == 8)
            take_line(d, p, rows, 8, buckets);
        else
            take_line(d, p, rows, 16, buckets);
        store_line(p, q, y);
    }
}

/* ---- Python -------------------------------------------------------------------------------------------------- */

/* Tensors that follow one another, in q [C, H, W] each, and what codes them. */
typedef struct {
    Py_buffer q, shapes, classes, buckets, rows;
    int stride;
} job;

static int check_shapes(const job *j)
{
    const int32_t *shape = j->shapes.buf;
    uint64_t count = 0, channels = 0;
    int ok = j->shapes.len > 0 && j->shapes.len % 12 == 0 && j->q.len <= INT32_MAX;
    for (Py_ssize_t i = 0; ok && i < j->shapes.len / 12; i++, shape += 3) {
        for (int k = 0; k < 3; k++)
            ok &= 0 < shape[k] && shape[k] <= 1 << 16;
        count += ok ? (uint64_t)shape[0] * (uint64_t)shape[1] * (uint64_t)shape[2] : 0;
        channels += ok ? (uint64_t)shape[0] : 0;
    }
    if (ok && count == (uint64_t)j->q.len && channels == (uint64_t)j->classes.len)
        return 1;
    PyErr_SetString(PyExc_ValueError, "shapes: expected those of q, and a class for each channel");
    return 0;
}

/* Every row that a context can name exists, and every level has a bucket. */
static int check_model(const job *j)
{
    const uint8_t *classes = j->classes.buf, *buckets = j->buckets.buf;
    Py_ssize_t tables = (j->rows.len / 2 - 1) / j->stride;
    int ok = j->buckets.len == BUCKETS;
    for (Py_ssize_t i = 0; ok && i < BUCKETS; i++)
        ok = buckets[i] < 4;
    for (Py_ssize_t i = 0; ok && i < j->classes.len; i++)
        ok = (classes[i] + 1) * CONTEXTS <= tables;
    if (!ok)
        PyErr_SetString(PyExc_ValueError, "classes: expected 256 tables for each; buckets: sixteen below 4");
    return ok;
}

static int check_job(const job *j)
{
    return rans_check_rows(&j->rows, j->stride) && check_shapes(j) && check_model(j);
}

static void release(job *j)
{
    PyBuffer_Release(&j->q);
    PyBuffer_Release(&j->shapes);
    PyBuffer_Release(&j->classes);
    PyBuffer_Release(&j->buckets);
    PyBuffer_Release(&j->rows);
}

/* Works on tensor i, whose channels and levels come after so many; returns 0 if there is no memory. */
static int one_tensor(const job *j, Py_ssize_t i, size_t channels, size_t levels, rans_writer *w, rans_decoder *d)
{
    const uint16_t *rows = (const uint16_t *)j->rows.buf + 1;
    uint8_t *q = (uint8_t *)j->q.buf + levels;
    plane p;
    int ok = plane_start(&p, (const int32_t *)j->shapes.buf + 3 * i, (const uint8_t *)j->classes.buf + channels);
    if (ok && w)
        encode_plane(w, &p, q, rows, j->stride, j->buckets.buf);
    else if (ok)
        decode_plane(d, &p, q, rows, j->stride, j->buckets.buf);
    plane_free(&p);
    return ok;
}

static size_t levels_of(const job *j, Py_ssize_t i)
{
    const int32_t *shape = (const int32_t *)j->shapes.buf + 3 * i;
    return (size_t)shape[0] * (size_t)shape[1] * (size_t)shape[2];
}

static int encode_all(const job *j, rans_writer *w)
{
    size_t channels = (size_t)j->classes.len, levels = (size_t)j->q.len;
    for (Py_ssize_t i = j->shapes.len / 12; i--;) {
        channels -= (size_t)((const int32_t *)j->shapes.buf)[3 * i];
        levels -= levels_of(j, i);
        if (!one_tensor(j, i, channels, levels, w, NULL))
            return 0;
    }
    return 1;
}

static int decode_all(const job *j, rans_decoder *d)
{
    size_t channels = 0, levels = 0;
    for (Py_ssize_t i = 0; i < j->shapes.len / 12; i++) {
        if (!one_tensor(j, i, channels, levels, NULL, d))
            return 0;
        channels += (size_t)((const int32_t *)j->shapes.buf)[3 * i];
        levels += levels_of(j, i);
    }
    return 1;
}

static int check_levels(const job *j)
{
    const uint8_t *q = j->q.buf;
    uint8_t most = 0;
    for (Py_ssize_t i = 0; i < j->q.len; i++)
        most = q[i] > most ? q[i] : most;
    if (most < j->stride)
        return 1;
    PyErr_Format(PyExc_ValueError, "q: expected levels below %d, got %d", j->stride, most);
    return 0;
}

static PyObject *encoded(const job *j)
{
    PyObject *result = NULL;
    size_t bound = rans_bound((size_t)j->q.len), length = 0;
    uint8_t *space = malloc(bound);
    int ok = space != NULL;
    rans_writer w = {0};
    Py_BEGIN_ALLOW_THREADS
    if (ok) {
        w = rans_open((size_t)j->q.len, space + bound);
        ok = encode_all(j, &w);
        length = rans_close(&w, space + bound);
    }
    Py_END_ALLOW_THREADS
    if (!ok)
        PyErr_NoMemory();
    else if (w.impossible)
        PyErr_SetString(PyExc_ValueError, "q: a level has no frequency in its context");
    else
        result = PyBytes_FromStringAndSize((const char *)w.to, (Py_ssize_t)length);
    free(space);
    return result;
}

static PyObject *py_neighbours_encode(PyObject *self, PyObject *args)
{
    job j;
    (void)self;
    if (!PyArg_ParseTuple(args, "y*y*y*y*y*i", &j.q, &j.shapes, &j.classes, &j.buckets, &j.rows, &j.stride))
        return NULL;
    PyObject *result = check_job(&j) && check_levels(&j) ? encoded(&j) : NULL;
    release(&j);
    return result;
}

static PyObject *py_neighbours_decode(PyObject *self, PyObject *args)
{
    job j;
    Py_buffer data;
    rans_decoder d;
    PyObject *result = NULL;
    int ok = 1, sound = 0;
    (void)self;
    if (!PyArg_ParseTuple(args, "y*w*y*y*y*y*i", &data, &j.q, &j.shapes, &j.classes, &j.buckets, &j.rows, &j.stride))
        return NULL;
    if (check_job(&j)) {
        Py_BEGIN_ALLOW_THREADS
        sound = rans_start(&d, data.buf, (size_t)data.len);
        if (sound) {
            ok = decode_all(&j, &d);
            sound = rans_end(&d);
        }
        Py_END_ALLOW_THREADS
        result = ok ? PyBool_FromLong(sound) : PyErr_NoMemory();
    }
    PyBuffer_Release(&data);
    release(&j);
    return result;
}

PyMethodDef neighbours_methods[] = {
    {"neighbours_encode", py_neighbours_encode, METH_VARARGS,
     "neighbours_encode(q, shapes, classes, buckets, rows, stride) -> bytes"},
    {"neighbours_decode", py_neighbours_decode, METH_VARARGS,
     "neighbours_decode(data, q, shapes, classes, buckets, rows, stride) -> bool: whether data is what encode writes"},
    {NULL, NULL, 0, NULL},
};
