/* Integers around zero to a rANS stream and back. values.py is the reference.
 *
 * READ ME FIRST, three things that bite:
 *
 * 1. rANS is a stack and rows are known beforehand, so the encoder walks backwards: the last run first, in a run first
 *    what symbols do not say, from its last value on. Before that it counts what there will be, because the number of
 *    steps decides which lane has the last one.
 * 2. Most values of a latent are 0 and most of those are in silent rows: these are dropped first, without a branch, and
 *    the rest of a run is coded as if they were not there.
 * 3. A decoder checks sizes alone as it goes: whatever the bytes are, a run takes a bounded number of steps, and the
 *    end of the stream, which Python checks, says whether the bytes are those that an encoder writes.
 */
#include "kernel.h"
#include "rans.h"

#include <stdlib.h>

enum {
    SYMBOLS = 16,
    ESCAPE = SYMBOLS - 1,
    CENTRE = 7,
    RUN = 4096,
    LENGTH = 6,
    MOST_LENGTH = 20,
    MOST = 1 << 20,
    ROWS = 1 << 16,
};

/* The rows, and of each what a run asks first. */
typedef struct {
    const uint16_t *rows; /* of rANS */
    const uint8_t *bits;
    size_t count;
    uint8_t alive[ROWS]; /* not silent */
} table;

static void find_silent(table *t)
{
    for (size_t row = 0; row < t->count; row++) {
        const uint16_t *ends = t->rows + row * SYMBOLS;
        uint16_t all = ends[CENTRE] == RANS_TOTAL && ends[CENTRE - 1] == 0;
        t->alive[row] = !(all && t->bits[row] == 0);
    }
}

/* The values of a run that are in the stream: their places and rows. Returns how many. */
static size_t list_alive(const table *t, const uint16_t *restrict index, size_t n, uint16_t *restrict where,
                         uint32_t *restrict rows)
{
    size_t found = 0;
    for (size_t i = 0; i < n; i++) {
        where[found] = (uint16_t)i;
        rows[found] = index[i];
        found += t->alive[index[i]];
    }
    return found;
}

INLINE int32_t high_of(int32_t value, unsigned bits)
{
    return (value + (int32_t)(1u << bits >> 1)) >> bits;
}

INLINE unsigned symbol_of(int32_t high)
{
    unsigned symbol = (unsigned)(high + CENTRE);
    return symbol < ESCAPE ? symbol : ESCAPE;
}

/* How far an escape's size is beyond CENTRE, and the digits of that behind the first. */
INLINE uint32_t beyond_of(int32_t high, int *length)
{
    uint32_t beyond = (uint32_t)(high < 0 ? -high : high) - CENTRE;
    *length = 0;
    while (beyond >> *length > 1)
        ++*length;
    return beyond;
}

/* ---- Encoder ------------------------------------------------------------------------------------------------- */

/* Steps of the coder that values take; 0 with *ok cleared if one cannot be coded. */
static size_t count_steps(const table *t, const int32_t *values, const uint16_t *index, size_t n, int *ok)
{
    size_t steps = 0;
    for (size_t i = 0; i < n; i++) {
        if (!t->alive[index[i]]) {
            *ok &= values[i] == 0;
            continue;
        }
        *ok &= -MOST <= values[i] && values[i] <= MOST;
        unsigned bits = t->bits[index[i]];
        steps += 1 + (bits > 0);
        if (*ok && RARELY(symbol_of(high_of(values[i], bits)) == ESCAPE)) {
            int length;
            beyond_of(high_of(values[i], bits), &length);
            steps += 1 + (size_t)(length > 0) + (length > RANS_BITS);
        }
    }
    return steps;
}

static void push_escape(rans_writer *w, int32_t high)
{
    int length;
    uint32_t beyond = beyond_of(high, &length);
    if (length)
        rans_push(w, rans_raw_part(beyond, length < RANS_BITS ? length : RANS_BITS));
    if (length > RANS_BITS)
        rans_push(w, rans_raw_part(beyond >> RANS_BITS, length - RANS_BITS));
    rans_push(w, rans_raw_part(2 * (uint32_t)length + (high < 0), LENGTH));
}

