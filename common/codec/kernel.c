/* common.codec._kernel: the codec's inner loops in plain C, equal byte for byte to the Python beside it.
 *
 * READ ME FIRST, three things that bite:
 *
 * 1. Bins are coded plane by plane, not element by element. Plane k asks "is q > k?" of every element with
 *    q >= k. Each context belongs to one plane, so the order costs no bits, and it leaves loops without a
 *    data-dependent branch: adaptive coders are slow because of mispredicted branches, not because of sums.
 * 2. Two coders ("lanes") run side by side, lane 0 on the first half of each plane and lane 1 on the second.
 *    Nothing passes between them, so the processor overlaps their dependency chains. Lane 0 is written
 *    forwards from the first byte of the payload and lane 1 backwards from the last: no length is sent.
 * 3. The end is checked exactly. The decoder computes where each lane's encoder would have stopped, and with
 *    which bytes; a payload is accepted only if it is the one that the encoder writes for what was decoded.
 *
 * docs/bitstream.md is the normative text; cabac.py, quantise.py and container.py are the reference.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Vector loops are compiled for wider registers too, and chosen when the module is loaded. The same IEEE
 * operations in the same order: results do not depend on which one runs. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__linux__)
#define WIDE __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define WIDE
#endif

#if defined(__GNUC__)
#define RARELY(condition) __builtin_expect(!!(condition), 0)
#define INLINE static inline __attribute__((always_inline))
#else
#define RARELY(condition) (condition)
#define INLINE static inline
#endif

/* ---- CRC32C (Castagnoli, reflected 0x82F63B78), eight bytes a step --------------------------------------- */

static uint32_t crc_table[8][256];

static void crc_init(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int bit = 0; bit < 8; bit++)
            c = c & 1 ? c >> 1 ^ 0x82F63B78u : c >> 1;
        crc_table[0][i] = c;
    }
    for (int t = 1; t < 8; t++)
        for (int i = 0; i < 256; i++)
            crc_table[t][i] = crc_table[t - 1][i] >> 8 ^ crc_table[0][crc_table[t - 1][i] & 255];
}

static uint32_t crc32c(const uint8_t *p, size_t n, uint32_t crc)
{
    crc = ~crc;
    for (; n >= 8; p += 8, n -= 8) {
        crc ^= p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
        crc = crc_table[7][crc & 255] ^ crc_table[6][crc >> 8 & 255] ^ crc_table[5][crc >> 16 & 255] ^
              crc_table[4][crc >> 24] ^ crc_table[3][p[4]] ^ crc_table[2][p[5]] ^ crc_table[1][p[6]] ^
              crc_table[0][p[7]];
    }
    while (n--)
        crc = crc >> 8 ^ crc_table[0][(crc ^ *p++) & 255];
    return ~crc;
}

/* ---- Quantiser --------------------------------------------------------------------------------------------- */

/* Every operation rounds to float32, in this order; -ffp-contract=off keeps a compiler from fusing two. */
WIDE static void quantise(const float *restrict x, uint8_t *restrict q, size_t n, float c_min, float c_max,
                          float scale)
{
    for (size_t i = 0; i < n; i++) {
        float v = x[i] == x[i] ? x[i] : 0.0f;
        v = v < c_min ? c_min : v;
        v = v > c_max ? c_max : v;
        v = (v - c_min) * scale;
        q[i] = (uint8_t)(int32_t)(v + 0.5f);
    }
}

WIDE static void dequantise(const uint8_t *restrict q, float *restrict x, size_t n, const float *restrict table)
{
    for (size_t i = 0; i < n; i++)
        x[i] = table[q[i]];
}

WIDE static uint8_t largest(const uint8_t *q, size_t n)
{
    uint8_t top = 0;
    for (size_t i = 0; i < n; i++)
        top = q[i] > top ? q[i] : top;
    return top;
}

/* ---- Adaptive probability ---------------------------------------------------------------------------------- */

/* P(bin = 1) is (fast + slow) / 2^17. Each half moves towards the bin seen by 2^-shift of the distance, both
 * shifts starting at 1 and growing to their final rate: bin number n of a plane uses bit_length(n + 1), so that
 * the first estimates are nearly the counts. Rounding keeps both inside [2^shift - 1, 2^16 - 2^shift + 1]. */
