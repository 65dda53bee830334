/* The cosine transform of a tensor's blocks, both ways. blocks.py beside it is the reference.
 *
 * Channels are innermost. A block's places are turned from [channel][row][column] to [row][column][channel] once, and
 * from then on every loop runs over 16 neighbouring channels: the cosine transform of a block needs no shuffle and
 * nothing depends on how many blocks there are. The spectrum is [frequency][block][channel].
 *
 * Floats may differ in the last bits from machine to machine (sums are fused here, and their order is ours); only
 * integers travel. WIDE's promise of equal results therefore holds but for rounding here.
 */
#include "blocks.h"
#include "kernel.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__clang__)
#pragma STDC FP_CONTRACT ON
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=fast")
#endif

static const float LARGEST = 65504.0f; /* of a feature: binary16's */

size_t spectrum_size(const grid *g)
{
    return g->block * g->block * g->wave;
}

void grid_finish(grid *g)
{
    g->blocks = g->rows * g->columns;
    g->room = (g->blocks + TILES - 1) / TILES * TILES;
    g->pitch = (g->channels + GROUP - 1) / GROUP * GROUP;
    g->wave = g->room * g->pitch + (g->room * g->pitch % (2 * GROUP) ? 0 : GROUP);
}

/* ---- Cosine transforms, orthonormal, of 4 or 8 values ------------------------------------------------------- */

/* cos(k pi / 16) / 2, and for four values cos(k pi / 8) / sqrt 2. */
static const float C1 = 0.49039264f, C2 = 0.46193977f, C3 = 0.41573481f, C4 = 0.35355339f, C5 = 0.27778512f,
                   C6 = 0.19134172f, C7 = 0.09754516f, G1 = 0.65328148f, G3 = 0.27059805f;

INLINE void forward_4(float *x)
{
    float s0 = x[0] + x[3], s1 = x[1] + x[2], d0 = x[0] - x[3], d1 = x[1] - x[2];
    x[0] = (s0 + s1) * 0.5f;
    x[1] = d0 * G1 + d1 * G3;
    x[2] = (s0 - s1) * 0.5f;
    x[3] = d0 * G3 - d1 * G1;
}

INLINE void inverse_4(float *x)
{
    float s0 = (x[0] + x[2]) * 0.5f, s1 = (x[0] - x[2]) * 0.5f;
    float d0 = x[1] * G1 + x[3] * G3, d1 = x[1] * G3 - x[3] * G1;
    x[0] = s0 + d0;
    x[1] = s1 + d1;
    x[2] = s1 - d1;
    x[3] = s0 - d0;
}

/* Sums of opposite values give the even frequencies, differences the odd ones: half the products. */
INLINE void forward_8(float *x)
{
    float s0 = x[0] + x[7], s1 = x[1] + x[6], s2 = x[2] + x[5], s3 = x[3] + x[4];
    float d0 = x[0] - x[7], d1 = x[1] - x[6], d2 = x[2] - x[5], d3 = x[3] - x[4];
    float a0 = s0 + s3, a1 = s1 + s2, b0 = s0 - s3, b1 = s1 - s2;
    x[0] = (a0 + a1) * C4;
    x[1] = d0 * C1 + d1 * C3 + d2 * C5 + d3 * C7;
    x[2] = b0 * C2 + b1 * C6;
    x[3] = d0 * C3 - d1 * C7 - d2 * C1 - d3 * C5;
    x[4] = (a0 - a1) * C4;
    x[5] = d0 * C5 - d1 * C1 + d2 * C7 + d3 * C3;
    x[6] = b0 * C6 - b1 * C2;
    x[7] = d0 * C7 - d1 * C5 + d2 * C3 - d3 * C1;
}

INLINE void inverse_8(float *x)
{
    float e0 = (x[0] + x[4]) * C4, e1 = (x[0] - x[4]) * C4;
    float f0 = x[2] * C2 + x[6] * C6, f1 = x[2] * C6 - x[6] * C2;
    float s0 = e0 + f0, s1 = e1 + f1, s2 = e1 - f1, s3 = e0 - f0;
    float d0 = x[1] * C1 + x[3] * C3 + x[5] * C5 + x[7] * C7;
    float d1 = x[1] * C3 - x[3] * C7 - x[5] * C1 - x[7] * C5;
    float d2 = x[1] * C5 - x[3] * C1 + x[5] * C7 + x[7] * C3;
    float d3 = x[1] * C7 - x[3] * C5 + x[5] * C3 - x[7] * C1;
    x[0] = s0 + d0, x[1] = s1 + d1, x[2] = s2 + d2, x[3] = s3 + d3;
    x[4] = s3 - d3, x[5] = s2 - d2, x[6] = s1 - d1, x[7] = s0 - d0;
}

