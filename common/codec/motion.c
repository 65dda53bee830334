/* Where the blocks of a frame were in the features of an earlier one: the encoder's search. motion.py says what vectors
 * mean. No decoder depends on this.
 *
 * The map has a border that no vector leaves: nothing is checked for what lies outside. */
#include "kernel.h"

#include <stddef.h>
#include <stdlib.h>

enum {
    QUARTERS = 4, /* vectors count quarters of a place */
    REACH = 2,    /* whole places that are searched in each direction */
    MOST = QUARTERS * REACH + 3,
    BORDER = 4, /* places around the map: more than MOST / QUARTERS + 1 */
    WIDEST = 8, /* places in a row of a block, at most */
};

static const float worth = 0.4f; /* squared steps that one bit of a vector is worth */
static const float gain = 0.9f;  /* of what a block weighs by itself: a whole place that leaves more explains nothing */

/* A reference's features with their border and a frame's without, both in steps and without their mean. */
typedef struct {
    const float *map, *now, *weights;
    size_t channels, rows, columns, block;
} scene;

typedef struct {
    int y, x;
    float cost;
} vector;

/* Weighted squares of the differences between a block of the frame at (row, column) and the map, moved. */
INLINE float distance(const scene *s, size_t block, size_t row, size_t column, int y, int x)
{
    size_t wide = s->columns * block, high = s->rows * block, width = wide + 2 * BORDER, height = high + 2 * BORDER;
    const float *from = s->map + ((int)row + BORDER + (y >> 2)) * (ptrdiff_t)width + (int)column + BORDER + (x >> 2);
    const float *now = s->now + row * wide + column;
    float down = (float)(y & 3) * 0.25f, right = (float)(x & 3) * 0.25f, all = 0.0f;
    for (size_t c = 0; c < s->channels; c++, from += height * width, now += high * wide) {
        float sums[WIDEST] = {0}, sum = 0.0f;
        for (size_t i = 0; i < block; i++) {
            const float *upper = from + i * width, *lower = upper + width, *own = now + i * wide;
            for (size_t j = 0; j < block; j++) {
                float a = upper[j] + (upper[j + 1] - upper[j]) * right;
                float b = lower[j] + (lower[j + 1] - lower[j]) * right;
                float apart = own[j] - (a + (b - a) * down);
                sums[j] += apart * apart;
            }
        }
        for (size_t j = 0; j < block; j++)
            sum += sums[j];
        all += s->weights[c] * sum;
    }
    return all;
}

WIDE static float distance_4(const scene *s, size_t row, size_t column, int y, int x)
{
    return distance(s, 4, row, column, y, x);
}

WIDE static float distance_8(const scene *s, size_t row, size_t column, int y, int x)
{
    return distance(s, 8, row, column, y, x);
}

/* What a block weighs by itself. */
static float energy(const scene *s, size_t row, size_t column)
{
    size_t wide = s->columns * s->block, high = s->rows * s->block;
    float all = 0.0f;
    for (size_t c = 0; c < s->channels; c++) {
        float sum = 0.0f;
        for (size_t i = 0; i < s->block; i++)
            for (size_t j = 0; j < s->block; j++) {
                float v = s->now[(c * high + row + i) * wide + column + j];
                sum += v * v;
            }
        all += s->weights[c] * sum;
    }
    return all;
}

/* About how many bits the difference of one coordinate has. */
static float bits_of(int difference)
{
    float bits = difference ? 3.0f : 1.0f;
    for (unsigned size = (unsigned)abs(difference); size > 1; size >>= 1)
        bits += 2.0f;
    return bits;
}

static void attempt(const scene *s, size_t row, size_t column, const int8_t told[2], int y, int x, vector *best)
{
    if (abs(y) > MOST || abs(x) > MOST)
        return;
    float cost = worth * (bits_of(y - told[0]) + bits_of(x - told[1]));
    if (cost >= best->cost)
        return;
    cost += s->block == 4 ? distance_4(s, row, column, y, x) : distance_8(s, row, column, y, x);
    if (cost < best->cost)
        *best = (vector){y, x, cost};
}

static int middle(int a, int b, int c)
{
    int low = a < b ? a : b, high = a < b ? b : a;
    return c < low ? low : c > high ? high : c;
}

/* The vector of one block, those to the left and above being found: zero and theirs, then all whole places around, then
 * halves and quarters around the best. */
