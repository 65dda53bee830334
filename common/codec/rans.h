/* Static-table rANS, made for frames of a few thousand bytes, for use from C.
 *
 * READ ME FIRST, four things that bite:
 *
 * 1. rANS is a stack: what the encoder pushes last, the decoder takes first. So the encoder works backwards from the
 *    last symbol, or lists parts and has the list written from its end. Contexts are no matter of the coder: whoever
 *    pushes a symbol under a row must be able to name that row when all symbols before it are decoded.
 * 2. Four lanes (states) take symbols in turns: symbol t belongs to lane t mod 4, counted through the whole
 *    stream and across planes. Nothing passes between lanes but the place of the next word, so the processor
 *    overlaps four chains of some thirty cycles each. More lanes are a little faster, and cost 3 bytes a piece. A short
 *    stream may have lane 0 alone (`turn` is 0), which takes all symbols; nothing in the stream says so.
 * 3. A row of a table holds cumulative frequencies: row[s] is the sum of the frequencies 0..s, so row[S - 1] = 2^14.
 *    It is padded with 2^14 to 4, 8 or 16 numbers (`stride`), and a number that is 2^14 stands before the first
 *    row, so that row[-1] is 2^14 for every row, which modulo 2^14 is the start of symbol 0. One 32-bit load gives
 *    the start and the end of a symbol.
 * 4. Nothing is checked symbol by symbol. Beyond its end the stream reads its last word again, symbols are always below
 *    the stride, and rans_end() says whether all of it was sound. A stream that it accepts is the only one that the
 *    encoder writes for these symbols, because each step of the decoder undoes exactly one of the encoder.
 *
 * docs/bitstream.md, "rANS", is the normative text; rans.py is the reference. */
#ifndef MIDSTREAM_RANS_H
#define MIDSTREAM_RANS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#elif defined(__ARM_NEON) && defined(__aarch64__)
#include <arm_neon.h>
#endif

#if defined(__GNUC__)
#define RANS_INLINE static inline __attribute__((always_inline))
#else
#define RANS_INLINE static inline
#endif

/* Between symbols a state is in RANS_LOW .. 2^32 - 1; words are 16 bits. A step makes a state at least
 * freq * (RANS_LOW >> RANS_BITS) >= 4, so one word always suffices to bring it back. */
enum { RANS_LANES = 4, RANS_BITS = 14, RANS_TOTAL = 1 << RANS_BITS, RANS_LOW = 1 << 16 };

/* Four lanes open a stream: 16 bytes, as 8 of its words. */
enum { RANS_OPENING = RANS_LANES * 2 };

/* ---- Decoder ------------------------------------------------------------------------------------------------- */

typedef struct {
    uint32_t x[RANS_LANES];
    unsigned lane;       /* whose turn it is */
    unsigned turn;       /* by how much that moves on: 1, or 0 in a stream of one lane */
    int vector;          /* find symbols with vector instructions; the result is the same */
    const uint8_t *data; /* the whole stream */
    size_t words, read;  /* its length, and how many were wanted so far: more than words if it is damaged */
} rans_decoder;

/* Whether rans_start() lets decoders use vector instructions: 1, unless a test wants to compare. */
extern int rans_vector;

/* Returns 0 if no stream begins like this. `data` must outlive the decoder. */
int rans_start(rans_decoder *d, const uint8_t *data, size_t length);

/* Returns 1 if every lane is back where its encoder began and every word was used. */
int rans_end(const rans_decoder *d);

RANS_INLINE uint32_t rans_word(const uint8_t *data, size_t at)
{
    return (uint32_t)data[2 * at] << 8 | data[2 * at + 1];
}

/* How many of the first `stride` numbers of a row are at most `slot`, in four 16-bit parts of a word at once: a part of
 * (2^15 + slot) - number keeps its top bit if, and only if, slot >= number. */
