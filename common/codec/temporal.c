/* Planes of coefficients of a frame that is coded after another: temporal.py is the reference.
 *
 * READ ME FIRST, three things that bite:
 *
 * 1. What is coded is the difference to a prediction, and the prediction is integers: levels in 1/128 of the step, times
 *    a weight in 1/256. A float meets them only where the encoder takes the difference.
 * 2. The weight of each block follows from how well the reference told the planes before: products of normalised levels
 *    are at most 1023 * 1023 and fade by 1/32, so their sums stay below 2^25 + 1 and 32 bits hold them. Times 256 they
 *    need 64 bits, as do sums over all blocks.
 * 3. Sums of products may be negative, and are shifted nevertheless: every compiler this is built with rounds down.
 */
#include "coefficients.h"

enum {
    CLASSES = 25,
    TABLES = CLASSES * BINS,
    FADE = 5,                 /* with every plane the sums lose 2^-5 of themselves */
    UNIT = 4,                 /* binary digits of a level that the sums do without */
    FAR = 1023,               /* the largest normalised level */
    PRIOR = 256,              /* so much speaks for the weight of all blocks */
    FIRST = 128,              /* so much of each block for a weight of one, at first */
    ONE = 256,                /* the weight of one */
    LIMIT = (1 << 22) - 1,    /* the largest level */
    STILL = 255,              /* instead of a row: no block of the tensor moves */
    ROW = 8,                  /* bits that say under which row vectors are coded */
};

/* Activity over expectation, in 64ths: blocks that were told well have next to none. */
static const uint32_t edges[EDGES] = {6, 11, 18, 27, 40, 58, 84, 120, 170};

/* Of one tensor as its planes go by, beside its walk. */
typedef struct {
    int32_t *of_reference; /* [blocks]: sums of squares of the reference's normalised levels */
    int32_t *of_both;      /* [blocks]: of their products with this frame's */
    int64_t all_reference, all_both;
    int32_t *prediction; /* [blocks] */
    int32_t *normal;     /* [blocks]: the reference's levels, normalised */
    float *difference;   /* [blocks] */
} trust;

static void trust_free(trust *t)
{
    free(t->of_reference);
    free(t->of_both);
    free(t->prediction);
    free(t->normal);
    free(t->difference);
}

static int trust_start(trust *t, size_t blocks)
{
    *t = (trust){calloc(blocks, 4), calloc(blocks, 4), 0, 0, malloc(blocks * 4), malloc(blocks * 4), malloc(blocks * 4)};
    return t->of_reference && t->of_both && t->prediction && t->normal && t->difference;
}

/* A level in 1/8 of 2^norm steps, rounded. */
INLINE int32_t normalised(int32_t level, unsigned norm)
{
    unsigned digits = UNIT + norm;
    level = (level + (1 << (digits - 1))) >> digits;
    return level < -FAR ? -FAR : level > FAR ? FAR : level;
}

/* sum of products over sum of squares, in 1/256, 0 to 256. */
INLINE int32_t weight(int64_t both, int64_t reference)
{
    return both <= 0 ? 0 : both >= reference ? ONE : (int32_t)(both * ONE / reference);
}

/* The prediction of a plane from the reference's levels [blocks]. */
static void predict(trust *t, const int32_t *reference, unsigned norm, size_t blocks)
{
    int64_t some = (int64_t)FIRST * (int64_t)blocks;
    int64_t all = weight(t->all_both + some, t->all_reference + some);
    for (size_t block = 0; block < blocks; block++) {
        int32_t own = weight(t->of_both[block] + all * PRIOR / ONE, (int64_t)t->of_reference[block] + PRIOR);
        t->normal[block] = normalised(reference[block], norm);
        t->prediction[block] = (own * reference[block] + ONE / 2) >> 8;
    }
}