enum { FAST = 5, SLOW = 7, ONE = 1 << 16 };

typedef struct {
    uint32_t fast, slow;
} model;

INLINE uint32_t adapt(uint32_t p, uint32_t bit, int shift)
{
    uint32_t up = p + ((ONE - p) >> shift), down = p - (p >> shift);
    return bit ? up : down;
}

/* ---- Encoder ----------------------------------------------------------------------------------------------- */

/* The interval is [low, low + range) in units of the last word written; 2^32 <= range < 2^64 between bins. */
typedef struct {
    uint64_t low, range;
    uint32_t *out; /* next word to write */
    uint32_t *words;
    size_t room;
} encoder;

/* Bins between two checks of room. A bin costs at most log2(2^17 / 158) < 10 bits. */
enum { BLOCK = 4096, BLOCK_WORDS = BLOCK * 10 / 32 + 2 };

static int encoder_reserve(encoder *e)
{
    size_t used = (size_t)(e->out - e->words);
    if (e->room - used >= BLOCK_WORDS)
        return 1;
    size_t room = e->room * 2 + BLOCK_WORDS;
    uint32_t *words = realloc(e->words, room * sizeof *words);
    if (!words)
        return 0;
    e->words = words;
    e->room = room;
    e->out = words + used;
    return 1;
}

static void carry(uint32_t *out)
{
    while (++*--out == 0)
        ;
}

INLINE void encode_bin(encoder *e, model *m, uint32_t bit, int fast, int slow)
{
    uint64_t split = (e->range >> 17) * (m->fast + m->slow);
    uint64_t skipped = split & ((uint64_t)bit - 1);
    e->range = bit ? split : e->range - split;
    e->low += skipped;
    m->fast = adapt(m->fast, bit, fast);
    m->slow = adapt(m->slow, bit, slow);
    if (RARELY(e->low < skipped))
        carry(e->out);
    if (RARELY(e->range >> 32 == 0)) {
        *e->out++ = (uint32_t)(e->low >> 32);
        e->low <<= 32;
        e->range <<= 32;
    }
}

/* The fewest leading bytes of a 64-bit value that stay in the interval whatever follows them.
 * Five always suffice: range >= 2^32, and the step of five bytes is 2^24. */
static int tail(uint64_t low, uint64_t range, uint64_t *distance)
{
    for (int bytes = 1;; bytes++) {
        uint64_t step = 1ull << (64 - 8 * bytes);
        *distance = (0 - low) & (step - 1);
        if (*distance + step <= range)
            return bytes;
    }
}

/* One block of one plane: n bins of each lane with one pair of shifts. Survivors are kept for the next plane. */
typedef struct {
    const uint8_t *from;
    uint8_t *kept;
} survivors;

INLINE void encode_one(encoder *e, model *m, survivors *s, uint32_t plane, int fast, int slow)
{
    uint8_t q = *s->from++;
    uint32_t bit = q > plane;
    *s->kept = q;
    s->kept += bit;
    encode_bin(e, m, bit, fast, slow);
}

INLINE void encode_block(encoder e[2], model m[2], survivors s[2], size_t n, uint32_t plane, int fast, int slow)
{
    encoder e0 = e[0], e1 = e[1];
    model m0 = m[0], m1 = m[1];
    survivors s0 = s[0], s1 = s[1];
    while (n--) {
        encode_one(&e0, &m0, &s0, plane, fast, slow);
        encode_one(&e1, &m1, &s1, plane, fast, slow);
    }
    e[0] = e0, e[1] = e1;
    m[0] = m0, m[1] = m1;
    s[0] = s0, s[1] = s1;
}

static void encode_warm(encoder e[2], model m[2], survivors s[2], size_t n, uint32_t plane, int fast, int slow)
{
    encode_block(e, m, s, n, plane, fast, slow);
}

static void encode_steady(encoder e[2], model m[2], survivors s[2], size_t n, uint32_t plane)
{
    encode_block(e, m, s, n, plane, FAST, SLOW);
}