static void push_run(rans_writer *w, const table *t, const int32_t *values, const uint16_t *index, size_t n)
{
    uint16_t where[RUN + 1];
    uint32_t rows[RUN + 1];
    uint8_t symbols[RUN];
    size_t alive = list_alive(t, index, n, where, rows);
    for (size_t i = alive; i--;) {
        int32_t value = values[where[i]];
        unsigned bits = t->bits[rows[i]];
        int32_t high = high_of(value, bits);
        symbols[i] = (uint8_t)symbol_of(high);
        if (bits)
            rans_push(w, rans_raw_part((uint32_t)value + (1u << bits >> 1), (int)bits));
        if (RARELY(symbols[i] == ESCAPE))
            push_escape(w, high);
    }
    rans_push_plane(w, t->rows, SYMBOLS, rows, symbols, alive);
}

static void push_segment(rans_writer *w, const table *t, const int32_t *values, const uint16_t *index, size_t n)
{
    for (size_t last = (n + RUN - 1) / RUN; last--;) {
        size_t at = last * RUN, count = n - at < RUN ? n - at : RUN;
        push_run(w, t, values + at, index + at, count);
    }
}

/* ---- Decoder ------------------------------------------------------------------------------------------------- */

/* CENTRE and what the stream says of the size of an escape, or 0. */
static int32_t take_escape(rans_decoder *d)
{
    uint32_t said = rans_take_raw(d, LENGTH), beyond = 1;
    int length = (int)(said >> 1);
    if (length > MOST_LENGTH)
        return 0;
    if (length > RANS_BITS)
        beyond = beyond << (length - RANS_BITS) | rans_take_raw(d, length - RANS_BITS);
    if (length) {
        int rest = length < RANS_BITS ? length : RANS_BITS;
        beyond = beyond << rest | rans_take_raw(d, rest);
    }
    return said & 1 ? -(int32_t)(beyond + CENTRE) : (int32_t)(beyond + CENTRE);
}

/* Escapes and low bits of the values at `where`, whose symbols less CENTRE are in `values`. Returns 0 if one is too
 * large. */
static int take_rest(rans_decoder *d, const uint8_t *bits, const uint16_t *where, size_t n, int32_t *values)
{
    for (size_t i = 0; i < n; i++) {
        int64_t value = values[where[i]];
        if (value > CENTRE && !(value = take_escape(d)))
            return 0;
        if (bits[i])
            value = value * (1 << bits[i]) + rans_take_raw(d, bits[i]) - (1 << bits[i] >> 1);
        if (value < -MOST || value > MOST)
            return 0;
        values[where[i]] = (int32_t)value;
    }
    return 1;
}

static int take_run(rans_decoder *d, const table *t, const uint16_t *index, size_t n, int32_t *values)
{
    uint16_t where[RUN + 1], rest[RUN + 1];
    uint32_t rows[RUN + 1];
    uint8_t symbols[RUN], bits[RUN + 1];
    size_t alive = list_alive(t, index, n, where, rows), more = 0;
    memset(values, 0, n * sizeof *values);
    rans_take_plane(d, t->rows, SYMBOLS, rows, symbols, alive);
    for (size_t i = 0; i < alive; i++) {
        values[where[i]] = (int32_t)symbols[i] - CENTRE;
        rest[more] = where[i];
        bits[more] = t->bits[rows[i]];
        more += bits[more] > 0 || symbols[i] == ESCAPE;
    }
    return take_rest(d, bits, rest, more, values);
}

static int take_segment(rans_decoder *d, const table *t, const uint16_t *index, size_t n, int32_t *values)
{
    int ok = 1;
    for (size_t at = 0; ok && at < n; at += RUN)
        ok = take_run(d, t, index + at, n - at < RUN ? n - at : RUN, values + at);
    return ok;
}

/* ---- Python -------------------------------------------------------------------------------------------------- */

