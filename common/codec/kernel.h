/* What the C files of common.codec._kernel share. Each file lists its Python functions in a PyMethodDef table that
 * kernel.c adds to the module: a new file needs its table's name here and there; setup.py takes every file it finds. */
#ifndef MIDSTREAM_KERNEL_H
#define MIDSTREAM_KERNEL_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* Vector loops are compiled for wider registers too, and chosen when the module is loaded. They are the same
 * IEEE and integer operations in the same order: no result depends on which one runs. */
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && __GNUC__ >= 12
#define WIDE __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define WIDE
#endif

#if defined(__GNUC__)
#define RARELY(condition) __builtin_expect(!!(condition), 0)
#define INLINE static inline __attribute__((always_inline))
#define APART static __attribute__((noinline))
#else
#define RARELY(condition) (condition)
#define INLINE static inline
#define APART static
#endif

extern PyMethodDef rans_methods[], neighbours_methods[], basis_methods[], coefficients_methods[], temporal_methods[],
    motion_methods[], integers_methods[], values_methods[], elements_methods[];

/* Of rans.c: whether rows are a table's, else with a ValueError set. */
int rans_check_rows(const Py_buffer *rows, int stride);

/* Likewise, whether a stream and a decoder's state, uint32 [6], can be decoded with. */
int rans_check_stream(const Py_buffer *data, const Py_buffer *state);

#endif
