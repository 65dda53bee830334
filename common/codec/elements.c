/* What surrounds the coder of a latent: parameters of its elements, quantising, and the way back. elements.py is the
 * reference. Integers, but for quantising: that one rounds to float32 after every operation, like the reference.
 */
#include "kernel.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

enum {
    SCALES = 88,            /* rows that elements are coded under */
    NARROW = 32767,         /* what a hyper-decoder says is clamped to this */
    WIDEST = (1 << 24) - 1, /* of a value in 1/256: what float32 holds exactly */
    MOST = 1 << 20,         /* of a quantised value */
    SIZES = 8,              /* of which each has its threshold; the last one stands for all larger ones */
    SMALL = 16,             /* sizes whose distance from the mean is looked up */
    MOST_STEP = 1 << 29,
    BLOCK = 256, /* elements at a time */
};

INLINE int32_t clamp(int32_t value, int32_t low, int32_t high)
{
    value = value < low ? low : value;
    return value > high ? high : value;
}

/* One channel: what the hyper-decoder says, `mean` in 1/64 of 2^exponent and `scale` in eighths of an octave, to means
 * in 1/256 and rows. */
WIDE static void parameters(const int32_t *restrict said_mean, const int32_t *restrict said_scale, size_t n,
                            int exponent, int row, int32_t *restrict mean, uint16_t *restrict index)
{
    int up = exponent + 2 > 0 ? exponent + 2 : 0, down = exponent + 2 < 0 ? -(exponent + 2) : 0;
    int32_t half = 1 << down >> 1;
    for (size_t i = 0; i < n; i++) {
        int32_t value = (clamp(said_mean[i], -NARROW, NARROW) * (1 << up) + half) >> down;
        mean[i] = clamp(value, -WIDEST, WIDEST);
        index[i] = (uint16_t)clamp(clamp(said_scale[i], -NARROW, NARROW) + row, 0, SCALES - 1);
    }
}

/* How many steps elements are from their means; what is not a number is 0. */
INLINE void measure(const float *restrict y, const int32_t *restrict mean, float inverse, size_t n,
                    float *restrict steps)
{
    for (size_t i = 0; i < n; i++) {
        float v = (y[i] - (float)mean[i] * 0x1p-8f) * inverse;
        v = v == v ? v : 0.0f;
        v = v > (float)MOST ? (float)MOST : v;
        steps[i] = v < -(float)MOST ? -(float)MOST : v;
    }
}

/* Some elements. `thresholds` [SCALES][SIZES] say which part of a step is rounded up, or that all are 0. */
WIDE static void quantise(const float *restrict y, const int32_t *restrict mean, const uint16_t *restrict index,
                          const float *restrict thresholds, float inverse, size_t n, int32_t *restrict q)
{
    float steps[BLOCK]; /* a loop of its own: with what is rare in it, the compiler has no vectors for the next one */
    for (size_t from = 0; from < n; from += BLOCK) {
        size_t count = n - from < BLOCK ? n - from : BLOCK;
        measure(y + from, mean + from, inverse, count, steps);
        for (size_t i = 0; i < count; i++) {
            float size = fabsf(steps[i]);
            int32_t whole = (int32_t)size;
            float threshold = thresholds[index[from + i] * SIZES + (whole < SIZES ? whole : SIZES - 1)];
            float taken = (float)whole + (size - (float)whole >= threshold ? 1.0f : 0.0f);
            taken = threshold <= 1.0f ? taken : 0.0f;
            q[from + i] = (int32_t)(steps[i] < 0.0f ? -taken : taken);
        }
    }
}

/* How far from its mean a value of this size lies, in 1/256. */
INLINE int64_t distance(int64_t size, int64_t offset, int64_t step)
{
    return ((size << 10) - offset) * step >> 18;
}

