/* SPDX-License-Identifier: MIT
 *
 * job/fingerprint.h -- what makes two jobs the same job.
 *
 * MD5 of the queue's bytes and, right behind them, the payload as canonical JSON (base/json.h): what Go's neoq computes
 * (jobs.FingerprintJob), so that a Go program and a C one on the same tables see each other's duplicates. A payload that
 * Go's decoder would refuse has no counterpart there and counts as the bytes it is.
 *
 * payload NULL is Go's nil map, "null"; otherwise it is size bytes, of which there may be none. Returns NEOQ_OK, or
 * NEOQ_ENOMEM (only payloads above some 600 bytes need memory). Any thread.
 */
#ifndef NQ_JOB_FINGERPRINT_H
#define NQ_JOB_FINGERPRINT_H

#include <stddef.h>
#include <stdint.h>

#define NQ_FINGERPRINT_SIZE 33 /* 32 lower-case hex digits and a NUL */

int nq_fingerprint(const char *queue, const void *payload, size_t size, char out[NQ_FINGERPRINT_SIZE]);
int nq_fingerprint_bytes(const char *queue, const void *payload, size_t size, uint8_t out[16]);

#endif