/* The n-th bin of a plane uses min(rate, bit_length(n + 1)): 1, 2, 2, 3, 3, 3, 3, 4, ... */
static int warmth(size_t n)
{
    int shift = 1;
    while (shift < SLOW && (n + 1) >> shift)
        shift++;
    return shift;
}

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Codes a plane of n elements; returns the number that go on to the next, or SIZE_MAX if memory ran out. */
static size_t encode_plane(encoder e[2], const uint8_t *from, uint8_t *kept, size_t n, uint32_t plane)
{
    size_t half = n / 2, done = 0;
    model m[2] = {{ONE / 2, ONE / 2}, {ONE / 2, ONE / 2}};
    survivors s[2] = {{from, kept}, {from + half, kept + half}};
    while (done < half) {
        if (!encoder_reserve(&e[0]) || !encoder_reserve(&e[1]))
            return SIZE_MAX;
        int shift = warmth(done);
        size_t block = min_size(half - done, shift < SLOW ? ((size_t)1 << shift) - 1 - done : BLOCK);
        if (shift < SLOW)
            encode_warm(e, m, s, block, plane, shift < FAST ? shift : FAST, shift);
        else
            encode_steady(e, m, s, block, plane);
        done += block;
    }
    if (n & 1) {
        int shift = warmth(done);
        if (!encoder_reserve(&e[1]))
            return SIZE_MAX;
        encode_one(&e[1], &m[1], &s[1], plane, shift < FAST ? shift : FAST, shift);
    }
    size_t kept0 = (size_t)(s[0].kept - kept), kept1 = (size_t)(s[1].kept - (kept + half));
    memmove(kept + kept0, kept + half, kept1);
    return kept0 + kept1;
}

static int encode_planes(encoder e[2], const uint8_t *q, uint8_t *scratch, size_t n, uint32_t levels)
{
    const uint8_t *from = q;
    for (uint32_t plane = 0; plane + 1 < levels && n; plane++) {
        n = encode_plane(e, from, scratch, n, plane);
        if (n == SIZE_MAX)
            return 0;
        from = scratch;
    }
    return encoder_reserve(&e[0]) && encoder_reserve(&e[1]);
}

/* Ends a lane; returns its length in bytes. The last one or two words are only partly used. */
static size_t encoder_finish(encoder *e)
{
    uint64_t distance, low = e->low;
    int bytes = tail(low, e->range, &distance);
    low += distance;
    if (low < distance)
        carry(e->out);
    e->out[0] = (uint32_t)(low >> 32);
    e->out[1] = (uint32_t)low;
    return (size_t)(e->out - e->words) * 4 + (size_t)bytes;
}

static uint8_t word_byte(const uint32_t *words, size_t i)
{
    return (uint8_t)(words[i / 4] >> (24 - 8 * (i % 4)));
}

static void write_lanes(uint8_t *out, const encoder e[2], const size_t bytes[2])
{
    for (size_t i = 0; i < bytes[0]; i++)
        out[i] = word_byte(e[0].words, i);
    for (size_t i = 0; i < bytes[1]; i++)
        out[bytes[0] + bytes[1] - 1 - i] = word_byte(e[1].words, i);
}

/* ---- Decoder ----------------------------------------------------------------------------------------------- */

/* offset = value - low, always below range; window = the last 64 bits of value that were read. */
typedef struct {
    uint64_t offset, range, window;
    const uint8_t *data;
    size_t length, read;
    int backwards;
} decoder;

/* Past the end there are zeros: a cut payload decodes to something, and fails the check of its end. */
static uint32_t next_word(decoder *d)
{
    uint32_t word = 0;
    for (size_t i = d->read; i < d->read + 4; i++) {
        uint8_t byte = i < d->length ? d->data[d->backwards ? d->length - 1 - i : i] : 0;
        word = word << 8 | byte;
    }
    d->read += 4;
    d->window = d->window << 32 | word;
    return word;
}

static int decoder_start(decoder *d, const uint8_t *data, size_t length, int backwards)
{
    *d = (decoder){.range = UINT64_MAX, .data = data, .length = length, .backwards = backwards};
    d->offset = (uint64_t)next_word(d) << 32;
    d->offset |= next_word(d);
    return d->offset < d->range;
}

INLINE uint32_t decode_bin(decoder *d, model *m, int fast, int slow)
{
    uint64_t split = (d->range >> 17) * (m->fast + m->slow);
    uint32_t bit = d->offset < split;
    d->range = bit ? split : d->range - split;
    d->offset = bit ? d->offset : d->offset - split;
    m->fast = adapt(m->fast, bit, fast);
    m->slow = adapt(m->slow, bit, slow);
    return bit;
}

