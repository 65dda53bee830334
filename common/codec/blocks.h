/* The blocks of a cut tensor and their cosine transform, for basis.c. blocks.py is the reference. */
#ifndef MIDSTREAM_BLOCKS_H
#define MIDSTREAM_BLOCKS_H

#include <stddef.h>

enum {
    GROUP = 16, /* channels, and planes, that are worked on side by side */
    TILES = 20, /* every TILE of multiply.h divides it */
};

/* rows x columns blocks of a tensor, the first at (top, left); the last ones may reach beyond its end. */
typedef struct {
    size_t channels, height, width, block, top, left, rows, columns;
    size_t blocks, room; /* rows * columns, and as a multiple of TILES */
    size_t pitch;        /* channels as a multiple of GROUP */
    size_t wave;         /* floats of one frequency of a spectrum */
} grid;

/* Fills in what follows from the other sizes. A frequency is [room][pitch], and then some: if frequencies were apart by
 * a large power of 2, those of one block would meet in one set of the cache. */
void grid_finish(grid *g);

/* Floats in a spectrum [frequency][wave]. */
size_t spectrum_size(const grid *g);

/* Features [channel][height][width] to the spectrum of their blocks, less `mean` [pitch] at the lowest frequency. What
 * lies beyond the last block and the last channel is 0. */
void blocks_forward(const grid *g, const float *features, const float *mean, float *spectrum);

/* The way back; `blank` [channel][height][width] is copied to where no block is. */
void blocks_inverse(const grid *g, const float *spectrum, const float *blank, float *features);

#endif
