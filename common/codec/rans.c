/* Static-table rANS: what rans.h does not inline, and Python's way to it. rans.py is the reference. */
#include "kernel.h"
#include "rans.h"

#include <stdlib.h>

int rans_vector = 1;

/* ---- Decoder ------------------------------------------------------------------------------------------------- */

int rans_start(rans_decoder *d, const uint8_t *data, size_t length)
{
    *d = (rans_decoder){.vector = rans_vector, .turn = 1, .data = data, .words = length / 2, .read = RANS_OPENING};
    if (length % 2 || d->words < RANS_OPENING)
        return 0;
    for (int lane = 0; lane < RANS_LANES; lane++) {
        d->x[lane] = rans_word(data, 2 * (size_t)lane) << 16 | rans_word(data, 2 * (size_t)lane + 1);
        if (d->x[lane] < RANS_LOW)
            return 0;
    }
    return 1;
}

int rans_end(const rans_decoder *d)
{
    int ok = d->read == d->words;
    for (int lane = 0; lane < RANS_LANES; lane++)
        ok &= d->x[lane] == RANS_LOW;
    return ok;
}

/* One lane has one chain, whatever is done. */
RANS_INLINE void take_single(rans_decoder *d, const uint16_t *rows, int stride, const uint32_t *index, uint8_t *to,
                             size_t n)
{
    rans_decoder one = *d;
    one.lane = one.turn = 0;
    for (size_t i = 0; i < n; i++)
        to[i] = (uint8_t)rans_take(&one, rows + (size_t)index[i] * (size_t)stride, stride);
    *d = one;
}

/* Four at a time, with a copy of the decoder whose lanes are named by constants: it stays in registers. */
RANS_INLINE void take_plane(rans_decoder *d, const uint16_t *rows, int stride, const uint32_t *index, uint8_t *to,
                            size_t n)
{
    size_t i = 0;
    if (!d->turn) {
        take_single(d, rows, stride, index, to, n);
        return;
    }
    for (; i < n && d->lane; i++)
        to[i] = (uint8_t)rans_take(d, rows + (size_t)index[i] * (size_t)stride, stride);
    rans_decoder four = *d;
    four.turn = 1;
    for (; n - i >= RANS_LANES; i += RANS_LANES) {
        four.lane = 0;
        to[i] = (uint8_t)rans_take(&four, rows + (size_t)index[i] * (size_t)stride, stride);
        to[i + 1] = (uint8_t)rans_take(&four, rows + (size_t)index[i + 1] * (size_t)stride, stride);
        to[i + 2] = (uint8_t)rans_take(&four, rows + (size_t)index[i + 2] * (size_t)stride, stride);
        to[i + 3] = (uint8_t)rans_take(&four, rows + (size_t)index[i + 3] * (size_t)stride, stride);
    }
    *d = four;
    for (; i < n; i++)
        to[i] = (uint8_t)rans_take(d, rows + (size_t)index[i] * (size_t)stride, stride);
}

/* Once for each stride, so that it is known where the loop is compiled. */
void rans_take_plane(rans_decoder *d, const uint16_t *rows, int stride, const uint32_t *index, uint8_t *to, size_t n)
{
    if (stride == 4)
        take_plane(d, rows, 4, index, to, n);
    else if (stride == 8)
        take_plane(d, rows, 8, index, to, n);
    else
        take_plane(d, rows, 16, index, to, n);
}

/* ---- Encoder ------------------------------------------------------------------------------------------------- */

size_t rans_close(rans_writer *w, const uint8_t *end)
{
    for (int lane = w->turn ? RANS_LANES : 1; lane--;)
        for (int shift = 0; shift < 32; shift += 16) {
            rans_lay(w, w->x[lane] >> shift);
            w->to -= 2;
        }
    return (size_t)(end - w->to);
}

void rans_push_plane(rans_writer *w, const uint16_t *rows, int stride, const uint32_t *index, const uint8_t *from,
                     size_t n)
{
    rans_writer at = *w;
    for (size_t i = n; i--;)
        rans_push(&at, rans_symbol_part(rows + (size_t)index[i] * (size_t)stride, from[i]));
    *w = at;
}

size_t rans_write(const rans_part *parts, size_t count, uint8_t *end)
{
    rans_writer w = rans_open(count, end);
    for (size_t i = count; i--;) {
        w.impossible |= (parts[i] & 0xFFFF) + (parts[i] >> 16) > RANS_TOTAL;
        rans_push(&w, parts[i]);
    }
    return w.impossible ? 0 : rans_close(&w, end);
}