RANS_INLINE unsigned rans_count(const uint16_t *row, uint32_t slot, int stride)
{
    const uint64_t ones = 0x0001000100010001ull, slots = (slot | 0x8000u) * ones;
    uint64_t total = 0, part;
    for (int i = 0; i < stride; i += 4) {
        memcpy(&part, row + i, sizeof part);
        total += (slots - part) >> 15 & ones;
    }
    return (unsigned)(total * ones >> 48);
}

/* The same with vector instructions. */
RANS_INLINE unsigned rans_count_vector(const uint16_t *row, uint32_t slot, int stride)
{
#if defined(__SSE2__) && defined(__GNUC__)
    /* Numbers rise, so those above the slot follow those that are not: the first bit set tells how many. */
    __m128i slots = _mm_set1_epi16((short)slot), first, second;
    if (stride == 16) {
        first = _mm_loadu_si128((const __m128i *)(const void *)row);
        second = _mm_loadu_si128((const __m128i *)(const void *)(row + 8));
        first = _mm_packs_epi16(_mm_cmpgt_epi16(first, slots), _mm_cmpgt_epi16(second, slots));
        return (unsigned)__builtin_ctz((unsigned)_mm_movemask_epi8(first));
    }
    first = stride == 8 ? _mm_loadu_si128((const __m128i *)(const void *)row)
                        : _mm_loadl_epi64((const __m128i *)(const void *)row);
    return (unsigned)__builtin_ctz((unsigned)_mm_movemask_epi8(_mm_cmpgt_epi16(first, slots))) >> 1;
#elif defined(__ARM_NEON) && defined(__aarch64__)
    if (stride == 4)
        return vaddv_u16(vshr_n_u16(vcle_u16(vld1_u16(row), vdup_n_u16((uint16_t)slot)), 15));
    uint16x8_t slots = vdupq_n_u16((uint16_t)slot), below = vshrq_n_u16(vcleq_u16(vld1q_u16(row), slots), 15);
    if (stride == 16)
        below = vaddq_u16(below, vshrq_n_u16(vcleq_u16(vld1q_u16(row + 8), slots), 15));
    return vaddvq_u16(below);
#else
    return rans_count(row, slot, stride);
#endif
}

/* Undoes the last step of the lane whose turn it is: [start, start + size) is the symbol's part of 2^14. */
RANS_INLINE void rans_advance(rans_decoder *d, uint32_t slot, uint32_t start, uint32_t size)
{
    uint32_t x = size * (d->x[d->lane] >> RANS_BITS) + slot - start;
    uint32_t word = rans_word(d->data, d->read < d->words ? d->read : d->words - 1), more = x < RANS_LOW;
    d->x[d->lane] = more ? x << 16 | word : x;
    d->read += more;
    d->lane = (d->lane + d->turn) % RANS_LANES;
}

/* The numbers before and at `end`: the start of a symbol, to be taken modulo 2^14, and where it ends << 16. */
RANS_INLINE uint32_t rans_pair(const uint16_t *end)
{
    uint32_t pair;
    memcpy(&pair, end - 1, sizeof pair);
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    pair = pair >> 16 | pair << 16;
#endif
    return pair;
}

/* The next symbol, under a row of `stride` 4, 8 or 16 numbers. */
RANS_INLINE unsigned rans_take(rans_decoder *d, const uint16_t *row, int stride)
{
    uint32_t slot = d->x[d->lane] & (RANS_TOTAL - 1);
    unsigned symbol = d->vector ? rans_count_vector(row, slot, stride) : rans_count(row, slot, stride);
    uint32_t pair = rans_pair(row + symbol), start = pair & (RANS_TOTAL - 1);
    rans_advance(d, slot, start, (pair >> 16) - start);
    return symbol;
}

/* The next n symbols, whose rows are known: symbol i under row index[i]. */
void rans_take_plane(rans_decoder *d, const uint16_t *rows, int stride, const uint32_t *index, uint8_t *to, size_t n);

/* The next `bits` raw bits, 1 to 14 of them. */
RANS_INLINE uint32_t rans_take_raw(rans_decoder *d, int bits)
{
    int rest = RANS_BITS - bits;
    uint32_t slot = d->x[d->lane] & (RANS_TOTAL - 1), value = slot >> rest;
    rans_advance(d, slot, value << rest, 1u << rest);
    return value;
}

