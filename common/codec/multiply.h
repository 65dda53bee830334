/* The sums of products of basis.c, for one kind of machine; it includes this file once for each.
 *
 *   NAME(x)  the functions' names and TARGET their instruction set
 *   LANES    floats in one of its registers, a divisor of GROUP
 *   TILE     rows and SETS groups summed at a time: TILE * SETS * GROUP / LANES sums stay in registers
 *   PARTS    registers of sums that a combination uses: PARTS * LANES divides CHUNK
 *
 * Vector types do not survive `target_clones` (they are taken apart before it makes its copies), and loops over arrays
 * of sums do not stay in registers: hence types of our own and a file instead of WIDE.
 */

/* sums[row][set][lane] = sum over k of weights[set][k][lane] * x[row][k]. Up to TILE - 1 rows more than there are get
 * sums: there must be room for them. */
TARGET static void NAME(multiply)(const product *p, size_t rows)
{
    enum { EACH = GROUP / LANES, ALL = SETS * EACH };
    typedef float lanes __attribute__((vector_size(LANES * sizeof(float)), aligned(sizeof(float)), may_alias));
    size_t terms = p->terms, pitch = p->pitch;
    for (size_t at = 0; at < rows; at += TILE) {
        lanes sum[TILE][ALL] = {0};
        const float *x = p->x + at * pitch;
        for (size_t k = 0; k < terms; k++) {
            lanes weights[ALL];
            for (int i = 0; i < ALL; i++)
                weights[i] = *(const lanes *)(p->weights + (i / EACH * terms + k) * GROUP + i % EACH * LANES);
            for (int row = 0; row < TILE; row++)
                for (int i = 0; i < ALL; i++)
                    sum[row][i] += weights[i] * x[(size_t)row * pitch + k];
        }
        for (int row = 0; row < TILE; row++)
            for (int i = 0; i < ALL; i++)
                *(lanes *)(p->sums + (at + row) * p->apart + i * LANES) = sum[row][i];
    }
}

#if defined(PARTS)
/* sums[k] = sum over i of value[i] * rows[which[i]][k], for all k below `pitch`, a multiple of CHUNK. */
TARGET static void NAME(combine)(const float *value, const uint32_t *which, size_t n, const float *rows, size_t pitch,
                                 float *sums)
{
    typedef float lanes __attribute__((vector_size(LANES * sizeof(float)), aligned(sizeof(float)), may_alias));
    for (size_t k = 0; k < pitch; k += PARTS * LANES) {
        lanes sum[PARTS] = {0};
        for (size_t i = 0; i < n; i++) {
            const float *row = rows + which[i] * pitch + k;
            for (int part = 0; part < PARTS; part++)
                sum[part] += value[i] * *(const lanes *)(row + part * LANES);
        }
        for (int part = 0; part < PARTS; part++)
            *(lanes *)(sums + k + part * LANES) = sum[part];
    }
}
#undef PARTS
#endif

#undef NAME
#undef TARGET
#undef LANES
#undef TILE
#undef SETS