INLINE void decoder_refill(decoder *lane, decoder *d)
{
    if (RARELY(d->range >> 32 == 0)) {
        d->range <<= 32;
        d->offset = d->offset << 32 | next_word(lane);
    }
}

/* Positions of elements still alive, compacted in place: the write index never passes the read index. */
typedef struct {
    const uint32_t *from;
    uint32_t *kept;
} positions;

INLINE void decode_one(decoder *d, decoder *lane, model *m, positions *p, uint8_t *q, uint32_t plane, int fast,
                       int slow)
{
    uint32_t bit = decode_bin(d, m, fast, slow);
    uint32_t at = *p->from++;
    q[at] = (uint8_t)(plane + bit);
    *p->kept = at;
    p->kept += bit;
    decoder_refill(lane, d);
}

INLINE void decode_block(decoder d[2], model m[2], positions p[2], uint8_t *q, size_t n, uint32_t plane, int fast,
                         int slow)
{
    decoder d0 = d[0], d1 = d[1];
    model m0 = m[0], m1 = m[1];
    positions p0 = p[0], p1 = p[1];
    while (n--) {
        decode_one(&d0, &d[0], &m0, &p0, q, plane, fast, slow);
        decode_one(&d1, &d[1], &m1, &p1, q, plane, fast, slow);
    }
    d[0].offset = d0.offset, d[0].range = d0.range;
    d[1].offset = d1.offset, d[1].range = d1.range;
    m[0] = m0, m[1] = m1;
    p[0] = p0, p[1] = p1;
}

static void decode_warm(decoder d[2], model m[2], positions p[2], uint8_t *q, size_t n, uint32_t plane, int fast,
                        int slow)
{
    decode_block(d, m, p, q, n, plane, fast, slow);
}

static void decode_steady(decoder d[2], model m[2], positions p[2], uint8_t *q, size_t n, uint32_t plane)
{
    decode_block(d, m, p, q, n, plane, FAST, SLOW);
}

static size_t decode_plane(decoder d[2], uint32_t *alive, uint8_t *q, size_t n, uint32_t plane)
{
    size_t half = n / 2, done = 0;
    model m[2] = {{ONE / 2, ONE / 2}, {ONE / 2, ONE / 2}};
    positions p[2] = {{alive, alive}, {alive + half, alive + half}};
    while (done < half) {
        int shift = warmth(done);
        size_t block = min_size(half - done, shift < SLOW ? ((size_t)1 << shift) - 1 - done : half);
        if (shift < SLOW)
            decode_warm(d, m, p, q, block, plane, shift < FAST ? shift : FAST, shift);
        else
            decode_steady(d, m, p, q, block, plane);
        done += block;
    }
    if (n & 1) {
        int shift = warmth(done);
        decode_one(&d[1], &d[1], &m[1], &p[1], q, plane, shift < FAST ? shift : FAST, shift);
    }
    size_t kept0 = (size_t)(p[0].kept - alive), kept1 = (size_t)(p[1].kept - (alive + half));
    memmove(alive + kept0, alive + half, kept1 * sizeof *alive);
    return kept0 + kept1;
}

static void decode_planes(decoder d[2], uint32_t *alive, uint8_t *q, size_t n, uint32_t levels)
{
    for (size_t i = 0; i < n; i++)
        alive[i] = (uint32_t)i;
    for (uint32_t plane = 0; plane + 1 < levels && n; plane++)
        n = decode_plane(d, alive, q, n, plane);
}

/* The length in bytes of the lane just decoded, or 0 if its encoder would have ended it differently.
 * low = window - offset; what was sent is window without the bits below the step of the tail. */
static size_t decoder_finish(const decoder *d)
{
    uint64_t distance;
    int bytes = tail(d->window - d->offset, d->range, &distance);
    uint64_t unsent = d->window & ((1ull << (64 - 8 * bytes)) - 1);
    return d->offset == unsent + distance ? d->read - 8 + (size_t)bytes : 0;
}

static int lanes_end_well(const decoder d[2], size_t length)
{
    size_t first = decoder_finish(&d[0]), second = decoder_finish(&d[1]);
    return first && second && first + second == length;
}

