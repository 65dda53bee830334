/* One layer of a network of integers. integers.py is the reference, packs the weights and checks the sums.
 *
 * READ ME FIRST, four things that bite:
 *
 * 1. No sum leaves 32 bits: integers.py checks that when a network is loaded, for any order of adding. So every
 *    instruction set gives the same, and a test runs all that the machine has.
 * 2. Processors multiply 16-bit numbers in pairs and add the two products. Channels are innermost, hence the pairs are
 *    those of neighbouring channels; a channel too many is 0 and has weights of 0.
 * 3. BLOCK places are worked on at a time. What a place sees, its own channels or those of nine, is copied side by side
 *    first, which is where the edge is repeated; then a layer is a product of matrices.
 * 4. Weights come sorted for what follows: where a layer is shuffled, outputs that go to the same place stand together.
 */
#include "kernel.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#endif

enum {
    GROUP = 16, /* outputs side by side in the weights */
    BLOCK = 20, /* places at a time */
    TOP = 4095,
    RELU = 1,
    SHUFFLE = 2,
    MOST_CHANNELS = 4096,
    MOST_SIDE = 1 << 16,
    MOST_SHIFT = 30,
};

/* ---- Sums of products ---------------------------------------------------------------------------------------- */

typedef struct {
    const int16_t *weights; /* [groups][pairs][GROUP][2] */
    const int16_t *x;       /* [BLOCK][pairs][2] */
    int32_t *sums;          /* [BLOCK][apart] */
    size_t pairs, apart;
} product;

/* What multiplies so many groups at a time. */
typedef struct {
    void (*multiply)(const product *);
    size_t sets;
} arithmetic;

#if defined(__SSE2__) && defined(__GNUC__)
#define NAME(x) x##_v1
#define TARGET
#define VECTOR __m128i
#define LANES 4
#define TILE 2
#define SETS 1
#define ZERO() _mm_setzero_si128()
#define LOAD(p) _mm_loadu_si128((const __m128i *)(const void *)(p))
#define STORE(p, v) _mm_storeu_si128((__m128i *)(void *)(p), v)
#define SPREAD(p) _mm_set1_epi32(pair_at(p))
#define ADD(s, a, b) _mm_add_epi32(s, _mm_madd_epi16(a, b))
INLINE int32_t pair_at(const int16_t *p)
{
    int32_t pair;
    memcpy(&pair, p, sizeof pair);
    return pair;
}
#include "pairs.h"
#define PLAIN multiply_v1
#else
/* Any machine: a loop that compilers turn into what it has. */
static void multiply_plain(const product *p)
{
    for (size_t row = 0; row < BLOCK; row++) {
        int32_t sum[GROUP] = {0};
        const int16_t *x = p->x + row * p->pairs * 2, *weights = p->weights;
        for (size_t k = 0; k < p->pairs; k++, x += 2, weights += 2 * GROUP)
            for (int lane = 0; lane < GROUP; lane++)
                sum[lane] += weights[2 * lane] * x[0] + weights[2 * lane + 1] * x[1];
        memcpy(p->sums + row * p->apart, sum, sizeof sum);
    }
}
#define PLAIN multiply_plain
#endif

#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && __GNUC__ >= 12
#define VERSIONS
#define NAME(x) x##_v3
#define TARGET __attribute__((target("arch=x86-64-v3")))
#define VECTOR __m256i
#define LANES 8
#define TILE 5
#define SETS 1
#define ZERO() _mm256_setzero_si256()
#define LOAD(p) _mm256_loadu_si256((const __m256i *)(const void *)(p))
#define STORE(p, v) _mm256_storeu_si256((__m256i *)(void *)(p), v)
#define SPREAD(p) _mm256_set1_epi32(pair_at(p))
#define ADD(s, a, b) _mm256_add_epi32(s, _mm256_madd_epi16(a, b))
#include "pairs.h"

#define NAME(x) x##_v4
#define TARGET __attribute__((target("arch=x86-64-v4")))
#define VECTOR __m512i
#define LANES 16
#define TILE 10
#define SETS 2
#define ZERO() _mm512_setzero_si512()
#define LOAD(p) _mm512_loadu_si512(p)
#define STORE(p, v) _mm512_storeu_si512(p, v)
#define SPREAD(p) _mm512_set1_epi32(pair_at(p))
#define ADD(s, a, b) _mm512_add_epi32(s, _mm512_madd_epi16(a, b))
#include "pairs.h"

