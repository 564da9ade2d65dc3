/* SPDX-License-Identifier: MIT */
/**
 * @file
 * neoq/conformance.h -- whether a store of yours means the same as neoq's own.
 *
 * The conformance suite is installed as source, and built with your store by CMake:
 *
 *   find_package(neoq REQUIRED COMPONENTS conformance)
 *   enable_testing()
 *   neoq_add_conformance(mine SOURCES mine.c)
 *
 * where mine.c defines, besides the store itself, neoq_conformance: what the suite is to know of it. Then ctest has
 * mine/enqueue, mine/retry and the others. What the store says it cannot do is skipped, and each test that is says so;
 * all else has to work.
 */
#ifndef NEOQ_CONFORMANCE_H
#define NEOQ_CONFORMANCE_H

#include <neoq/backend.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * What a store may be without. But for the first, the operation that is asked for it returns NEOQ_EUNSUPPORTED, and
 * where it does not, nothing is skipped.
 */
enum {
    NEOQ_CANNOT_SHARE = 1,         /**< be open in two neoqs: it lives in one, as "memory:" does */
    NEOQ_CANNOT_SCHEDULE = 2,      /**< keep schedules: set_schedule */
    NEOQ_CANNOT_LIMIT = 4,         /**< bound a queue: set_queue with NEOQ_QUEUE_CAPACITY and more than 0 */
    NEOQ_CANNOT_KEEP_RUNS = 8,     /**< tell the history of a job: runs */
    NEOQ_CANNOT_KEEP_PROGRESS = 16 /**< set_progress, get_progress */
};

/** What the suite is to know of a store. */
typedef struct neoq_conformance_store {
    const neoq_backend *(*backend)(void); /**< the table, which the suite registers */
    unsigned cannot;                      /**< of the enum above, or 0 */
    int (*make)(char *url, size_t size);  /**< the URL of a new and empty one, for one test */
    void (*drop)(const char *url);        /**< after it; NULL = nothing is left of it */
} neoq_conformance_store;

extern const neoq_conformance_store neoq_conformance; /**< yours to define */

#ifdef __cplusplus
}
#endif
#endif