/* ---- Python ------------------------------------------------------------------------------------------------ */

static int check_levels(int levels)
{
    if (levels >= 2 && levels <= 256)
        return 1;
    PyErr_Format(PyExc_ValueError, "levels: expected 2..256, got %d", levels);
    return 0;
}

static int check_size(const char *name, Py_ssize_t got, Py_ssize_t expected)
{
    if (got == expected)
        return 1;
    PyErr_Format(PyExc_ValueError, "%s: expected %zd bytes, got %zd", name, expected, got);
    return 0;
}

/* Positions are 32 bits wide. */
static int check_count(Py_ssize_t count)
{
    if ((uint64_t)count < UINT32_MAX)
        return 1;
    PyErr_Format(PyExc_ValueError, "elements: expected fewer than 2^32, got %zd", count);
    return 0;
}

static int check_clip(float c_min, float c_max)
{
    float scale = 1.0f / (c_max - c_min);
    if (c_min < c_max && scale > 0.0f && scale * 255.0f <= 3.4e38f)
        return 1;
    PyErr_SetString(PyExc_ValueError, "clip: expected finite c_min < c_max");
    return 0;
}

static PyObject *py_crc32c(PyObject *self, PyObject *args)
{
    Py_buffer data;
    unsigned int crc = 0;
    (void)self;
    if (!PyArg_ParseTuple(args, "y*|I", &data, &crc))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    crc = crc32c(data.buf, (size_t)data.len, crc);
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&data);
    return PyLong_FromUnsignedLong(crc);
}

static PyObject *none_or_error(int ok)
{
    return ok ? Py_NewRef(Py_None) : NULL;
}

static PyObject *py_quantise(PyObject *self, PyObject *args)
{
    Py_buffer x, q;
    float c_min, c_max;
    int levels;
    (void)self;
    if (!PyArg_ParseTuple(args, "y*w*ffi", &x, &q, &c_min, &c_max, &levels))
        return NULL;
    int ok = check_levels(levels) && check_clip(c_min, c_max) && check_size("x", x.len, q.len * 4);
    if (ok) {
        Py_BEGIN_ALLOW_THREADS
        quantise(x.buf, q.buf, (size_t)q.len, c_min, c_max, (float)(levels - 1) / (c_max - c_min));
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&x);
    PyBuffer_Release(&q);
    return none_or_error(ok);
}

static int dequantise_checked(const uint8_t *q, float *x, size_t n, const float *table, size_t levels)
{
    int ok;
    Py_BEGIN_ALLOW_THREADS
    ok = n == 0 || largest(q, n) < levels;
    if (ok)
        dequantise(q, x, n, table);
    Py_END_ALLOW_THREADS
    if (!ok)
        PyErr_SetString(PyExc_ValueError, "q: expected every level below the length of the table");
    return ok;
}

static PyObject *py_dequantise(PyObject *self, PyObject *args)
{
    Py_buffer q, x, table;
    (void)self;
    if (!PyArg_ParseTuple(args, "y*w*y*", &q, &x, &table))
        return NULL;
    int ok = check_size("x", x.len, q.len * 4) &&
             dequantise_checked(q.buf, x.buf, (size_t)q.len, table.buf, (size_t)table.len / 4);
    PyBuffer_Release(&q);
    PyBuffer_Release(&x);
    PyBuffer_Release(&table);
    return none_or_error(ok);
}

/* Takes n levels, all below `levels`; returns bytes. */
static PyObject *encode_levels(const uint8_t *q, size_t n, uint32_t levels)
{
    encoder e[2] = {{.range = UINT64_MAX}, {.range = UINT64_MAX}};
    uint8_t *scratch = malloc(n + 1);
    PyObject *result = NULL;
    int ok = scratch != NULL;
    size_t bytes[2];
    Py_BEGIN_ALLOW_THREADS
    ok = ok && encode_planes(e, q, scratch, n, levels);
    if (ok)
        for (int lane = 0; lane < 2; lane++)
            bytes[lane] = encoder_finish(&e[lane]);
    Py_END_ALLOW_THREADS
    if (ok)
        result = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(bytes[0] + bytes[1]));
    if (result)
        write_lanes((uint8_t *)PyBytes_AsString(result), e, bytes);
    else if (!ok)
        PyErr_NoMemory();
    free(scratch);
    free(e[0].words);
    free(e[1].words);
    return result;
}