/* ---- Python -------------------------------------------------------------------------------------------------- */

/* rans_write(parts): uint32 [n], each start | size << 16. */
static PyObject *py_rans_write(PyObject *self, PyObject *args)
{
    Py_buffer parts;
    PyObject *result = NULL;
    (void)self;
    if (!PyArg_ParseTuple(args, "y*", &parts))
        return NULL;
    size_t count = (size_t)parts.len / sizeof(rans_part), bound = rans_bound(count), length;
    uint8_t *space = malloc(bound);
    if (space) {
        Py_BEGIN_ALLOW_THREADS
        length = rans_write(parts.buf, count, space + bound);
        Py_END_ALLOW_THREADS
        if (length)
            result = PyBytes_FromStringAndSize((const char *)space + bound - length, (Py_ssize_t)length);
        else
            PyErr_SetString(PyExc_ValueError, "parts: expected 0 < size and start + size <= 2^14");
    } else
        PyErr_NoMemory();
    free(space);
    PyBuffer_Release(&parts);
    return result;
}

int rans_check_rows(const Py_buffer *rows, int stride)
{
    if ((stride == 4 || stride == 8 || stride == 16) && rows->len > 2 && (rows->len / 2 - 1) % stride == 0)
        return 1;
    PyErr_SetString(PyExc_ValueError, "rows: expected 1 + T * stride numbers with stride 4, 8 or 16");
    return 0;
}

rans_decoder rans_restored(const uint32_t *state, const uint8_t *data, size_t length)
{
    rans_decoder d = {.vector = rans_vector, .turn = 1, .data = data, .words = length / 2};
    memcpy(d.x, state, sizeof d.x);
    d.lane = state[RANS_LANES] % RANS_LANES;
    d.read = state[RANS_LANES + 1];
    return d;
}

void rans_keep(uint32_t *state, const rans_decoder *d)
{
    memcpy(state, d->x, sizeof d->x);
    state[RANS_LANES] = d->lane;
    state[RANS_LANES + 1] = (uint32_t)d->read;
}

static int check_index(const Py_buffer *index, size_t rows, Py_ssize_t count)
{
    const uint32_t *at = index->buf;
    int ok = index->len == 4 * count;
    for (Py_ssize_t i = 0; ok && i < count; i++)
        ok = at[i] < rows;
    if (!ok)
        PyErr_Format(PyExc_ValueError, "index: expected %zd numbers below %zu", count, rows);
    return ok;
}

/* Symbols, then raw values; NULL with an error set if there is no memory or something is impossible. */
static PyObject *encoded(const Py_buffer *symbols, const Py_buffer *index, const Py_buffer *rows, int stride,
                         const Py_buffer *values, int bits)
{
    size_t symbol_count = (size_t)symbols->len, count = symbol_count + (size_t)values->len / 2;
    uint8_t *space = malloc(rans_bound(count)), *end = space ? space + rans_bound(count) : NULL;
    PyObject *result = NULL;
    if (!space)
        return PyErr_NoMemory();
    rans_writer w = rans_open(count, end);
    Py_BEGIN_ALLOW_THREADS
    for (size_t i = (size_t)values->len / 2; i--;)
        rans_push(&w, rans_raw_part(((const uint16_t *)values->buf)[i], bits));
    rans_push_plane(&w, (const uint16_t *)rows->buf + 1, stride, index->buf, symbols->buf, symbol_count);
    Py_END_ALLOW_THREADS
    size_t length = rans_close(&w, end);
    if (w.impossible)
        PyErr_SetString(PyExc_ValueError, "symbols: one has frequency 0 in its table");
    else
        result = PyBytes_FromStringAndSize((const char *)w.to, (Py_ssize_t)length);
    free(space);
    return result;
}

static int check_symbols(const Py_buffer *symbols, int stride)
{
    const uint8_t *at = symbols->buf;
    int ok = 1;
    for (Py_ssize_t i = 0; i < symbols->len; i++)
        ok &= at[i] < stride;
    if (!ok)
        PyErr_Format(PyExc_ValueError, "symbols: expected numbers below %d", stride);
    return ok;
}

static int check_bits(int bits)
{
    if (1 <= bits && bits <= RANS_BITS)
        return 1;
    PyErr_Format(PyExc_ValueError, "bits: expected 1..%d, got %d", RANS_BITS, bits);
    return 0;
}