/* A decoder as Python holds it between calls: the lanes, whose turn it is, words read. */
enum { RANS_STATE = RANS_LANES + 2 };
rans_decoder rans_restored(const uint32_t *state, const uint8_t *data, size_t length);
void rans_keep(uint32_t *state, const rans_decoder *d);

/* ---- Encoder ------------------------------------------------------------------------------------------------- */

/* Works backwards: the last symbol of the stream is pushed first, in front of what was written before. */
typedef struct {
    uint32_t x[RANS_LANES];
    unsigned lane;  /* whose turn it was after the symbol that comes next */
    unsigned turn;  /* as a decoder's */
    int impossible; /* something was pushed that has no part of 2^14 */
    uint8_t *to;    /* the bytes from here on are written */
} rans_writer;

/* Bytes that any stream of so many symbols fits in: each adds a word at most. */
RANS_INLINE size_t rans_bound(size_t count)
{
    return 2 * (count + RANS_OPENING);
}

/* A stream of `count` symbols that will end before `end`, with rans_bound(count) bytes before that to write in. */
RANS_INLINE rans_writer rans_open(size_t count, uint8_t *end)
{
    return (rans_writer){{RANS_LOW, RANS_LOW, RANS_LOW, RANS_LOW}, count % RANS_LANES, 1, 0, end};
}

/* The same of one lane. */
RANS_INLINE rans_writer rans_open_single(uint8_t *end)
{
    return (rans_writer){{RANS_LOW, RANS_LOW, RANS_LOW, RANS_LOW}, 0, 0, 0, end};
}

RANS_INLINE void rans_lay(rans_writer *w, uint32_t word)
{
    w->to[-1] = (uint8_t)word;
    w->to[-2] = (uint8_t)(word >> 8);
}

/* A part of 2^14: start | size << 16. */
typedef uint32_t rans_part;

RANS_INLINE rans_part rans_symbol_part(const uint16_t *row, unsigned symbol)
{
    uint32_t pair = rans_pair(row + symbol), start = symbol ? pair & 0xFFFF : 0;
    return start | ((pair >> 16) - start) << 16;
}

/* The low `bits` bits of a value, 1 to 14 of them. */
RANS_INLINE rans_part rans_raw_part(uint32_t value, int bits)
{
    int rest = RANS_BITS - bits;
    return (value << rest & (RANS_TOTAL - 1)) | 1u << (rest + 16);
}

/* The step takes x to x / size * 2^14 + x % size + start, which is below 2^32 if x < size * 2^18. The word is laid
 * down anyway and the place moves on only if it was due: no branch depends on a symbol. */
RANS_INLINE void rans_push(rans_writer *w, rans_part part)
{
    uint32_t start = part & 0xFFFF, size = part >> 16;
    w->lane = (w->lane + RANS_LANES - w->turn) % RANS_LANES;
    w->impossible |= size == 0;
    size += size == 0;
    uint32_t x = w->x[w->lane], due = x >> (32 - RANS_BITS) >= size;
    rans_lay(w, x);
    w->to -= due ? 2 : 0;
    x = due ? x >> 16 : x;
    w->x[w->lane] = (x / size << RANS_BITS) + x % size + start;
}

/* The mirror of rans_take_plane(): n symbols, the last one first. */
void rans_push_plane(rans_writer *w, const uint16_t *rows, int stride, const uint32_t *index, const uint8_t *from,
                     size_t n);

/* Puts the lanes in front. Returns the length of the stream that begins at w->to and ends before `end`. */
size_t rans_close(rans_writer *w, const uint8_t *end);

/* For whoever cannot go backwards: writes a list of parts, in the order of the stream, so that it ends before `end`.
 * Returns the length, or 0 if one is not a part of 2^14. */
size_t rans_write(const rans_part *parts, size_t count, uint8_t *end);

#endif