/* The plane's levels [blocks] are known. */
static void learn(trust *t, const int32_t *levels, unsigned norm, size_t blocks)
{
    int64_t reference = 0, both = 0;
    for (size_t block = 0; block < blocks; block++) {
        int32_t square = t->normal[block] * t->normal[block];
        int32_t product = t->normal[block] * normalised(levels[block], norm);
        t->of_reference[block] += square - (t->of_reference[block] >> FADE);
        t->of_both[block] += product - (t->of_both[block] >> FADE);
        reference += square;
        both += product;
    }
    t->all_reference += reference - (t->all_reference >> FADE);
    t->all_both += both - (t->all_both >> FADE);
}

INLINE int32_t clamped(int32_t level)
{
    return level < -LIMIT ? -LIMIT : level > LIMIT ? LIMIT : level;
}

/* The level of a coefficient of this size and table over its prediction. */
INLINE int32_t moved(const int8_t *offsets, uint32_t index, unsigned size, unsigned shift)
{
    int32_t level = (int32_t)size * 128;
    return !shift && size < ESCAPE ? level + offsets[index * SYMBOLS + size] : level;
}

/* What both sides have for each tensor beside its planes. */
typedef struct {
    const uint16_t *expected;
    const int8_t *offsets;  /* [TABLES][SYMBOLS] */
    const uint8_t *norms;   /* [planes] */
    const int32_t *reference;
    int32_t *levels;
} known;

/* Where blocks were: differences of vectors [2][blocks] of each tensor, and the rows [tensors] that code them. */
typedef struct {
    int32_t *differences;
    uint8_t *rows;
} motion;

/* ---- Encoder ------------------------------------------------------------------------------------------------- */

typedef struct {
    const rans_part *parts;  /* [TABLES][SYMBOLS] */
    const float *thresholds; /* [TABLES][SYMBOLS], of which the last is not used */
} encoder;

/* The levels that a decoder will have: predictions, and over them what is listed in w->where. */
static void take_in(const walk *w, const trust *s, const known *k, unsigned shift, size_t n, size_t blocks, int32_t *to)
{
    memcpy(to, s->prediction, blocks * sizeof *to);
    for (size_t i = 0; i < n; i++) {
        size_t block = w->where[i];
        unsigned symbol = w->symbols[block], size = shift || symbol == ESCAPE ? w->sizes[block] : symbol;
        int32_t level = moved(k->offsets, w->index[block], size, shift);
        to[block] += s->difference[block] < 0.0f ? -level : level;
    }
    for (size_t block = 0; block < blocks; block++)
        to[block] = clamped(to[block]);
}

/* What is said of the vectors of one tensor. */
static int put_motion(list *l, const encoder *e, walk *w, float *signs, const int32_t *differences, unsigned row,
                      size_t blocks)
{
    if (!reserve(l, 2 + 2 * blocks * PARTS))
        return 0;
    put_raw(l, row != STILL, 1);
    if (row == STILL)
        return 1;
    put_raw(l, row, ROW);
    for (int part = 0; part < 2; part++, differences += blocks) {
        size_t n = 0;
        for (size_t block = 0; block < blocks; block++) {
            unsigned size = (unsigned)abs(differences[block]);
            w->index[block] = row;
            w->sizes[block] = (uint16_t)size;
            w->symbols[block] = (uint8_t)(size < ESCAPE ? size : ESCAPE);
            w->where[n] = (uint32_t)block;
            n += size != 0;
            signs[block] = (float)differences[block];
        }
        put_symbols(l, w, e->parts, blocks);
        put_rest(l, w, 0, blocks);
        put_signs(l, w->where, n, signs);
    }
    return 1;
}

static int encode_tensor(list *l, const encoder *e, const known *k, const tensor *t, walk *w, trust *s, const float *y)
{
    const int32_t *reference = k->reference;
    int32_t *levels = k->levels;
    size_t blocks = t->blocks;
    for (size_t plane = 0; plane < t->planes; plane++, y += blocks, reference += blocks, levels += blocks) {
        unsigned shift = t->shifts[plane], norm = k->norms[plane];
        if (!reserve(l, blocks * PARTS))
            return 0;
        predict(s, reference, norm, blocks);
        for (size_t block = 0; block < blocks; block++)
            s->difference[block] = y[block] - (float)s->prediction[block] * 0.0078125f;
        find_tables(w, blocks, edges, t->classes[plane]);
        size_t n = shift ? quantise_shifted(w, s->difference, shift, blocks)
                         : quantise(w, s->difference, e->thresholds, blocks);
        put_symbols(l, w, e->parts, blocks);
        if (shift || RARELY(any_escape(w->symbols, blocks)))
            put_rest(l, w, shift, blocks);
        put_signs(l, w->where, n, s->difference);
        take_in(w, s, k, shift, n, blocks, levels);
        learn(s, levels, norm, blocks);
        advance(w, blocks, k->expected[t->classes[plane]]);
    }
    return 1;
}