/* Whether any is larger than LARGEST, infinite or not a number: as integers, these are larger too. */
INLINE int wild(const float *x, size_t n)
{
    uint32_t bits, most = 0, limit;
    for (size_t k = 0; k < n; k++) {
        memcpy(&bits, x + k, sizeof bits);
        bits &= 0x7FFFFFFFu;
        most = bits > most ? bits : most;
    }
    memcpy(&limit, &LARGEST, sizeof limit);
    return most > limit;
}

/* NaN is a feature that is not there. */
static void tame(float *x, size_t n)
{
    for (size_t k = 0; k < n; k++)
        x[k] = x[k] == x[k] ? fmaxf(-LARGEST, fminf(LARGEST, x[k])) : 0.0f;
}

/* Transforms `block` values that lie `apart` floats from each other, for n such columns side by side, in place. Every
 * argument but x is a constant where it is called, so this becomes a straight vector loop. */
INLINE void forward(float *x, size_t apart, size_t n, int block)
{
    for (size_t lane = 0; lane < n; lane++) {
        float v[8];
        for (int k = 0; k < block; k++)
            v[k] = x[k * apart + lane];
        block == 8 ? forward_8(v) : forward_4(v);
        for (int k = 0; k < block; k++)
            x[k * apart + lane] = v[k];
    }
}

INLINE void inverse(float *x, size_t apart, size_t n, int block)
{
    for (size_t lane = 0; lane < n; lane++) {
        float v[8];
        for (int k = 0; k < block; k++)
            v[k] = x[k * apart + lane];
        block == 8 ? inverse_8(v) : inverse_4(v);
        for (int k = 0; k < block; k++)
            x[k * apart + lane] = v[k];
    }
}

/* ---- Between [channel][row][column] and [row][column][channel] ---------------------------------------------- */

/* Four runs of four floats, `from` apart, become the columns of four runs `to` apart. Compilers do not find the
 * shuffles by themselves. */
#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define SHUFFLE __builtin_shufflevector
#endif
#endif
#if defined(SHUFFLE)
typedef float four __attribute__((vector_size(16), aligned(4), may_alias));

INLINE void turn(const float *x, size_t from, float *y, size_t to)
{
    four r0 = *(const four *)x, r1 = *(const four *)(x + from), r2 = *(const four *)(x + 2 * from),
         r3 = *(const four *)(x + 3 * from);
    four a = SHUFFLE(r0, r1, 0, 4, 1, 5), b = SHUFFLE(r0, r1, 2, 6, 3, 7);
    four c = SHUFFLE(r2, r3, 0, 4, 1, 5), d = SHUFFLE(r2, r3, 2, 6, 3, 7);
    *(four *)y = SHUFFLE(a, c, 0, 1, 4, 5);
    *(four *)(y + to) = SHUFFLE(a, c, 2, 3, 6, 7);
    *(four *)(y + 2 * to) = SHUFFLE(b, d, 0, 1, 4, 5);
    *(four *)(y + 3 * to) = SHUFFLE(b, d, 2, 3, 6, 7);
}
#else
INLINE void turn(const float *x, size_t from, float *y, size_t to)
{
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++)
            y[(size_t)j * to + (size_t)i] = x[(size_t)i * from + (size_t)j];
}
#endif

INLINE size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* One row of a block in up to four channels from c, the edge repeated beyond the tensor's end. */
static void gather_edge(const grid *g, const float *x, size_t c, size_t row, size_t column, float *y)
{
    for (size_t k = 0; k < least(4, g->channels - c); k++)
        for (size_t j = 0; j < g->block; j++)
            y[j * GROUP + k] = x[((c + k) * g->height + row) * g->width + least(column + j, g->width - 1)];
}

static void scatter_edge(const grid *g, const float *y, size_t c, size_t row, size_t column, float *x)
{
    for (size_t k = 0; k < least(4, g->channels - c); k++)
        for (size_t j = 0; j < least(g->block, g->width - column); j++)
            x[((c + k) * g->height + row) * g->width + column + j] = y[j * GROUP + k];
}

/* GROUP channels from c of the block at (top, left), to [row][column][channel]; those that do not exist stay as they
 * are. */
INLINE void gather(const grid *g, const float *x, size_t c, size_t top, size_t left, float *y, int block)
{
    size_t plane = g->height * g->width;
    for (size_t k = 0; k < GROUP && c + k < g->channels; k += 4, y += 4) {
        int whole = c + k + 4 <= g->channels && left + (size_t)block <= g->width;
        for (size_t i = 0; i < (size_t)block; i++) {
            size_t row = least(top + i, g->height - 1);
            float *to = y + i * (size_t)block * GROUP;
            const float *from = x + (c + k) * plane + row * g->width + left;
            if (whole)
                for (int j = 0; j < block; j += 4)
                    turn(from + j, plane, to + j * GROUP, GROUP);
            else
                gather_edge(g, x, c + k, row, left, to);
        }
    }
}