static int check_rows(const Py_buffer *rows, const Py_buffer *bits, table *t)
{
    if (!rans_check_rows(rows, SYMBOLS))
        return 0;
    *t = (table){.rows = (const uint16_t *)rows->buf + 1, .bits = bits->buf, .count = (size_t)bits->len};
    int ok = t->count <= ROWS && rows->len == 2 * (1 + bits->len * SYMBOLS);
    for (size_t row = 0; ok && row < t->count; row++)
        ok = t->bits[row] <= RANS_BITS;
    if (ok)
        find_silent(t);
    else
        PyErr_SetString(PyExc_ValueError, "bits: expected numbers up to 14, one for each row");
    return ok;
}

static int check_index(const Py_buffer *index, const Py_buffer *values, size_t rows)
{
    const uint16_t *at = index->buf;
    size_t n = (size_t)index->len / 2, most = 0;
    for (size_t i = 0; i < n; i++)
        most = at[i] > most ? at[i] : most;
    if (n < INT32_MAX && (size_t)values->len == 4 * n && index->len % 2 == 0 && (n == 0 || most < rows))
        return 1;
    PyErr_Format(PyExc_ValueError, "index: expected a number below %zu for each value", rows);
    return 0;
}

static int check_lengths(const Py_buffer *lengths, size_t count)
{
    const uint32_t *at = lengths->buf;
    uint64_t total = 0;
    for (Py_ssize_t i = 0; i < lengths->len / 4; i++)
        total += at[i];
    if (total == count)
        return 1;
    PyErr_Format(PyExc_ValueError, "lengths: expected them to sum to %zu", count);
    return 0;
}

/* Returns NULL with an exception set. */
static PyObject *encoded(const table *t, const Py_buffer *values, const Py_buffer *index, const Py_buffer *lengths)
{
    size_t n = (size_t)index->len / 2, bound = 0, length = 0;
    const int32_t *v = (const int32_t *)values->buf + n;
    const uint16_t *row = (const uint16_t *)index->buf + n;
    const uint32_t *segment = lengths->buf;
    uint8_t *space = NULL;
    rans_writer w = {0};
    PyObject *result = NULL;
    int ok = 1;
    Py_BEGIN_ALLOW_THREADS
    size_t steps = count_steps(t, values->buf, index->buf, n, &ok);
    bound = rans_bound(steps);
    space = ok ? malloc(bound) : NULL;
    if (space) {
        w = rans_open(steps, space + bound);
        for (size_t i = (size_t)lengths->len / 4; i--;) {
            v -= segment[i];
            row -= segment[i];
            push_segment(&w, t, v, row, segment[i]);
        }
        length = rans_close(&w, space + bound);
    }
    Py_END_ALLOW_THREADS
    if (!ok || (space && w.impossible))
        PyErr_SetString(PyExc_ValueError, "values: expected sizes up to 1048576, and 0 in silent rows");
    else if (space)
        result = PyBytes_FromStringAndSize((const char *)w.to, (Py_ssize_t)length);
    else
        PyErr_NoMemory();
    free(space);
    return result;
}

static PyObject *py_values_encode(PyObject *self, PyObject *args)
{
    Py_buffer values, index, lengths, rows, bits;
    PyObject *result = NULL;
    table *t = malloc(sizeof *t);
    (void)self;
    if (!t)
        return PyErr_NoMemory();
    if (PyArg_ParseTuple(args, "y*y*y*y*y*", &values, &index, &lengths, &rows, &bits)) {
        if (check_rows(&rows, &bits, t) && check_index(&index, &values, t->count) &&
            check_lengths(&lengths, (size_t)index.len / 2))
            result = encoded(t, &values, &index, &lengths);
        PyBuffer_Release(&values);
        PyBuffer_Release(&index);
        PyBuffer_Release(&lengths);
        PyBuffer_Release(&rows);
        PyBuffer_Release(&bits);
    }
    free(t);
    return result;
}