/* ---- Decoder ------------------------------------------------------------------------------------------------- */

typedef struct {
    rans_decoder d;
    const uint16_t *rows; /* of rANS, 16 numbers each */
} decoder;

/* Signs of the n coefficients that are not 0; the others are predicted. */
static void take_levels(rans_decoder *d, const walk *w, const trust *s, const known *k, unsigned shift, size_t n,
                        size_t blocks, int32_t *to)
{
    memcpy(to, s->prediction, blocks * sizeof *to);
    for (size_t i = 0; i < n; i += SIGNS) {
        size_t end = n - i < SIGNS ? n : i + SIGNS;
        uint32_t signs = rans_take_raw(d, (int)(end - i));
        for (size_t j = end; j-- > i; signs >>= 1) {
            size_t block = w->where[j];
            int32_t level = moved(k->offsets, w->index[block], w->sizes[block], shift);
            to[block] += signs & 1 ? -level : level;
        }
    }
    for (size_t block = 0; block < blocks; block++)
        to[block] = clamped(to[block]);
}

/* Lists the coefficients that are not 0 by their sizes; returns how many. */
static size_t list_sizes(walk *w, size_t blocks)
{
    size_t n = 0;
    for (size_t block = 0; block < blocks; block++) {
        w->where[n] = (uint32_t)block;
        n += w->sizes[block] != 0;
    }
    return n;
}

/* What was said of the vectors of one tensor. Returns 0 if no encoder writes this. */
static int take_motion(decoder *from, walk *w, int32_t *differences, uint8_t *row, size_t blocks)
{
    unsigned any = 0;
    *row = STILL;
    memset(differences, 0, 2 * blocks * sizeof *differences);
    if (!rans_take_raw(&from->d, 1))
        return 1;
    *row = (uint8_t)rans_take_raw(&from->d, ROW);
    if (*row >= TABLES) /* STILL, too: that is said by the bit before */
        return 0;
    for (size_t block = 0; block < blocks; block++)
        w->index[block] = *row;
    for (int part = 0; part < 2; part++, differences += blocks) {
        rans_take_plane(&from->d, from->rows, SYMBOLS, w->index, w->symbols, blocks);
        if (!take_rest(&from->d, w, 0, blocks))
            return 0;
        size_t n = list_sizes(w, blocks);
        any |= n != 0;
        for (size_t i = 0; i < n; i += SIGNS) {
            size_t end = n - i < SIGNS ? n : i + SIGNS;
            uint32_t signs = rans_take_raw(&from->d, (int)(end - i));
            for (size_t j = end; j-- > i; signs >>= 1)
                differences[w->where[j]] = signs & 1 ? -(int32_t)w->sizes[w->where[j]] : w->sizes[w->where[j]];
        }
    }
    return any;
}

/* Returns 0 if no encoder writes this. */
static int decode_tensor(decoder *from, const known *k, const tensor *t, walk *w, trust *s, float *y)
{
    const int32_t *reference = k->reference;
    int32_t *levels = k->levels;
    size_t blocks = t->blocks;
    for (size_t plane = 0; plane < t->planes; plane++, y += blocks, reference += blocks, levels += blocks) {
        unsigned shift = t->shifts[plane], norm = k->norms[plane];
        predict(s, reference, norm, blocks);
        find_tables(w, blocks, edges, t->classes[plane]);
        rans_take_plane(&from->d, from->rows, SYMBOLS, w->index, w->symbols, blocks);
        if (!take_rest(&from->d, w, shift, blocks))
            return 0;
        take_levels(&from->d, w, s, k, shift, list_sizes(w, blocks), blocks, levels);
        for (size_t block = 0; block < blocks; block++)
            y[block] = (float)levels[block] * 0.0078125f;
        learn(s, levels, norm, blocks);
        advance(w, blocks, k->expected[t->classes[plane]]);
    }
    return 1;
}