/* The way back; what lies beyond the tensor is dropped. */
INLINE void scatter(const grid *g, const float *y, size_t c, size_t top, size_t left, float *x, int block)
{
    size_t plane = g->height * g->width, rows = least((size_t)block, g->height - top);
    for (size_t k = 0; k < GROUP && c + k < g->channels; k += 4, y += 4) {
        int whole = c + k + 4 <= g->channels && left + (size_t)block <= g->width;
        for (size_t i = 0; i < rows; i++) {
            const float *from = y + i * (size_t)block * GROUP;
            float *to = x + (c + k) * plane + (top + i) * g->width + left;
            if (whole)
                for (int j = 0; j < block; j += 4)
                    turn(from + j * GROUP, GROUP, to + j, plane);
            else
                scatter_edge(g, from, c + k, top + i, left, x);
        }
    }
}

/* ---- Blocks to spectrum and back ---------------------------------------------------------------------------- */

INLINE void to_spectrum(const grid *g, const float *features, const float *mean, float *spectrum, int block)
{
    _Alignas(64) float x[8 * 8 * GROUP] = {0};
    size_t row = (size_t)block * GROUP, step = g->wave;
    for (size_t c = 0; c < g->pitch; c += GROUP)
        for (size_t at = 0; at < g->blocks; at++) {
            float *to = spectrum + at * g->pitch + c;
            size_t top = g->top + at / g->columns * g->block, left = g->left + at % g->columns * g->block;
            gather(g, features, c, top, left, x, block);
            if (RARELY(wild(x, row * (size_t)block)))
                tame(x, row * (size_t)block);
            forward(x, row, row, block);
            for (int i = 0; i < block; i++)
                forward(x + (size_t)i * row, GROUP, GROUP, block);
            for (size_t k = 0; k < GROUP; k++)
                x[k] -= mean[c + k];
            for (int f = 0; f < block * block; f++)
                memcpy(to + (size_t)f * step, x + f * GROUP, GROUP * sizeof *x);
        }
}

INLINE void from_spectrum(const grid *g, const float *spectrum, float *features, int block)
{
    _Alignas(64) float x[8 * 8 * GROUP];
    size_t row = (size_t)block * GROUP, step = g->wave;
    for (size_t c = 0; c < g->pitch; c += GROUP)
        for (size_t at = 0; at < g->blocks; at++) {
            const float *from = spectrum + at * g->pitch + c;
            size_t top = g->top + at / g->columns * g->block, left = g->left + at % g->columns * g->block;
            for (int f = 0; f < block * block; f++)
                memcpy(x + f * GROUP, from + (size_t)f * step, GROUP * sizeof *x);
            for (int i = 0; i < block; i++)
                inverse(x + (size_t)i * row, GROUP, GROUP, block);
            inverse(x, row, row, block);
            scatter(g, x, c, top, left, features, block);
        }
}

WIDE static void all_to_spectrum(const grid *g, const float *features, const float *mean, float *spectrum)
{
    if (g->block == 8)
        to_spectrum(g, features, mean, spectrum, 8);
    else
        to_spectrum(g, features, mean, spectrum, 4);
}

WIDE static void all_from_spectrum(const grid *g, const float *spectrum, float *features)
{
    if (g->block == 8)
        from_spectrum(g, spectrum, features, 8);
    else
        from_spectrum(g, spectrum, features, 4);
}

/* Sums are formed for whole tiles of blocks: what is beyond the last block is 0, not whatever memory held. */
static void clear_rest(const grid *g, float *spectrum)
{
    size_t used = g->blocks * g->pitch, all = g->wave;
    for (float *from = spectrum; from < spectrum + spectrum_size(g); from += all)
        memset(from + used, 0, (all - used) * sizeof *from);
}

void blocks_forward(const grid *g, const float *features, const float *mean, float *spectrum)
{
    clear_rest(g, spectrum);
    all_to_spectrum(g, features, mean, spectrum);
}

/* What lies outside the blocks is as it is for a blank picture. */
static void fill_outside(const grid *g, const float *blank, float *features)
{
    size_t bottom = least(g->top + g->rows * g->block, g->height);
    size_t right = least(g->left + g->columns * g->block, g->width);
    for (size_t c = 0; c < g->channels; c++) {
        size_t start = c * g->height * g->width, end = start + g->height * g->width;
        size_t first = start + g->top * g->width + g->left, last = start + (bottom - 1) * g->width + right;
        memcpy(features + start, blank + start, (first - start) * sizeof *blank);
        for (size_t at = first + right - g->left; at < last; at += g->width)
            memcpy(features + at, blank + at, (g->width - (right - g->left)) * sizeof *blank);
        memcpy(features + last, blank + last, (end - last) * sizeof *blank);
    }
}

void blocks_inverse(const grid *g, const float *spectrum, const float *blank, float *features)
{
    all_from_spectrum(g, spectrum, features);
    fill_outside(g, blank, features);
}
