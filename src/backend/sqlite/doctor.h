/* SPDX-License-Identifier: MIT
 *
 * sqlite/doctor.h -- what may be wrong with a file, what it lies on, and what is in it.
 */
#ifndef NQ_SQLITE_DOCTOR_H
#define NQ_SQLITE_DOCTOR_H

#include <neoq/backend.h>

/* neoq_backend.doctor. Writes nothing, not even what a last connection writes when it closes. */
int sq_doctor(const neoq_store_config *config, neoq_each_finding each, void *arg);

#endif
