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
#include "kernel.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

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

/* The level of a feature is how many thresholds it reaches. All features are compared with 3, 7 or 15 thresholds at a
 * time, without a branch; those that a table does not have are NaN, which nothing reaches. They are counted in floats
 * because compilers count integers in bytes here, and then pack the outcome of every comparison into bytes first. */
enum { MOST = 15 };

INLINE void count_reached(const float *restrict x, uint8_t *restrict q, size_t n, const float *thresholds, int count,
                          int more)
{
    float t[MOST];
    for (int k = 0; k < count; k++)
        t[k] = thresholds[k];
    for (size_t i = 0; i < n; i++) {
        float v = x[i] == x[i] ? x[i] : 0.0f;
        float reached = more ? q[i] : 0.0f;
        for (int k = 0; k < count; k++)
            reached += v >= t[k] ? 1.0f : 0.0f;
        q[i] = (uint8_t)(int32_t)reached;
    }
}

WIDE static void count_3(const float *restrict x, uint8_t *restrict q, size_t n, const float *thresholds)
{
    count_reached(x, q, n, thresholds, 3, 0);
}

WIDE static void count_7(const float *restrict x, uint8_t *restrict q, size_t n, const float *thresholds)
{
    count_reached(x, q, n, thresholds, 7, 0);
}

WIDE static void count_15(const float *restrict x, uint8_t *restrict q, size_t n, const float *thresholds)
{
    count_reached(x, q, n, thresholds, 15, 0);
}

WIDE static void count_15_more(const float *restrict x, uint8_t *restrict q, size_t n, const float *thresholds)
{
    count_reached(x, q, n, thresholds, 15, 1);
}