static PyObject *py_values_take(PyObject *self, PyObject *args)
{
    Py_buffer state, data, index, rows, bits, values;
    int ok = -1;
    table *t = malloc(sizeof *t);
    (void)self;
    if (!t)
        return PyErr_NoMemory();
    if (PyArg_ParseTuple(args, "w*y*y*y*y*w*", &state, &data, &index, &rows, &bits, &values)) {
        if (rans_check_stream(&data, &state) && check_rows(&rows, &bits, t) && check_index(&index, &values, t->count)) {
            rans_decoder d = rans_restored(state.buf, data.buf, (size_t)data.len);
            Py_BEGIN_ALLOW_THREADS
            ok = take_segment(&d, t, index.buf, (size_t)index.len / 2, values.buf);
            Py_END_ALLOW_THREADS
            rans_keep(state.buf, &d);
        }
        PyBuffer_Release(&state);
        PyBuffer_Release(&data);
        PyBuffer_Release(&index);
        PyBuffer_Release(&rows);
        PyBuffer_Release(&bits);
        PyBuffer_Release(&values);
    }
    free(t);
    return ok < 0 ? NULL : PyBool_FromLong(ok);
}

/* ---- Many short streams, of one lane each ---------------------------------------------------------------------- */

/* The streams of `count` rows of `lengths`, each of so many segments, one behind the other from `space` + *begin on up
 * to `end`. Where each of them ends, from there, is written to `ends`. Returns 0 if something cannot be coded. */
static int encode_each(const table *t, const int32_t *values, const uint16_t *index, const Py_buffer *lengths,
                       uint32_t *ends, size_t count, uint8_t *end, uint8_t **begin)
{
    size_t segments = (size_t)lengths->len / 4 / count;
    const uint32_t *segment = (const uint32_t *)lengths->buf + count * segments;
    uint8_t *to = end;
    for (size_t i = count; i--;) {
        rans_writer w = rans_open_single(to);
        ends[i] = (uint32_t)(end - to);
        for (size_t j = segments; j--;) {
            segment--;
            values -= *segment;
            index -= *segment;
            push_segment(&w, t, values, index, *segment);
        }
        rans_close(&w, to);
        if (w.impossible)
            return 0;
        to = w.to;
    }
    for (size_t i = 0; i < count; i++)
        ends[i] = (uint32_t)(end - to) - ends[i];
    *begin = to;
    return 1;
}

/* Returns NULL with an exception set. */
static PyObject *encoded_each(const table *t, const Py_buffer *values, const Py_buffer *index,
                              const Py_buffer *lengths, const Py_buffer *ends)
{
    size_t n = (size_t)index->len / 2, count = (size_t)ends->len / 4, bound = 0;
    const int32_t *v = (const int32_t *)values->buf + n;
    const uint16_t *row = (const uint16_t *)index->buf + n;
    uint8_t *space = NULL, *begin = NULL;
    PyObject *result = NULL;
    int ok = 1;
    Py_BEGIN_ALLOW_THREADS
    bound = 2 * count_steps(t, values->buf, index->buf, n, &ok) + count * 2 * RANS_OPENING;
    space = ok && bound < UINT32_MAX ? malloc(bound) : NULL;
    if (space)
        ok = encode_each(t, v, row, lengths, ends->buf, count, space + bound, &begin);
    Py_END_ALLOW_THREADS
    if (!ok)
        PyErr_SetString(PyExc_ValueError, "values: expected sizes up to 1048576, and 0 in silent rows");
    else if (space)
        result = PyBytes_FromStringAndSize((const char *)begin, (Py_ssize_t)(space + bound - begin));
    else
        PyErr_NoMemory();
    free(space);
    return result;
}

static PyObject *py_values_encode_each(PyObject *self, PyObject *args)
{
    Py_buffer values, index, lengths, rows, bits, ends;
    PyObject *result = NULL;
    table *t = malloc(sizeof *t);
    (void)self;
    if (!t)
        return PyErr_NoMemory();
    if (PyArg_ParseTuple(args, "y*y*y*y*y*w*", &values, &index, &lengths, &rows, &bits, &ends)) {
        if (ends.len < 4 || lengths.len < ends.len || lengths.len % ends.len)
            PyErr_SetString(PyExc_ValueError, "ends: expected one for each row of lengths");
        else if (check_rows(&rows, &bits, t) && check_index(&index, &values, t->count) &&
                 check_lengths(&lengths, (size_t)index.len / 2))
            result = encoded_each(t, &values, &index, &lengths, &ends);
        PyBuffer_Release(&values);
        PyBuffer_Release(&index);
        PyBuffer_Release(&lengths);
        PyBuffer_Release(&rows);
        PyBuffer_Release(&bits);
        PyBuffer_Release(&ends);
    }
    free(t);
    return result;
}