/* Means to values. */
static void dequantise(const int32_t *restrict q, const uint16_t *restrict index, const int16_t *offset, int64_t step,
                       size_t n, int32_t *restrict mean)
{
    int32_t near[SCALES][SMALL];
    for (int row = 0; row < SCALES; row++)
        for (int size = 0; size < SMALL; size++) {
            int64_t far = size ? distance(size, offset[row], step) : 0;
            near[row][size] = (int32_t)(far < 2 * WIDEST ? far : 2 * WIDEST);
        }
    for (size_t i = 0; i < n; i++) {
        uint32_t size = q[i] < 0 ? 0u - (uint32_t)q[i] : (uint32_t)q[i];
        int64_t moved = RARELY(size >= SMALL) ? distance(size, offset[index[i]], step) : near[index[i]][size];
        moved = mean[i] + (q[i] < 0 ? -moved : moved);
        mean[i] = (int32_t)(moved < -WIDEST ? -WIDEST : moved > WIDEST ? WIDEST : moved);
    }
}

/* ---- Python -------------------------------------------------------------------------------------------------- */

static int wrong(const char *name)
{
    PyErr_Format(PyExc_ValueError, "%s: expected the size that the latent has", name);
    return 0;
}

static int has(const char *name, const Py_buffer *buffer, Py_ssize_t count, Py_ssize_t size)
{
    return buffer->len == count * size || wrong(name);
}

static int check_index(const Py_buffer *index)
{
    const uint16_t *at = index->buf;
    unsigned most = 0;
    for (Py_ssize_t i = 0; i < index->len / 2; i++)
        most = at[i] > most ? at[i] : most;
    return most < SCALES || wrong("index");
}

static PyObject *released(Py_buffer *buffers, int count, int ok)
{
    for (int i = 0; i < count; i++)
        PyBuffer_Release(&buffers[i]);
    return ok ? Py_NewRef(Py_None) : NULL;
}

static int check_exponents(const Py_buffer *exponent)
{
    for (Py_ssize_t c = 0; c < exponent->len; c++)
        if (((const int8_t *)exponent->buf)[c] < -16 || ((const int8_t *)exponent->buf)[c] > 8)
            return wrong("exponent");
    return 1;
}

/* elements_parameters(said, exponent, row, at, mean, index): said [2 C][n] to columns at .. at + n of [C][total]. */
static PyObject *py_elements_parameters(PyObject *self, PyObject *args)
{
    enum { SAID, EXPONENT, MEAN, INDEX, ALL };
    Py_buffer b[ALL] = {0};
    Py_ssize_t at;
    int row;
    (void)self;
    if (!PyArg_ParseTuple(args, "y*y*inw*w*", &b[SAID], &b[EXPONENT], &row, &at, &b[MEAN], &b[INDEX]))
        return NULL;
    Py_ssize_t channels = b[EXPONENT].len;
    Py_ssize_t n = channels ? b[SAID].len / 8 / channels : 0, total = channels ? b[INDEX].len / 2 / channels : 0;
    int ok = has("said", &b[SAID], 2 * channels * n, 4) && has("index", &b[INDEX], channels * total, 2) &&
             has("mean", &b[MEAN], channels * total, 4) && check_exponents(&b[EXPONENT]) &&
             ((at >= 0 && n <= total && at <= total - n) || wrong("at")) &&
             ((-NARROW <= row && row <= NARROW) || wrong("row"));
    if (ok) {
        const int32_t *said = b[SAID].buf;
        Py_BEGIN_ALLOW_THREADS
        for (Py_ssize_t c = 0; c < channels; c++)
            parameters(said + c * n, said + (channels + c) * n, (size_t)n, ((int8_t *)b[EXPONENT].buf)[c], row,
                       (int32_t *)b[MEAN].buf + c * total + at, (uint16_t *)b[INDEX].buf + c * total + at);
        Py_END_ALLOW_THREADS
    }
    return released(b, ALL, ok);
}