static void quantise_by(const float *restrict x, uint8_t *restrict q, size_t n, const float *thresholds, int count)
{
    for (int done = 0; done < count; done += MOST) {
        float part[MOST];
        for (int k = 0; k < MOST; k++)
            part[k] = done + k < count ? thresholds[done + k] : NAN;
        if (done)
            count_15_more(x, q, n, part);
        else
            (count <= 3 ? count_3 : count <= 7 ? count_7 : count_15)(x, q, n, part);
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

/* ---- Model of a plane ---------------------------------------------------------------------------------------- */

enum { FAST = 5, SLOW = 7, TOTAL = 1 << 17, FLIPPED = 0xFFFF };

/* A bin differs from the one before it in its lane and plane with probability (fast + slow + 1) / 2^17. When it
 * does, "differs" and "equals" change places: each estimate x becomes 2^16 - 1 - x, and the sum, with its 1, exactly
 * 2^17 less itself. Then what did not happen loses 2^-shift of its probability. Rounding keeps fast within 31..65504
 * and slow within 127..65408, so that no bin costs more than log2(2^17 / 159) < 10 bits. */
typedef struct {
    uint32_t fast, slow;
    uint8_t last; /* the bin before: 0 or 1 */
} model;

static const model FRESH = {1 << 15, 1 << 15, 0};

/* Returns the probability, in 2^-17, of what did not happen. `flip` is FLIPPED or 0: no branch depends on a bin. */
INLINE uint32_t adapt(model *m, uint32_t flip, int fast, int slow)
{
    uint32_t other = (m->fast ^= flip) + (m->slow ^= flip) + 1;
    m->fast -= m->fast >> fast;
    m->slow -= m->slow >> slow;
    return other;
}

/* The n-th bin of a plane moves estimates by 2^-bit_length(n + 1), so that the first ones nearly count, until the
 * final shifts are reached: 1, 2, 2, 3, 3, 3, 3, 4, ... */
static int slow_shift(size_t n)
{
    int shift = 1;
    while (shift < SLOW && (n + 1) >> shift)
        shift++;
    return shift;
}

static int fast_shift(int slow)
{
    return slow < FAST ? slow : FAST;
}

/* Planes are worked off in blocks of one shift, short enough for their arrays to stay in the first-level cache. */
enum { BLOCK = 512 };

static size_t block_size(size_t done, size_t n)
{
    int shift = slow_shift(done);
    size_t most = shift < SLOW ? ((size_t)1 << shift) - 1 - done : BLOCK;
    return most < n - done ? most : n - done;
}

/* ---- Encoder ----------------------------------------------------------------------------------------------- */

/* The interval is [low, low + range) in units of the last word written; 2^32 <= range < 2^64 between bins. */
typedef struct {
    uint64_t low, range;
    uint32_t *out; /* the next word to write */
    uint32_t *words;
    size_t room;
} encoder;

/* Room for any block, and for the end. */
static int encoder_reserve(encoder *e)
{
    enum { WORDS = BLOCK * 10 / 32 + 2 };
    size_t used = (size_t)(e->out - e->words);
    if (e->room - used >= WORDS)
        return 1;
    size_t room = e->room * 2 + WORDS;
    uint32_t *words = realloc(e->words, room * sizeof *words);
    if (!words)
        return 0;
    *e = (encoder){e->low, e->range, words + used, words, room};
    return 1;
}

APART void carry(uint32_t *out)
{
    while (++*--out == 0)
        ;
}

/* The bin takes [start, start + size) of the interval's 2^17 shares. */
INLINE void encode_bin(encoder *e, uint32_t start, uint32_t size)
{
    uint64_t share = e->range >> 17, below = share * start;
    e->range = share * size;
    e->low += below;
    if (RARELY(e->low < below))
        carry(e->out);
    if (RARELY(e->range >> 32 == 0)) {
        *e->out++ = (uint32_t)(e->low >> 32);
        e->low <<= 32;
        e->range <<= 32;
    }
}

/* The fewest leading bytes of a 64-bit value that stay in the interval whatever follows them, and how far above
 * low they are. Five always suffice: range >= 2^32, and the step of five bytes is 2^24. */
static int shortest_end(uint64_t low, uint64_t range, uint64_t *distance)
{
    for (int bytes = 1;; bytes++) {
        uint64_t step = 1ull << (64 - 8 * bytes);
        *distance = (0 - low) & (step - 1);
        if (*distance + step <= range)
            return bytes;
    }
}

/* Returns the length of the lane in bytes. */
static size_t encoder_finish(encoder *e)
{
    uint64_t distance, low = e->low;
    int bytes = shortest_end(low, e->range, &distance);
    low += distance;
    if (low < distance)
        carry(e->out);
    e->out[0] = (uint32_t)(low >> 32);
    e->out[1] = (uint32_t)low;
    return (size_t)(e->out - e->words) * 4 + (size_t)bytes;
}

/* One lane's part of a block, filled column by column. Loops of few values each stay in registers; the first and
 * the third become vector code. */
typedef struct {
    uint16_t flips[BLOCK];
    uint32_t start[BLOCK], size[BLOCK];
} column;

WIDE static void find_flips(const uint8_t *restrict q, uint16_t *restrict flips, size_t n, uint8_t plane, uint8_t last)
{
    flips[0] = (q[0] > plane) != last ? FLIPPED : 0;
    for (size_t i = 1; i < n; i++)
        flips[i] = (q[i] > plane) != (q[i - 1] > plane) ? FLIPPED : 0;
}

INLINE void predict(model m[2], column c[2], size_t n, int fast, int slow)
{
    model m0 = m[0], m1 = m[1];
    for (size_t i = 0; i < n; i++) {
        c[0].start[i] = adapt(&m0, c[0].flips[i], fast, slow);
        c[1].start[i] = adapt(&m1, c[1].flips[i], fast, slow);
    }
    m[0] = m0, m[1] = m1;
}

/* A bin that differs takes the lower part of the interval, one that equals the rest. */
WIDE static void find_shares(const uint16_t *restrict flips, uint32_t *restrict start, uint32_t *restrict size, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        size[i] = TOTAL - start[i];
        start[i] = flips[i] ? 0 : start[i];
    }
}

static void encode_bins(encoder e[2], const column c[2], size_t n)
{
    encoder e0 = e[0], e1 = e[1];
    for (size_t i = 0; i < n; i++) {
        encode_bin(&e0, c[0].start[i], c[0].size[i]);
        encode_bin(&e1, c[1].start[i], c[1].size[i]);
    }
    e[0] = e0, e[1] = e1;
}

static void encode_block(encoder e[2], model m[2], column c[2], const uint8_t *q[2], size_t n, uint8_t plane, int shift)
{
    for (int lane = 0; lane < 2; lane++) {
        find_flips(q[lane], c[lane].flips, n, plane, m[lane].last);
        m[lane].last = q[lane][n - 1] > plane;
    }
    if (shift == SLOW)
        predict(m, c, n, FAST, SLOW);
    else
        predict(m, c, n, fast_shift(shift), shift);
    for (int lane = 0; lane < 2; lane++)
        find_shares(c[lane].flips, c[lane].start, c[lane].size, n);
    encode_bins(e, c, n);
}

/* The last bin of a plane of odd size, in lane 1. */
static void encode_odd(encoder *e, model *m, uint8_t bin, int shift)
{
    uint32_t flip = bin != m->last ? FLIPPED : 0;
    uint32_t other = adapt(m, flip, fast_shift(shift), shift);
    encode_bin(e, flip ? 0 : other, TOTAL - other);
}

static int encode_plane(encoder e[2], const uint8_t *q, size_t n, uint8_t plane)
{
    size_t half = n / 2, done = 0, block;
    model m[2] = {FRESH, FRESH};
    column c[2];
    for (; done < half; done += block) {
        if (!encoder_reserve(&e[0]) || !encoder_reserve(&e[1]))
            return 0;
        const uint8_t *at[2] = {q + done, q + half + done};
        block = block_size(done, half);
        encode_block(e, m, c, at, block, plane, slow_shift(done));
    }
    if (n & 1) {
        if (!encoder_reserve(&e[1]))
            return 0;
        encode_odd(&e[1], &m[1], q[n - 1] > plane, slow_shift(done));
    }
    return 1;
}

/* Keeps the elements that the next plane asks about; `kept` may be q. */
static size_t compact(const uint8_t *q, uint8_t *kept, size_t n, uint8_t plane)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        uint8_t value = q[i];
        kept[count] = value;
        count += value > plane;
    }
    return count;
}