static PyObject *py_encode(PyObject *self, PyObject *args)
{
    Py_buffer q;
    int levels;
    PyObject *result = NULL;
    (void)self;
    if (!PyArg_ParseTuple(args, "y*i", &q, &levels))
        return NULL;
    if (check_levels(levels) && check_count(q.len)) {
        if (q.len && largest(q.buf, (size_t)q.len) >= levels)
            PyErr_SetString(PyExc_ValueError, "q: expected every level below levels");
        else
            result = encode_levels(q.buf, (size_t)q.len, (uint32_t)levels);
    }
    PyBuffer_Release(&q);
    return result;
}

static PyObject *encode_float(const Py_buffer *x, float c_min, float c_max, int levels)
{
    size_t n = (size_t)x->len / 4;
    uint8_t *q = malloc(n + 1);
    if (!q)
        return PyErr_NoMemory();
    Py_BEGIN_ALLOW_THREADS
    quantise(x->buf, q, n, c_min, c_max, (float)(levels - 1) / (c_max - c_min));
    Py_END_ALLOW_THREADS
    PyObject *result = encode_levels(q, n, (uint32_t)levels);
    free(q);
    return result;
}

static PyObject *py_encode_features(PyObject *self, PyObject *args)
{
    Py_buffer x;
    float c_min, c_max;
    int levels;
    PyObject *result = NULL;
    (void)self;
    if (!PyArg_ParseTuple(args, "y*ffi", &x, &c_min, &c_max, &levels))
        return NULL;
    if (check_levels(levels) && check_clip(c_min, c_max) && check_size("x", x.len, x.len / 4 * 4) &&
        check_count(x.len / 4))
        result = encode_float(&x, c_min, c_max, levels);
    PyBuffer_Release(&x);
    return result;
}

/* Returns whether the payload is one that the encoder writes; -1 if memory ran out. */
static int decode_levels(const Py_buffer *data, uint8_t *q, size_t n, uint32_t levels)
{
    decoder d[2];
    uint32_t *alive = malloc((n + 1) * sizeof *alive);
    int ok = -1;
    if (!alive)
        return ok;
    Py_BEGIN_ALLOW_THREADS
    ok = decoder_start(&d[0], data->buf, (size_t)data->len, 0) &&
         decoder_start(&d[1], data->buf, (size_t)data->len, 1);
    if (ok) {
        decode_planes(d, alive, q, n, levels);
        ok = lanes_end_well(d, (size_t)data->len);
    }
    Py_END_ALLOW_THREADS
    free(alive);
    return ok;
}

static PyObject *py_decode(PyObject *self, PyObject *args)
{
    Py_buffer data, q;
    int levels;
    (void)self;
    if (!PyArg_ParseTuple(args, "y*w*i", &data, &q, &levels))
        return NULL;
    int ok = check_levels(levels) && check_count(q.len) ? 1 : -2;
    if (ok == 1)
        ok = decode_levels(&data, q.buf, (size_t)q.len, (uint32_t)levels);
    PyBuffer_Release(&data);
    PyBuffer_Release(&q);
    if (ok == -1)
        PyErr_NoMemory();
    return ok < 0 ? NULL : PyBool_FromLong(ok);
}

static PyMethodDef methods[] = {
    {"crc32c", py_crc32c, METH_VARARGS, "crc32c(data, crc=0) -> int"},
    {"quantise", py_quantise, METH_VARARGS, "quantise(x, q, c_min, c_max, levels): float32 x into uint8 q"},
    {"dequantise", py_dequantise, METH_VARARGS, "dequantise(q, x, table): table[q] into float32 x"},
    {"encode", py_encode, METH_VARARGS, "encode(q, levels) -> bytes"},
    {"encode_features", py_encode_features, METH_VARARGS, "encode_features(x, c_min, c_max, levels) -> bytes"},
    {"decode", py_decode, METH_VARARGS, "decode(data, q, levels) -> bool: whether data is what encode writes"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "common.codec._kernel", "The codec's inner loops.", -1, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__kernel(void)
{
    crc_init();
    return PyModule_Create(&module);
}
