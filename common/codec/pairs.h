/* The sums of products of integers.c, for one kind of machine; it includes this file once for each.
 *
 *   NAME(x)     the functions' names and TARGET their instruction set
 *   VECTOR      one of its registers, of LANES 32-bit sums, a divisor of GROUP
 *   ZERO()      one that is 0
 *   LOAD(p)     what memory holds from p on, of any alignment; STORE(p, v) the way back
 *   SPREAD(p)   the pair at p in all lanes
 *   ADD(s, a, b)  s + a.first * b.first + a.second * b.second in each lane, for pairs of 16-bit numbers
 *   TILE        rows of x at a time, a divisor of BLOCK, and SETS groups: TILE * SETS * GROUP / LANES sums stay in
 *               registers
 *
 * sums[row][set][lane] = sum over k of weights[set][k][lane] * x[row][k], for BLOCK rows. */
TARGET static void NAME(multiply)(const product *p)
{
    enum { EACH = GROUP / LANES, ALL = SETS * EACH };
    for (size_t at = 0; at < BLOCK; at += TILE) {
        VECTOR sum[TILE][ALL];
        const int16_t *x = p->x + at * p->pairs * 2;
        for (int row = 0; row < TILE; row++)
            for (int i = 0; i < ALL; i++)
                sum[row][i] = ZERO();
        for (size_t k = 0; k < p->pairs; k++) {
            VECTOR weights[ALL];
            for (int i = 0; i < ALL; i++)
                weights[i] = LOAD(p->weights + ((i / EACH * p->pairs + k) * GROUP + i % EACH * LANES) * 2);
            for (int row = 0; row < TILE; row++) {
                VECTOR pair = SPREAD(x + ((size_t)row * p->pairs + k) * 2);
                for (int i = 0; i < ALL; i++)
                    sum[row][i] = ADD(sum[row][i], weights[i], pair);
            }
        }
        for (int row = 0; row < TILE; row++)
            for (int i = 0; i < ALL; i++)
                STORE(p->sums + (at + (size_t)row) * p->apart + i * LANES, sum[row][i]);
    }
}

#undef NAME
#undef TARGET
#undef VECTOR
#undef LANES
#undef ZERO
#undef LOAD
#undef STORE
#undef SPREAD
#undef ADD
#undef TILE
#undef SETS