static int encode_planes(encoder e[2], const uint8_t *q, uint8_t *scratch, size_t n, int levels)
{
    for (int plane = 0; plane < levels - 1 && n; plane++) {
        if (!encode_plane(e, q, n, (uint8_t)plane))
            return 0;
        n = compact(q, scratch, n, (uint8_t)plane);
        q = scratch;
    }
    return encoder_reserve(&e[0]) && encoder_reserve(&e[1]);
}

/* Words are written with their first byte highest; lane 1 backwards from the end. */
static void write_lanes(uint8_t *out, const encoder e[2], const size_t bytes[2])
{
    size_t end = bytes[0] + bytes[1] - 1;
    for (size_t i = 0; i < bytes[0]; i++)
        out[i] = (uint8_t)(e[0].words[i / 4] >> (24 - 8 * (i % 4)));
    for (size_t i = 0; i < bytes[1]; i++)
        out[end - i] = (uint8_t)(e[1].words[i / 4] >> (24 - 8 * (i % 4)));
}

/* ---- Decoder ----------------------------------------------------------------------------------------------- */

/* offset = value - low, always less than range; window = the last 64 bits of the value that were read. */
typedef struct {
    uint64_t offset, range, window;
    const uint8_t *data;
    size_t length, read;
    int backwards;
} decoder;

/* Past the end there are zeros: a cut payload decodes to something, and then fails the check of its end. */
APART uint32_t next_word(decoder *d)
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

/* No encoder writes eight bytes of ones first: value < 2^64 - 1, the first range. */
static int decoder_start(decoder *d, const uint8_t *data, size_t length, int backwards)
{
    *d = (decoder){.range = UINT64_MAX, .data = data, .length = length, .backwards = backwards};
    next_word(d);
    next_word(d);
    d->offset = d->window;
    return d->offset < d->range;
}

/* Returns FLIPPED or 0. `at` holds the offset and range of d while a loop runs. */
INLINE uint32_t decode_bin(decoder *at, decoder *d, model *m, int fast, int slow)
{
    uint64_t share = at->range >> 17, split = share * (m->fast + m->slow + 1), rest = share * TOTAL - split;
    uint64_t differs = 0 - (uint64_t)(at->offset < split);
    uint32_t flip = (uint32_t)differs & FLIPPED;
    at->range = rest ^ ((rest ^ split) & differs);
    at->offset = at->offset - split + (split & differs);
    adapt(m, flip, fast, slow);
    if (RARELY(at->range >> 32 == 0)) {
        at->range <<= 32;
        at->offset = at->offset << 32 | next_word(d);
    }
    return flip;
}

INLINE void decode_bins(decoder d[2], model m[2], uint8_t flips[2][BLOCK], size_t n, int fast, int slow)
{
    decoder at0 = d[0], at1 = d[1];
    model m0 = m[0], m1 = m[1];
    for (size_t i = 0; i < n; i++) {
        flips[0][i] = decode_bin(&at0, &d[0], &m0, fast, slow) & 1;
        flips[1][i] = decode_bin(&at1, &d[1], &m1, fast, slow) & 1;
    }
    d[0].offset = at0.offset, d[0].range = at0.range;
    d[1].offset = at1.offset, d[1].range = at1.range;
    m[0] = m0, m[1] = m1;
}