/* ---- Python -------------------------------------------------------------------------------------------------- */

/* What both functions are given beside a job. */
typedef struct {
    job j;
    Py_buffer offsets, norms, reference, levels, differences, motion_rows;
} request;

static void let_go(request *r)
{
    release(&r->j);
    PyBuffer_Release(&r->offsets);
    PyBuffer_Release(&r->norms);
    PyBuffer_Release(&r->reference);
    PyBuffer_Release(&r->levels);
    PyBuffer_Release(&r->differences);
    PyBuffer_Release(&r->motion_rows);
}

/* Sizes of tensors, where no job is at hand. */
static int check_blocks(const job *j)
{
    const int32_t *size = j->sizes.buf;
    for (Py_ssize_t i = 0; i < j->tensors; i++)
        if (size[2 * i + 1] < 1 || size[2 * i + 1] > 1 << 26) {
            PyErr_SetString(PyExc_ValueError, "sizes: expected 1..2^26 blocks");
            return 0;
        }
    return 1;
}

static int check_norms(const Py_buffer *norms)
{
    const uint8_t *norm = norms->buf;
    for (Py_ssize_t i = 0; i < norms->len; i++)
        if (norm[i] > 15) {
            PyErr_SetString(PyExc_ValueError, "norms: expected 0..15");
            return 0;
        }
    return 1;
}

static int check_reference(const Py_buffer *reference)
{
    const int32_t *level = reference->buf;
    int ok = 1;
    for (Py_ssize_t i = 0; i < reference->len / 4; i++)
        ok &= level[i] >= -LIMIT && level[i] <= LIMIT;
    if (!ok)
        PyErr_Format(PyExc_ValueError, "reference: expected levels up to %d", LIMIT);
    return ok;
}

static int check_motion(const request *r)
{
    const int32_t *size = r->j.sizes.buf, *difference = r->differences.buf;
    const uint8_t *row = r->motion_rows.buf;
    Py_ssize_t blocks = 0;
    int ok = 1;
    for (Py_ssize_t i = 0; i < r->j.tensors; i++)
        blocks += size[2 * i + 1];
    if (!check_length("differences", &r->differences, 8 * blocks) ||
        !check_length("motion_rows", &r->motion_rows, r->j.tensors))
        return 0;
    for (Py_ssize_t i = 0; i < 2 * blocks; i++)
        ok &= difference[i] >= -TOP && difference[i] <= TOP;
    for (Py_ssize_t i = 0; i < r->j.tensors; i++)
        ok &= row[i] < TABLES || row[i] == STILL;
    if (!ok)
        PyErr_Format(PyExc_ValueError, "motion: expected rows below %d and differences up to %d", TABLES, TOP);
    return ok;
}

static int check_request(request *r)
{
    return check_job(&r->j, CLASSES) && check_length("offsets", &r->offsets, TABLES * SYMBOLS) &&
           check_length("norms", &r->norms, r->j.classes.len) && check_norms(&r->norms) &&
           check_length("reference", &r->reference, r->j.y.len) && check_reference(&r->reference) &&
           check_length("levels", &r->levels, r->j.y.len) && check_motion(r);
}

/* The vectors of all tensors, by an encoder or a decoder. Returns 1, 0 or -1 as `all_tensors`. */
static int all_motion(const job *j, const encoder *e, list *l, decoder *from, motion m)
{
    const int32_t *size = j->sizes.buf;
    int ok = 1;
    for (Py_ssize_t i = 0; ok > 0 && i < j->tensors; i++, m.rows++) {
        walk w;
        size_t blocks = (size_t)size[2 * i + 1];
        float *signs = malloc(blocks * sizeof *signs);
        ok = walk_start(&w, blocks) && signs ? 1 : -1;
        if (ok > 0)
            ok = e ? (put_motion(l, e, &w, signs, m.differences, *m.rows, blocks) ? 1 : -1)
                   : take_motion(from, &w, m.differences, m.rows, blocks);
        walk_free(&w);
        free(signs);
        m.differences += 2 * blocks;
    }
    return ok;
}

