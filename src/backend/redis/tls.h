/* SPDX-License-Identifier: MIT
 *
 * redis/tls.h -- one TLS session: a filter between plain bytes and those on the wire. It does no I/O.
 */
#ifndef NQ_REDIS_TLS_H
#define NQ_REDIS_TLS_H

#include "backend/redis/failure.h"
#include "backend/redis/url.h"
#include "base/buffer.h"

typedef struct rd_tls rd_tls;

/* host: whom the certificate is to be for, unless the URL says otherwise. The server must have one that the URL's
 * authority, or one of the system's, has signed. NULL: failure tells why. */
rd_tls *rd_tls_open(const rd_url *url, const char *host, rd_failure *failure);
void rd_tls_close(rd_tls *tls); /* NULL is allowed */

typedef enum rd_tls_state { RD_TLS_DONE, RD_TLS_MORE, RD_TLS_FAILED } rd_tls_state;

/* MORE: the server's next bytes are wanted; FAILED: failure tells why. Both may leave bytes for the wire. */
rd_tls_state rd_tls_shake_hands(rd_tls *tls, rd_failure *failure);

/* Plain bytes go in, and what belongs on the wire is added to `wire`. False: the session is broken. */
bool rd_tls_seal(rd_tls *tls, const char *plain, size_t size, nq_buffer *wire);
/* Bytes of the wire go in. False: no memory. */
bool rd_tls_put(rd_tls *tls, const char *bytes, size_t size);
/* The next plain bytes of what was put, more than 0 of them; 0: more must be put; -1: the session has ended, and words,
 * which takes 128 bytes, say how. What the session itself has to say to the server is added to `wire`. */
int rd_tls_take(rd_tls *tls, char *plain, int room, nq_buffer *wire, char *words);
/* What it has to say without having been asked to: the handshake. */
void rd_tls_drain(rd_tls *tls, nq_buffer *wire);

#endif