#define NAME(x) x##_vnni
#define TARGET __attribute__((target("arch=x86-64-v4,avx512vnni")))
#define VECTOR __m512i
#define LANES 16
#define TILE 10
#define SETS 2
#define ZERO() _mm512_setzero_si512()
#define LOAD(p) _mm512_loadu_si512(p)
#define STORE(p, v) _mm512_storeu_si512(p, v)
#define SPREAD(p) _mm512_set1_epi32(pair_at(p))
#define ADD(s, a, b) _mm512_dpwssd_epi32(s, a, b)
#include "pairs.h"
#endif

/* The newest kind of machine that may be taken for this one: what it is, unless a test wants to see the others. */
static int newest = 3;

static arithmetic best(void)
{
#if defined(VERSIONS)
    int v4 = __builtin_cpu_supports("x86-64-v4");
    if (newest >= 3 && v4 && __builtin_cpu_supports("avx512vnni"))
        return (arithmetic){multiply_vnni, 2};
    if (newest >= 2 && v4)
        return (arithmetic){multiply_v4, 2};
    if (newest >= 1 && __builtin_cpu_supports("x86-64-v3"))
        return (arithmetic){multiply_v3, 1};
#endif
    return (arithmetic){PLAIN, 1};
}

/* ---- A layer ------------------------------------------------------------------------------------------------- */

typedef struct {
    const int16_t *x;       /* [height][width][inputs] */
    size_t height, width, inputs, taps;
    const int16_t *weights; /* [groups][taps * inputs / 2][GROUP][2] */
    const int32_t *bias, *shift;
    size_t outputs, groups; /* groups is even */
    int flags;
} layer;

static size_t clamped(size_t at, size_t tap, size_t size)
{
    size_t moved = at + tap; /* one too many, so that it cannot be below 0 */
    return moved < 1 ? 0 : moved > size ? size - 1 : moved - 1;
}

/* What `count` places from `first` on see, to x [BLOCK][taps * inputs]. */
static void gather(const layer *l, size_t first, size_t count, int16_t *x)
{
    size_t bytes = l->inputs * sizeof *x;
    if (l->taps == 1) {
        memcpy(x, l->x + first * l->inputs, count * bytes);
        return;
    }
    for (size_t place = first; place < first + count; place++)
        for (size_t tap = 0; tap < l->taps; tap++, x += l->inputs) {
            size_t row = clamped(place / l->width, tap / 3, l->height);
            size_t column = clamped(place % l->width, tap % 3, l->width);
            memcpy(x, l->x + (row * l->width + column) * l->inputs, bytes);
        }
}

/* Bias and shift of `count` places' sums, [count][apart]; arithmetic shifts of negative numbers are GCC's and all
 * others'. */
WIDE static void round_sums(int32_t *restrict sums, size_t apart, const int32_t *restrict bias,
                            const int32_t *restrict shift, size_t outputs, size_t count)
{
    for (size_t place = 0; place < count; place++, sums += apart)
        for (size_t o = 0; o < outputs; o++)
            sums[o] = (int32_t)((uint32_t)sums[o] + (uint32_t)bias[o]) >> shift[o];
}

WIDE static void relu(const int32_t *restrict sums, int16_t *restrict to, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int32_t value = sums[i] < 0 ? 0 : sums[i];
        to[i] = (int16_t)(value > TOP ? TOP : value);
    }
}

/* A block's sums to cells: [height][width][channels, made even], or twice as high and wide. */
static void to_cells(const layer *l, const int32_t *sums, size_t apart, size_t first, size_t count, int16_t *to)
{
    size_t factor = l->flags & SHUFFLE ? 2 : 1, channels = l->outputs / (factor * factor);
    size_t pitch = channels + channels % 2;
    for (size_t place = first; place < first + count; place++, sums += apart)
        for (size_t part = 0; part < factor * factor; part++) {
            size_t row = factor * (place / l->width) + part / factor;
            size_t column = factor * (place % l->width) + part % factor;
            int16_t *cell = to + (row * factor * l->width + column) * pitch;
            relu(sums + part * channels, cell, channels);
            if (pitch > channels)
                cell[channels] = 0;
        }
}

/* A block's sums to planes, [outputs][height * width]. */
static void to_planes(const layer *l, const int32_t *sums, size_t apart, size_t first, size_t count, int32_t *to)
{
    size_t places = l->height * l->width;
    for (size_t o = 0; o < l->outputs; o++)
        for (size_t i = 0; i < count; i++)
            to[o * places + first + i] = sums[i * apart + o];
}