static void find(const scene *s, size_t r, size_t c, int8_t (*vectors)[2])
{
    static const int8_t still[2] = {0, 0};
    size_t row = r * s->block, column = c * s->block, at = r * s->columns + c;
    const int8_t *left = c ? vectors[at - 1] : still, *above = r ? vectors[at - s->columns] : still;
    const int8_t *right = r && c + 1 < s->columns ? vectors[at - s->columns + 1] : still;
    int8_t told[2] = {(int8_t)middle(left[0], above[0], right[0]), (int8_t)middle(left[1], above[1], right[1])};
    vector best = {0, 0, 1e30f};
    attempt(s, row, column, told, 0, 0, &best);
    attempt(s, row, column, told, told[0], told[1], &best);
    attempt(s, row, column, told, left[0], left[1], &best);
    attempt(s, row, column, told, above[0], above[1], &best);
    attempt(s, row, column, told, right[0], right[1], &best);
    for (int y = -REACH; y <= REACH; y++)
        for (int x = -REACH; x <= REACH; x++)
            attempt(s, row, column, told, QUARTERS * y, QUARTERS * x, &best);
    if (best.cost < gain * energy(s, row, column))
        for (int step = 2; step; step--) {
            vector around = best;
            for (int i = 0; i < 9; i++)
                attempt(s, row, column, told, around.y + step * (i / 3 - 1), around.x + step * (i % 3 - 1), &best);
        }
    vectors[at][0] = (int8_t)best.y;
    vectors[at][1] = (int8_t)best.x;
}

static int check_size(const char *name, const Py_buffer *buffer, size_t bytes)
{
    if ((size_t)buffer->len == bytes)
        return 1;
    PyErr_Format(PyExc_ValueError, "%s: expected %zu bytes, got %zd", name, bytes, buffer->len);
    return 0;
}

static int check_shape(unsigned channels, unsigned rows, unsigned columns, unsigned block)
{
    if (channels <= 4096 && rows <= 4096 && columns <= 4096 && (block == 4 || block == 8))
        return 1;
    PyErr_SetString(PyExc_ValueError, "shape: expected sizes up to 4096 and blocks of 4 or 8");
    return 0;
}

static PyObject *py_motion_search(PyObject *self, PyObject *args)
{
    Py_buffer map = {0}, now = {0}, weights = {0}, active = {0}, vectors = {0};
    unsigned channels, rows, columns, block;
    PyObject *result = NULL;
    (void)self;
    if (!PyArg_ParseTuple(args, "(IIII)y*y*y*y*w*", &channels, &rows, &columns, &block, &map, &now, &weights, &active,
                          &vectors))
        return NULL;
    size_t high = (size_t)rows * block, wide = (size_t)columns * block, count = (size_t)rows * columns;
    if (check_shape(channels, rows, columns, block) &&
        check_size("map", &map, 4 * channels * (high + 2 * BORDER) * (wide + 2 * BORDER)) &&
        check_size("now", &now, 4 * channels * high * wide) && check_size("weights", &weights, 4 * (size_t)channels) &&
        check_size("active", &active, count) && check_size("vectors", &vectors, 2 * count)) {
        scene s = {map.buf, now.buf, weights.buf, channels, rows, columns, block};
        int8_t(*found)[2] = vectors.buf;
        Py_BEGIN_ALLOW_THREADS
        for (size_t at = 0; at < count; at++)
            if (((const uint8_t *)active.buf)[at])
                find(&s, at / columns, at % columns, found);
            else
                found[at][0] = found[at][1] = 0;
        Py_END_ALLOW_THREADS
        result = Py_NewRef(Py_None);
    }
    PyBuffer_Release(&map);
    PyBuffer_Release(&now);
    PyBuffer_Release(&weights);
    PyBuffer_Release(&active);
    PyBuffer_Release(&vectors);
    return result;
}

/* to [rows][columns] = a [rows][terms] times b [terms][columns]: integers, of which no sum reaches 2^53. */
WIDE static void multiply(const double *a, const double *b, double *restrict to, size_t rows, size_t terms,
                          size_t columns)
{
    for (size_t i = 0; i < rows; i++, to += columns) {
        for (size_t k = 0; k < columns; k++)
            to[k] = 0.0;
        for (size_t j = 0; j < terms; j++) {
            double factor = a[i * terms + j];
            const double *row = b + j * columns;
            for (size_t k = 0; k < columns; k++)
                to[k] += factor * row[k];
        }
    }
}

static PyObject *py_motion_multiply(PyObject *self, PyObject *args)
{
    Py_buffer a = {0}, b = {0}, to = {0};
    unsigned rows, terms, columns;
    PyObject *result = NULL;
    (void)self;
    if (!PyArg_ParseTuple(args, "(III)y*y*w*", &rows, &terms, &columns, &a, &b, &to))
        return NULL;
    if (check_size("a", &a, 8 * (size_t)rows * terms) && check_size("b", &b, 8 * (size_t)terms * columns) &&
        check_size("to", &to, 8 * (size_t)rows * columns)) {
        Py_BEGIN_ALLOW_THREADS
        multiply(a.buf, b.buf, to.buf, rows, terms, columns);
        Py_END_ALLOW_THREADS
        result = Py_NewRef(Py_None);
    }
    PyBuffer_Release(&a);
    PyBuffer_Release(&b);
    PyBuffer_Release(&to);
    return result;
}

PyMethodDef motion_methods[] = {
    {"motion_multiply", py_motion_multiply, METH_VARARGS, "motion_multiply((rows, terms, columns), a, b, to): to = a b"},
    {"motion_search", py_motion_search, METH_VARARGS,
     "motion_search((channels, rows, columns, block), map, now, weights, active, vectors): vectors, int8 [blocks, 2]"},
    {NULL, NULL, 0, NULL},
};
