/* SPDX-License-Identifier: MIT
 *
 * OpenSSL works on two memory buffers, so that the one place that reads and writes sockets serves TLS as well: with its
 * bounds, and without SIGPIPE.
 */
#include "backend/redis/tls.h"

#include <arpa/inet.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

struct rd_tls {
    SSL *session;
    BIO *from_wire, *to_wire; /* the session's own */
};

/* What OpenSSL says of the failure; its list is empty afterwards. */
static void read_error(char *words, size_t room, const char *otherwise)
{
    unsigned long first = ERR_get_error();
    const char *reason = first ? ERR_reason_error_string(first) : NULL;
    snprintf(words, room, "%s", reason ? reason : otherwise);
    ERR_clear_error();
}

/* ---- opening ---------------------------------------------------------------------------- */

static bool cannot_use(rd_failure *failure, const char *what, const char *file)
{
    char words[128];
    read_error(words, sizeof words, "it cannot be read");
    return rd_fail(failure, NEOQ_EBACKEND, true, "%s %.200s: %s", what, file, words);
}

static bool trust(SSL_CTX *context, const rd_url *url, rd_failure *failure)
{
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    if (!url->ca)
        return SSL_CTX_set_default_verify_paths(context) == 1 || cannot_use(failure, "the system's", "authorities");
    return SSL_CTX_load_verify_locations(context, url->ca, NULL) == 1 ||
           cannot_use(failure, "the authority's certificate", url->ca);
}

static bool show_certificate(SSL_CTX *context, const rd_url *url, rd_failure *failure)
{
    if (!url->cert)
        return true;
    if (SSL_CTX_use_certificate_chain_file(context, url->cert) != 1)
        return cannot_use(failure, "the certificate", url->cert);
    return (SSL_CTX_use_PrivateKey_file(context, url->key, SSL_FILETYPE_PEM) == 1 &&
            SSL_CTX_check_private_key(context) == 1) ||
           cannot_use(failure, "the key", url->key);
}

static SSL_CTX *make_context(const rd_url *url, rd_failure *failure)
{
    ERR_clear_error();
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    if (!context) {
        rd_fail(failure, NEOQ_ENOMEM, false, "no memory for TLS");
        return NULL;
    }
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    if (trust(context, url, failure) && show_certificate(context, url, failure))
        return context;
    SSL_CTX_free(context);
    return NULL;
}

/* An address is looked for among the certificate's addresses, and a name among its names. */
static bool expect(SSL *session, const char *host)
{
    struct in6_addr ignored;
    if (inet_pton(AF_INET, host, &ignored) == 1 || inet_pton(AF_INET6, host, &ignored) == 1)
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(session), host) == 1;
    SSL_set_hostflags(session, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set1_host(session, host) == 1 && SSL_set_tlsext_host_name(session, host) == 1;
}

static bool set_up(rd_tls *tls, SSL_CTX *context, const char *host)
{
    tls->session = SSL_new(context);
    if (!tls->session)
        return false;
    tls->from_wire = BIO_new(BIO_s_mem());
    tls->to_wire = BIO_new(BIO_s_mem());
    if (!tls->from_wire || !tls->to_wire) {
        BIO_free(tls->from_wire);
        BIO_free(tls->to_wire);
        return false;
    }
    BIO_set_mem_eof_return(tls->from_wire, -1); /* empty: more will come */
    SSL_set_bio(tls->session, tls->from_wire, tls->to_wire);
    SSL_set_connect_state(tls->session);
    return expect(tls->session, host);
}

rd_tls *rd_tls_open(const rd_url *url, const char *host, rd_failure *failure)
{
    SSL_CTX *context = make_context(url, failure);
    if (!context)
        return NULL;
    rd_tls *tls = calloc(1, sizeof *tls);
    if (!tls || !set_up(tls, context, url->tls_name ? url->tls_name : host)) {
        rd_fail(failure, NEOQ_ENOMEM, false, "no memory for TLS");
        rd_tls_close(tls);
        tls = NULL;
    }
    SSL_CTX_free(context); /* the session keeps it */
    return tls;
}

void rd_tls_close(rd_tls *tls)
{
    if (!tls)
        return;
    SSL_free(tls->session);
    free(tls);
}

/* ---- the handshake ---------------------------------------------------------------------- */

rd_tls_state rd_tls_shake_hands(rd_tls *tls, rd_failure *failure)
{
    char words[128];
    ERR_clear_error();
    int result = SSL_do_handshake(tls->session);
    if (result == 1)
        return RD_TLS_DONE;
    int error = SSL_get_error(tls->session, result);
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
        return RD_TLS_MORE;
    long verdict = SSL_get_verify_result(tls->session);
    read_error(words, sizeof words, "the handshake failed");
    if (verdict != X509_V_OK)
        rd_fail(failure, NEOQ_EBACKEND, true, "the server's certificate is not to be trusted: %s",
                X509_verify_cert_error_string(verdict));
    else
        rd_fail(failure, NEOQ_EBACKEND, false, "TLS: %s; does the server speak TLS on this port?", words);
    return RD_TLS_FAILED;
}

/* ---- bytes ------------------------------------------------------------------------------ */

void rd_tls_drain(rd_tls *tls, nq_buffer *wire)
{
    char *bytes;
    long size = BIO_get_mem_data(tls->to_wire, &bytes);
    if (size > 0)
        nq_buffer_add(wire, bytes, (size_t)size);
    (void)BIO_reset(tls->to_wire);
}

bool rd_tls_seal(rd_tls *tls, const char *plain, size_t size, nq_buffer *wire)
{
    bool good = true;
    ERR_clear_error();
    while (good && size > 0) {
        size_t part = size < 65536 ? size : 65536, done = 0;
        good = SSL_write_ex(tls->session, plain, part, &done) == 1;
        plain += done;
        size -= done;
        rd_tls_drain(tls, wire);
    }
    return good;
}

bool rd_tls_put(rd_tls *tls, const char *bytes, size_t size)
{
    return size <= INT_MAX && BIO_write(tls->from_wire, bytes, (int)size) == (int)size;
}

int rd_tls_take(rd_tls *tls, char *plain, int room, nq_buffer *wire, char *words)
{
    ERR_clear_error();
    int size = SSL_read(tls->session, plain, room);
    int error = size > 0 ? SSL_ERROR_NONE : SSL_get_error(tls->session, size);
    rd_tls_drain(tls, wire);
    if (size > 0)
        return size;
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
        return 0;
    if (error == SSL_ERROR_ZERO_RETURN)
        snprintf(words, 128, "the server closed the connection");
    else
        read_error(words, 128, "the TLS session broke");
    return -1;
}