/* All tensors, by an encoder or a decoder. Returns 1, 0 if no encoder writes this, or -1 if there is no memory. */
static int all_tensors(const request *r, const encoder *e, list *l, decoder *from)
{
    const job *j = &r->j;
    const int32_t *size = j->sizes.buf;
    tensor t = {0, 0, j->classes.buf, j->shifts.buf};
    known k = {j->expected.buf, r->offsets.buf, r->norms.buf, r->reference.buf, r->levels.buf};
    float *y = j->y.buf;
    int ok = 1;
    for (Py_ssize_t i = 0; ok > 0 && i < j->tensors; i++, size += 2) {
        walk w;
        trust s;
        t.planes = (size_t)size[0];
        t.blocks = (size_t)size[1];
        ok = walk_start(&w, t.blocks) ? 1 : -1;
        ok = trust_start(&s, t.blocks) ? ok : -1;
        if (ok > 0)
            ok = e ? (encode_tensor(l, e, &k, &t, &w, &s, y) ? 1 : -1) : decode_tensor(from, &k, &t, &w, &s, y);
        walk_free(&w);
        trust_free(&s);
        size_t count = t.planes * t.blocks;
        y += count;
        k.reference += count;
        k.levels += count;
        k.norms += t.planes;
        t.classes += t.planes;
        t.shifts += t.planes;
    }
    return ok;
}

/* A stream of one lane, that ends before `end`: a frame that is told well has few bytes, and each lane costs four.
 * Returns its length, or 0 if something has no part of 2^14. */
static size_t written(const list *l, uint8_t *end)
{
    rans_writer w = rans_open_single(end);
    for (size_t i = l->count; i--;)
        rans_push(&w, l->parts[i]);
    return w.impossible ? 0 : rans_close(&w, end);
}

/* Returns 0 if no such stream begins like this. */
static int opened(rans_decoder *d, const uint8_t *data, size_t length)
{
    *d = (rans_decoder){.x = {0, RANS_LOW, RANS_LOW, RANS_LOW}, .vector = rans_vector, .data = data,
                        .words = length / 2, .read = 2};
    if (length % 2 || d->words < 2)
        return 0;
    d->x[0] = rans_word(data, 0) << 16 | rans_word(data, 1);
    return d->x[0] >= RANS_LOW;
}