/* Returns 0 if there is no memory. */
static int run_layer(const layer *l, void *to)
{
    size_t terms = l->taps * l->inputs, apart = l->groups * GROUP, places = l->height * l->width;
    int16_t *x = calloc(BLOCK * terms, sizeof *x);
    int32_t *sums = malloc(BLOCK * apart * sizeof *sums);
    arithmetic use = best();
    int ok = x && sums;
    for (size_t first = 0; ok && first < places; first += BLOCK) {
        size_t count = places - first < BLOCK ? places - first : BLOCK;
        gather(l, first, count, x);
        for (size_t group = 0; group < l->groups; group += use.sets)
            use.multiply(&(product){l->weights + group * terms * GROUP, x, sums + group * GROUP, terms / 2, apart});
        round_sums(sums, apart, l->bias, l->shift, l->outputs, count);
        if (l->flags & RELU)
            to_cells(l, sums, apart, first, count, to);
        else
            to_planes(l, sums, apart, first, count, to);
    }
    free(x);
    free(sums);
    return ok;
}

/* ---- Python -------------------------------------------------------------------------------------------------- */

enum { X, WEIGHTS, BIAS, SHIFT, TO, BUFFERS };

static int wrong(const char *name)
{
    PyErr_Format(PyExc_ValueError, "%s: expected the size that the layer has", name);
    return 0;
}

static int check_shifts(const layer *l)
{
    for (size_t o = 0; o < l->outputs; o++)
        if (l->shift[o] < 0 || l->shift[o] > MOST_SHIFT)
            return wrong("shift");
    return 1;
}

/* Sizes of `l` that buffers say; all are checked. */
static int read_layer(const Py_buffer *b, Py_ssize_t height, Py_ssize_t width, int taps, int flags, layer *l)
{
    if (height < 1 || width < 1 || height > MOST_SIDE || width > MOST_SIDE || (taps != 1 && taps != 9))
        return wrong("layer");
    size_t places = (size_t)height * (size_t)width, outputs = (size_t)b[BIAS].len / 4;
    size_t inputs = (size_t)b[X].len / (2 * places), groups = (outputs + 2 * GROUP - 1) / (2 * GROUP) * 2;
    *l = (layer){b[X].buf, (size_t)height, (size_t)width, inputs, (size_t)taps, b[WEIGHTS].buf, b[BIAS].buf,
                 b[SHIFT].buf, outputs, groups, flags};
    if (inputs < 2 || inputs % 2 || inputs > MOST_CHANNELS || (size_t)b[X].len != 2 * places * inputs)
        return wrong("x");
    if (outputs < 1 || outputs > MOST_CHANNELS || (flags & SHUFFLE && (outputs % 4 || !(flags & RELU))))
        return wrong("bias");
    if ((size_t)b[WEIGHTS].len != groups * GROUP * l->taps * inputs * 2)
        return wrong("weights");
    if (b[SHIFT].len != b[BIAS].len || !check_shifts(l))
        return wrong("shift");
    size_t channels = flags & SHUFFLE ? outputs / 4 : outputs, factor = outputs / channels;
    size_t bytes = flags & RELU ? 2 * (channels + channels % 2) * factor : 4 * outputs;
    return (size_t)b[TO].len == places * bytes || wrong("to");
}

static PyObject *py_integers_layer(PyObject *self, PyObject *args)
{
    Py_buffer b[BUFFERS] = {0};
    Py_ssize_t height, width;
    int taps, flags;
    layer l;
    (void)self;
    if (!PyArg_ParseTuple(args, "y*(nn)iy*y*y*iw*", &b[X], &height, &width, &taps, &b[WEIGHTS], &b[BIAS], &b[SHIFT],
                          &flags, &b[TO]))
        return NULL;
    int ok = read_layer(b, height, width, taps, flags, &l), memory = 1;
    if (ok) {
        Py_BEGIN_ALLOW_THREADS
        memory = run_layer(&l, b[TO].buf);
        Py_END_ALLOW_THREADS
    }
    for (int i = 0; i < BUFFERS; i++)
        PyBuffer_Release(&b[i]);
    if (!memory)
        return PyErr_NoMemory();
    return ok ? Py_NewRef(Py_None) : NULL;
}

static PyObject *py_integers_newest(PyObject *self, PyObject *args)
{
    int before = newest;
    (void)self;
    if (!PyArg_ParseTuple(args, "i", &newest))
        return NULL;
    return PyLong_FromLong(before);
}

PyMethodDef integers_methods[] = {
    {"integers_layer", py_integers_layer, METH_VARARGS,
     "integers_layer(x, (height, width), taps, weights, bias, shift, flags, to): int16 x into int16 or int32"},
    {"integers_newest", py_integers_newest, METH_VARARGS,
     "integers_newest(kind) -> int: machines to count on at most, 0 to 3, as before; for tests, not for threads"},
    {NULL, NULL, 0, NULL},
};