/* Positions of the elements that a plane asks about: all of them for plane 0, then those listed. */
typedef struct {
    const uint32_t *from;
    uint32_t *kept;
} positions;

static void place_first(positions *p, uint8_t *last, const uint8_t *flips, uint8_t *q, size_t at, size_t n)
{
    uint32_t *kept = p->kept;
    uint8_t bin = *last;
    for (size_t i = 0; i < n; i++) {
        q[at + i] = bin ^= flips[i];
        *kept = (uint32_t)(at + i);
        kept += bin;
    }
    *last = bin;
    p->kept = kept;
}

static void place(positions *p, uint8_t *last, const uint8_t *flips, uint8_t *q, size_t n, uint8_t plane)
{
    const uint32_t *from = p->from;
    uint32_t *kept = p->kept;
    uint8_t bin = *last;
    for (size_t i = 0; i < n; i++) {
        uint32_t at = from[i];
        bin ^= flips[i];
        q[at] = plane + bin;
        *kept = at;
        kept += bin;
    }
    *last = bin;
    p->from += n;
    p->kept = kept;
}

static void decode_block(decoder d[2], model m[2], uint8_t flips[2][BLOCK], size_t n, int shift)
{
    if (shift == SLOW)
        decode_bins(d, m, flips, n, FAST, SLOW);
    else
        decode_bins(d, m, flips, n, fast_shift(shift), shift);
}

static size_t decode_plane(decoder d[2], uint32_t *alive, uint8_t *q, size_t n, uint8_t plane)
{
    size_t half = n / 2, done = 0, block;
    model m[2] = {FRESH, FRESH};
    positions p[2] = {{alive, alive}, {alive + half, alive + half}};
    uint8_t flips[2][BLOCK];
    for (; done < half; done += block) {
        block = block_size(done, half);
        decode_block(d, m, flips, block, slow_shift(done));
        for (int lane = 0; lane < 2; lane++)
            if (plane == 0)
                place_first(&p[lane], &m[lane].last, flips[lane], q, lane ? half + done : done, block);
            else
                place(&p[lane], &m[lane].last, flips[lane], q, block, plane);
    }
    if (n & 1) {
        int shift = slow_shift(done);
        flips[1][0] = decode_bin(&d[1], &d[1], &m[1], fast_shift(shift), shift) & 1;
        if (plane == 0)
            place_first(&p[1], &m[1].last, flips[1], q, n - 1, 1);
        else
            place(&p[1], &m[1].last, flips[1], q, 1, plane);
    }
    size_t kept0 = (size_t)(p[0].kept - alive), kept1 = (size_t)(p[1].kept - (alive + half));
    memmove(alive + kept0, alive + half, kept1 * sizeof *alive);
    return kept0 + kept1;
}

static void decode_planes(decoder d[2], uint32_t *alive, uint8_t *q, size_t n, int levels)
{
    for (int plane = 0; plane < levels - 1 && n; plane++)
        n = decode_plane(d, alive, q, n, (uint8_t)plane);
}

/* The length in bytes of the lane just decoded, or 0 if its encoder would have ended it differently.
 * low = window - offset; what was sent of the window is all but the bits below the step of the end. */
