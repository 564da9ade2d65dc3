/* SPDX-License-Identifier: MIT
 *
 * The program's own malloc() and kin, which everybody's calls come to. They hand on to the C library's, or to a
 * sanitizer's where there is one.
 */
#include "faults/scarce.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *memory);
void *__interceptor_malloc(size_t size) __attribute__((weak));
void *__interceptor_calloc(size_t count, size_t size) __attribute__((weak));
void *__interceptor_realloc(void *old, size_t size) __attribute__((weak));
void *__interceptor_memalign(size_t alignment, size_t size) __attribute__((weak));
void __interceptor_free(void *memory) __attribute__((weak));

#define REAL(name) (__interceptor_##name ? __interceptor_##name : __libc_##name)

typedef enum place { NOWHERE, HERE, ELSEWHERE } place;

static atomic_int where;
static scarce_mode how;
static atomic_llong left; /* until the one that fails */
static atomic_llong refused;
static atomic_llong live;
static _Thread_local bool here; /* this thread is the one that said so */

static bool refuse(void)
{
    place scope = atomic_load_explicit(&where, memory_order_relaxed);
    if (scope == NOWHERE || here != (scope == HERE))
        return false;
    long long before = atomic_fetch_sub(&left, 1);
    if (before > 1 || (before < 1 && how == SCARCE_ONCE))
        return false;
    atomic_fetch_add(&refused, 1);
    errno = ENOMEM;
    return true;
}

static void begin(place scope, int64_t nth, scarce_mode mode)
{
    here = true;
    how = mode;
    atomic_store(&left, nth);
    atomic_store(&refused, 0);
    atomic_store(&where, scope);
}

void scarce_here(int64_t nth, scarce_mode mode)
{
    begin(HERE, nth, mode);
}

void scarce_elsewhere(int64_t nth, scarce_mode mode)
{
    begin(ELSEWHERE, nth, mode);
}

bool scarce_end(void)
{
    atomic_store(&where, NOWHERE);
    here = false;
    return scarce_refusals() > 0;
}

int64_t scarce_refusals(void)
{
    return atomic_load(&refused);
}

int64_t scarce_live(void)
{
    return atomic_load(&live);
}

/* ---- the allocator -------------------------------------------------------------------------- */

static void *count(void *memory)
{
    if (memory)
        atomic_fetch_add_explicit(&live, 1, memory_order_relaxed);
    return memory;
}

void *malloc(size_t size)
{
    return refuse() ? NULL : count(REAL(malloc)(size));
}

void *calloc(size_t number, size_t size)
{
    return refuse() ? NULL : count(REAL(calloc)(number, size));
}

void *realloc(void *old, size_t size)
{
    if (!old)
        return malloc(size);
    if (size == 0) {
        free(old);
        return NULL;
    }
    return refuse() ? NULL : REAL(realloc)(old, size);
}

void *memalign(size_t alignment, size_t size);
void *memalign(size_t alignment, size_t size)
{
    return refuse() ? NULL : count(REAL(memalign)(alignment, size));
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return memalign(alignment, size);
}

int posix_memalign(void **out, size_t alignment, size_t size)
{
    void *memory = memalign(alignment, size);
    if (!memory)
        return ENOMEM;
    *out = memory;
    return 0;
}

void free(void *memory)
{
    if (!memory)
        return;
    atomic_fetch_sub_explicit(&live, 1, memory_order_relaxed);
    REAL(free)(memory);
}
