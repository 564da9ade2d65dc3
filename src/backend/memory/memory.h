/* SPDX-License-Identifier: MIT
 *
 * memory/memory.h -- jobs in this process's memory, gone with it. The reference of the semantics: every other store is
 * compared with it.
 */
#ifndef NQ_MEMORY_MEMORY_H
#define NQ_MEMORY_MEMORY_H

#include <neoq/backend.h>

extern const neoq_backend nq_memory_backend;

#endif