/* rans_encode(symbols, index, rows, stride, values, bits): uint8 symbols, uint32 index, uint16 values. */
static PyObject *py_rans_encode(PyObject *self, PyObject *args)
{
    Py_buffer symbols, index, rows, values;
    int stride, bits;
    PyObject *result = NULL;
    (void)self;
    if (!PyArg_ParseTuple(args, "y*y*y*iy*i", &symbols, &index, &rows, &stride, &values, &bits))
        return NULL;
    if (rans_check_rows(&rows, stride) && check_symbols(&symbols, stride) && check_bits(bits) &&
        check_index(&index, (size_t)(rows.len / 2 - 1) / (size_t)stride, symbols.len))
        result = encoded(&symbols, &index, &rows, stride, &values, bits);
    PyBuffer_Release(&symbols);
    PyBuffer_Release(&index);
    PyBuffer_Release(&rows);
    PyBuffer_Release(&values);
    return result;
}

int rans_check_stream(const Py_buffer *data, const Py_buffer *state)
{
    if (data->len >= 2 * RANS_OPENING && data->len < INT32_MAX && state->len == 4 * RANS_STATE)
        return 1;
    PyErr_SetString(PyExc_ValueError, "data: expected 16 bytes at least; state: six numbers");
    return 0;
}

/* rans_take(state, data, rows, stride, index, symbols) */
static PyObject *py_rans_take(PyObject *self, PyObject *args)
{
    Py_buffer state, data, rows, index, symbols;
    int stride;
    (void)self;
    if (!PyArg_ParseTuple(args, "w*y*y*iy*w*", &state, &data, &rows, &stride, &index, &symbols))
        return NULL;
    int ok = rans_check_stream(&data, &state) && rans_check_rows(&rows, stride) &&
             check_index(&index, (size_t)(rows.len / 2 - 1) / (size_t)stride, symbols.len);
    if (ok) {
        rans_decoder d = rans_restored(state.buf, data.buf, (size_t)data.len);
        Py_BEGIN_ALLOW_THREADS
        rans_take_plane(&d, (const uint16_t *)rows.buf + 1, stride, index.buf, symbols.buf, (size_t)symbols.len);
        Py_END_ALLOW_THREADS
        rans_keep(state.buf, &d);
    }
    PyBuffer_Release(&state);
    PyBuffer_Release(&data);
    PyBuffer_Release(&rows);
    PyBuffer_Release(&index);
    PyBuffer_Release(&symbols);
    return ok ? Py_NewRef(Py_None) : NULL;
}

/* rans_take_raw(state, data, values, bits) */
static PyObject *py_rans_take_raw(PyObject *self, PyObject *args)
{
    Py_buffer state, data, values;
    int bits;
    (void)self;
    if (!PyArg_ParseTuple(args, "w*y*w*i", &state, &data, &values, &bits))
        return NULL;
    int ok = rans_check_stream(&data, &state) && check_bits(bits);
    if (ok) {
        rans_decoder d = rans_restored(state.buf, data.buf, (size_t)data.len);
        uint16_t *to = values.buf;
        for (Py_ssize_t i = 0; i < values.len / 2; i++)
            to[i] = (uint16_t)rans_take_raw(&d, bits);
        rans_keep(state.buf, &d);
    }
    PyBuffer_Release(&state);
    PyBuffer_Release(&data);
    PyBuffer_Release(&values);
    return ok ? Py_NewRef(Py_None) : NULL;
}

static PyObject *py_rans_vector(PyObject *self, PyObject *args)
{
    int on, before = rans_vector;
    (void)self;
    if (!PyArg_ParseTuple(args, "p", &on))
        return NULL;
    rans_vector = on;
    return PyBool_FromLong(before);
}

PyMethodDef rans_methods[] = {
    {"rans_write", py_rans_write, METH_VARARGS, "rans_write(parts) -> bytes: uint32 parts, start | size << 16"},
    {"rans_encode", py_rans_encode, METH_VARARGS, "rans_encode(symbols, index, rows, stride, values, bits) -> bytes"},
    {"rans_take", py_rans_take, METH_VARARGS, "rans_take(state, data, rows, stride, index, symbols)"},
    {"rans_take_raw", py_rans_take_raw, METH_VARARGS, "rans_take_raw(state, data, values, bits)"},
    {"rans_vector", py_rans_vector, METH_VARARGS, "rans_vector(on) -> bool: as it was; for tests, not for threads"},
    {NULL, NULL, 0, NULL},
};
