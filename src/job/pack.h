/* SPDX-License-Identifier: MIT
 *
 * job/pack.h -- a job as bytes, for another process of the same program.
 */
#ifndef NQ_JOB_PACK_H
#define NQ_JOB_PACK_H

#include <neoq.h>

#include "base/buffer.h"

/* Appends the job. The buffer's size stays a multiple of 8, if it was one. */
void nq_job_pack(nq_buffer *buffer, const neoq_job *job);

/* Takes a job off the front of the bytes, which must be aligned to 8; it points into them. False: they hold none. */
bool nq_job_unpack(const char **bytes, size_t *size, neoq_job *job);

#endif