/* Returns NULL with an exception set. */
static PyObject *stream(const request *r, const encoder *e)
{
    list l = {NULL, 0, 0};
    uint8_t *space = NULL;
    size_t bound = 0, length = 0;
    PyObject *result = NULL;
    int ok;
    Py_BEGIN_ALLOW_THREADS
    ok = reserve(&l, (size_t)r->j.y.len / 4 + (size_t)r->j.y.len / 16 + 64) &&
         all_motion(&r->j, e, &l, NULL, (motion){r->differences.buf, r->motion_rows.buf}) > 0 &&
         all_tensors(r, e, &l, NULL) > 0;
    bound = rans_bound(l.count);
    space = ok ? malloc(bound) : NULL;
    if (space)
        length = written(&l, space + bound);
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

static PyObject *py_temporal_encode(PyObject *self, PyObject *args)
{
    request r = {0};
    Py_buffer parts = {0}, thresholds = {0};
    PyObject *result = NULL;
    (void)self;
    if (!PyArg_ParseTuple(args, "y*y*y*y*y*y*y*y*w*y*y*y*y*", &r.j.y, &r.j.sizes, &r.j.classes, &r.j.shifts,
                          &r.j.expected, &r.offsets, &r.norms, &r.reference, &r.levels, &r.differences, &r.motion_rows,
                          &parts, &thresholds))
        return NULL;
    if (check_request(&r) && check_length("parts", &parts, TABLES * SYMBOLS * 4) &&
        check_length("thresholds", &thresholds, TABLES * SYMBOLS * 4))
        result = stream(&r, &(encoder){parts.buf, thresholds.buf});
    let_go(&r);
    PyBuffer_Release(&parts);
    PyBuffer_Release(&thresholds);
    return result;
}

/* Open a stream and take the vectors that it begins with: 1, 0 for a damaged one, -1 without memory. */
static int read_motion(request *r, const Py_buffer *data, const Py_buffer *rows, decoder *from)
{
    from->rows = (const uint16_t *)rows->buf + 1;
    return opened(&from->d, data->buf, (size_t)data->len)
               ? all_motion(&r->j, NULL, NULL, from, (motion){r->differences.buf, r->motion_rows.buf})
               : 0;
}

/* Let go of all buffers; whether the stream is sound, or NULL with an error set. */
static PyObject *verdict(request *r, Py_buffer *data, Py_buffer *rows, int ok)
{
    let_go(r);
    PyBuffer_Release(data);
    PyBuffer_Release(rows);
    if (ok == -1)
        PyErr_NoMemory();
    return ok < 0 ? NULL : PyBool_FromLong(ok);
}

static PyObject *py_temporal_decode(PyObject *self, PyObject *args)
{
    request r = {0};
    Py_buffer data = {0}, rows = {0};
    int ok;
    (void)self;
    if (!PyArg_ParseTuple(args, "y*w*y*y*y*y*y*y*y*w*w*w*y*", &data, &r.j.y, &r.j.sizes, &r.j.classes, &r.j.shifts,
                          &r.j.expected, &r.offsets, &r.norms, &r.reference, &r.levels, &r.differences, &r.motion_rows,
                          &rows))
        return NULL;
    ok = check_request(&r) && check_length("rows", &rows, 2 * (1 + TABLES * SYMBOLS)) ? 1 : -2;
    if (ok > 0) {
        decoder from;
        Py_BEGIN_ALLOW_THREADS
        ok = read_motion(&r, &data, &rows, &from);
        ok = ok > 0 ? all_tensors(&r, NULL, NULL, &from) : ok;
        ok = ok > 0 ? rans_end(&from.d) : ok;
        Py_END_ALLOW_THREADS
    }
    return verdict(&r, &data, &rows, ok);
}

/* The vectors alone: what the reference is, depends on them. */
static PyObject *py_temporal_motion(PyObject *self, PyObject *args)
{
    request r = {0};
    Py_buffer data = {0}, rows = {0};
    int ok = -2;
    (void)self;
    if (!PyArg_ParseTuple(args, "y*y*w*w*y*", &data, &r.j.sizes, &r.differences, &r.motion_rows, &rows))
        return NULL;
    r.j.tensors = r.j.sizes.len / 8;
    if (check_blocks(&r.j) && check_motion(&r) && check_length("rows", &rows, 2 * (1 + TABLES * SYMBOLS))) {
        decoder from;
        Py_BEGIN_ALLOW_THREADS
        ok = read_motion(&r, &data, &rows, &from);
        Py_END_ALLOW_THREADS
    }
    return verdict(&r, &data, &rows, ok);
}

PyMethodDef temporal_methods[] = {
    {"temporal_encode", py_temporal_encode, METH_VARARGS,
     "temporal_encode(y, sizes, classes, shifts, expected, offsets, norms, reference, levels, differences, motion_rows,"
     " parts, thresholds) -> bytes, and the levels"},
    {"temporal_decode", py_temporal_decode, METH_VARARGS,
     "temporal_decode(data, y, sizes, classes, shifts, expected, offsets, norms, reference, levels, differences,"
     " motion_rows, rows) -> bool: whether data is sound"},
    {"temporal_motion", py_temporal_motion, METH_VARARGS,
     "temporal_motion(data, sizes, differences, motion_rows, rows) -> bool: whether an encoder begins like this"},
    {NULL, NULL, 0, NULL},
};