static size_t decoder_finish(const decoder *d)
{
    uint64_t distance;
    int bytes = shortest_end(d->window - d->offset, d->range, &distance);
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

static int check_floats(const char *name, const Py_buffer *x, Py_ssize_t count)
{
    if (x->len == count * 4 && (uintptr_t)x->buf % sizeof(float) == 0)
        return 1;
    PyErr_Format(PyExc_ValueError, "%s: expected %zd aligned float32, got %zd bytes", name, count, x->len);
    return 0;
}

static int check_range(const uint8_t *q, size_t n, size_t levels)
{
    if (n == 0 || largest(q, n) < levels)
        return 1;
    PyErr_Format(PyExc_ValueError, "q: expected every level below %zu, got %d", levels, largest(q, n));
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
    int ok = check_levels(levels) && check_clip(c_min, c_max) && check_floats("x", &x, q.len);
    if (ok) {
        Py_BEGIN_ALLOW_THREADS
        quantise(x.buf, q.buf, (size_t)q.len, c_min, c_max, (float)(levels - 1) / (c_max - c_min));
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&x);
    PyBuffer_Release(&q);
    return none_or_error(ok);
}

static PyObject *py_quantise_by(PyObject *self, PyObject *args)
{
    Py_buffer x, q, thresholds;
    (void)self;
    if (!PyArg_ParseTuple(args, "y*w*y*", &x, &q, &thresholds))
        return NULL;
    Py_ssize_t count = thresholds.len / 4;
    int ok = check_levels((int)(count < 256 ? count : 256) + 1) && check_floats("thresholds", &thresholds, count) &&
             check_floats("x", &x, q.len);
    if (ok) {
        Py_BEGIN_ALLOW_THREADS
        quantise_by(x.buf, q.buf, (size_t)q.len, thresholds.buf, (int)count);
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&x);
    PyBuffer_Release(&q);
    PyBuffer_Release(&thresholds);
    return none_or_error(ok);
}

static PyObject *py_dequantise(PyObject *self, PyObject *args)
{
    Py_buffer q, x, table;
    (void)self;
    if (!PyArg_ParseTuple(args, "y*w*y*", &q, &x, &table))
        return NULL;
    int ok = check_floats("x", &x, q.len) && check_floats("table", &table, table.len / 4) &&
             check_range(q.buf, (size_t)q.len, (size_t)table.len / 4);
    if (ok) {
        Py_BEGIN_ALLOW_THREADS
        dequantise(q.buf, x.buf, (size_t)q.len, table.buf);
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&q);
    PyBuffer_Release(&x);
    PyBuffer_Release(&table);
    return none_or_error(ok);
}

/* Takes n levels, all below `levels`, and n bytes of scratch that may be the levels themselves; returns bytes. */
static PyObject *encode_levels(const uint8_t *q, uint8_t *scratch, size_t n, int levels)
{
    encoder e[2] = {{.range = UINT64_MAX}, {.range = UINT64_MAX}};
    PyObject *result = NULL;
    size_t bytes[2];
    int ok;
    Py_BEGIN_ALLOW_THREADS
    ok = encode_planes(e, q, scratch, n, levels);
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
    size_t n = (size_t)q.len;
    if (check_levels(levels) && check_count(q.len) && check_range(q.buf, n, (size_t)levels)) {
        uint8_t *scratch = malloc(n + 1);
        result = scratch ? encode_levels(q.buf, scratch, n, levels) : PyErr_NoMemory();
        free(scratch);
    }
    PyBuffer_Release(&q);
    return result;
}

/* Returns whether the payload is one that the encoder writes; -1 if memory ran out. */
static int decode_levels(const Py_buffer *data, uint8_t *q, size_t n, int levels)
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
        ok = decode_levels(&data, q.buf, (size_t)q.len, levels);
    PyBuffer_Release(&data);
    PyBuffer_Release(&q);
    if (ok == -1)
        PyErr_NoMemory();
    return ok < 0 ? NULL : PyBool_FromLong(ok);
}

static PyMethodDef methods[] = {
    {"crc32c", py_crc32c, METH_VARARGS, "crc32c(data, crc=0) -> int"},
    {"quantise", py_quantise, METH_VARARGS, "quantise(x, q, c_min, c_max, levels): float32 x into uint8 q"},
    {"quantise_by", py_quantise_by, METH_VARARGS, "quantise_by(x, q, thresholds): float32 x into uint8 q"},
    {"dequantise", py_dequantise, METH_VARARGS, "dequantise(q, x, table): table[q] into float32 x"},
    {"encode", py_encode, METH_VARARGS, "encode(q, levels) -> bytes"},
    {"decode", py_decode, METH_VARARGS, "decode(data, q, levels) -> bool: whether data is what encode writes"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "common.codec._kernel", "The codec's inner loops.", -1, methods, NULL, NULL, NULL, NULL,
};

/* The functions of the other files of this module. */
static PyMethodDef *const others[] = {rans_methods, neighbours_methods, basis_methods, coefficients_methods,
                                       temporal_methods, motion_methods,   integers_methods, values_methods,
                                       elements_methods};

PyMODINIT_FUNC PyInit__kernel(void)
{
    crc_init();
    PyObject *made = PyModule_Create(&module);
    for (size_t i = 0; made && i < sizeof others / sizeof *others; i++)
        if (PyModule_AddFunctions(made, others[i]) < 0)
            Py_CLEAR(made);
    return made;
}