/* elements_quantise(y, (C, H, W), (top, left, bottom, right), mean, index, thresholds, inverse, q) */
static PyObject *py_elements_quantise(PyObject *self, PyObject *args)
{
    enum { Y, MEAN, INDEX, THRESHOLDS, Q, ALL };
    Py_buffer b[ALL] = {0};
    Py_ssize_t channels, height, width, top, left, bottom, right;
    float inverse;
    (void)self;
    if (!PyArg_ParseTuple(args, "y*(nnn)(nnnn)y*y*y*fw*", &b[Y], &channels, &height, &width, &top, &left, &bottom,
                          &right, &b[MEAN], &b[INDEX], &b[THRESHOLDS], &inverse, &b[Q]))
        return NULL;
    enum { MOST_SIDE = 1 << 20 };
    int ok = (0 < channels && channels <= MOST_SIDE && 0 <= top && top <= bottom && bottom <= height &&
              height <= MOST_SIDE && 0 <= left && left <= right && right <= width && width <= MOST_SIDE) ||
             wrong("cells");
    Py_ssize_t rows = bottom - top, columns = right - left, n = rows * columns;
    ok = ok && has("y", &b[Y], channels * height * width, 4) && has("mean", &b[MEAN], channels * n, 4) &&
         has("index", &b[INDEX], channels * n, 2) && has("thresholds", &b[THRESHOLDS], SCALES * SIZES, 4) &&
         has("q", &b[Q], channels * n, 4) && check_index(&b[INDEX]);
    if (ok) {
        const int32_t *mean = b[MEAN].buf;
        int32_t *q = b[Q].buf;
        Py_BEGIN_ALLOW_THREADS
        int whole = rows == height && columns == width; /* the elements lie side by side, too */
        Py_ssize_t lines = whole ? 1 : channels * rows, each = whole ? channels * n : columns;
        for (Py_ssize_t line = 0; line < lines; line++) {
            Py_ssize_t from = whole ? 0 : (line / rows * height + top + line % rows) * width + left;
            quantise((const float *)b[Y].buf + from, mean + line * each, (uint16_t *)b[INDEX].buf + line * each,
                     b[THRESHOLDS].buf, inverse, (size_t)each, q + line * each);
        }
        Py_END_ALLOW_THREADS
    }
    return released(b, ALL, ok);
}

/* elements_dequantise(q, index, offset, step, mean): mean becomes the value */
static PyObject *py_elements_dequantise(PyObject *self, PyObject *args)
{
    enum { Q, INDEX, OFFSET, MEAN, ALL };
    Py_buffer b[ALL] = {0};
    int step;
    (void)self;
    if (!PyArg_ParseTuple(args, "y*y*y*iw*", &b[Q], &b[INDEX], &b[OFFSET], &step, &b[MEAN]))
        return NULL;
    Py_ssize_t n = b[INDEX].len / 2;
    int ok = has("q", &b[Q], n, 4) && has("index", &b[INDEX], n, 2) && has("mean", &b[MEAN], n, 4) &&
             has("offset", &b[OFFSET], SCALES, 2) && ((0 < step && step < MOST_STEP) || wrong("step")) &&
             check_index(&b[INDEX]);
    if (ok) {
        Py_BEGIN_ALLOW_THREADS
        dequantise(b[Q].buf, b[INDEX].buf, b[OFFSET].buf, step, (size_t)n, b[MEAN].buf);
        Py_END_ALLOW_THREADS
    }
    return released(b, ALL, ok);
}

PyMethodDef elements_methods[] = {
    {"elements_parameters", py_elements_parameters, METH_VARARGS,
     "elements_parameters(said, exponent, row, at, mean, index): int32 said into int32 means and uint16 rows"},
    {"elements_quantise", py_elements_quantise, METH_VARARGS,
     "elements_quantise(y, (C, H, W), (top, left, bottom, right), mean, index, thresholds, inverse, q): y to int32 q"},
    {"elements_dequantise", py_elements_dequantise, METH_VARARGS,
     "elements_dequantise(q, index, offset, step, mean): int32 means into values"},
    {NULL, NULL, 0, NULL},
};