/* Whether `ends` rise within the data by whole words of which there is one at least, and all has a place for each. */
static int check_streams(const Py_buffer *state, const Py_buffer *data, const Py_buffer *ends,
                         const Py_buffer *lengths, const Py_buffer *legal)
{
    const uint32_t *end = ends->buf;
    size_t count = (size_t)ends->len / 4, begin = 0;
    int ok = lengths->len == ends->len && (size_t)legal->len == count &&
             (size_t)state->len == count * RANS_STATE * sizeof(uint32_t);
    for (size_t i = 0; ok && i < count; i++) {
        ok = end[i] > begin && end[i] <= (size_t)data->len && (end[i] - begin) % 2 == 0;
        begin = end[i];
    }
    if (!ok)
        PyErr_SetString(PyExc_ValueError, "ends: expected whole words, a state, a length and a place for each stream");
    return ok;
}

static void take_each(const table *t, const Py_buffer *data, const Py_buffer *ends, const uint32_t *lengths,
                      uint32_t *state, const uint16_t *index, int32_t *values, uint8_t *legal)
{
    const uint32_t *end = ends->buf;
    size_t begin = 0;
    for (size_t i = 0; i < (size_t)ends->len / 4; i++) {
        rans_decoder d = rans_restored(state, (const uint8_t *)data->buf + begin, end[i] - begin);
        d.lane = d.turn = 0;
        if (legal[i])
            legal[i] = (uint8_t)take_segment(&d, t, index, lengths[i], values);
        rans_keep(state, &d);
        begin = end[i];
        state += RANS_STATE;
        index += lengths[i];
        values += lengths[i];
    }
}

static PyObject *py_values_take_each(PyObject *self, PyObject *args)
{
    Py_buffer state, data, ends, index, lengths, rows, bits, values, legal;
    int ok = 0;
    table *t = malloc(sizeof *t);
    (void)self;
    if (!t)
        return PyErr_NoMemory();
    if (PyArg_ParseTuple(args, "w*y*y*y*y*y*y*w*w*", &state, &data, &ends, &index, &lengths, &rows, &bits, &values,
                         &legal)) {
        ok = check_streams(&state, &data, &ends, &lengths, &legal) && check_rows(&rows, &bits, t) &&
             check_index(&index, &values, t->count) && check_lengths(&lengths, (size_t)index.len / 2);
        if (ok) {
            Py_BEGIN_ALLOW_THREADS
            take_each(t, &data, &ends, lengths.buf, state.buf, index.buf, values.buf, legal.buf);
            Py_END_ALLOW_THREADS
        }
        PyBuffer_Release(&state);
        PyBuffer_Release(&data);
        PyBuffer_Release(&ends);
        PyBuffer_Release(&index);
        PyBuffer_Release(&lengths);
        PyBuffer_Release(&rows);
        PyBuffer_Release(&bits);
        PyBuffer_Release(&values);
        PyBuffer_Release(&legal);
    }
    free(t);
    if (!ok)
        return NULL;
    Py_RETURN_NONE;
}

PyMethodDef values_methods[] = {
    {"values_encode", py_values_encode, METH_VARARGS,
     "values_encode(values, index, lengths, rows, bits) -> bytes: int32 values, uint16 index, uint32 lengths"},
    {"values_take", py_values_take, METH_VARARGS,
     "values_take(state, data, index, rows, bits, values) -> bool: whether every size is legal"},
    {"values_encode_each", py_values_encode_each, METH_VARARGS,
     "values_encode_each(values, index, lengths, rows, bits, ends) -> bytes: uint32 lengths [streams, segments], ends"},
    {"values_take_each", py_values_take_each, METH_VARARGS,
     "values_take_each(state, data, ends, index, lengths, rows, bits, values, legal): legal is cleared where it is not"},
    {NULL, NULL, 0, NULL},
};
