/* SPDX-License-Identifier: MIT
 *
 * A worker as a service: tells whoever started it (systemd: sd_notify(3)) that it is ready, what it does, that it goes
 * on, that it stops.
 */
#ifndef NEOQ_CLI_SERVICE_H
#define NEOQ_CLI_SERVICE_H

#include "cli.h"

#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/un.h>

/* How the worker is, in words: counts, for people. Called from the service's thread. */
typedef void (*service_words)(void *worker, char *words, size_t size);

typedef struct service {
    session *session;
    int fd; /* -1: nobody wants to know */
    struct sockaddr_un address;
    socklen_t address_size;
    neoq_duration pulse; /* from one sign of life to the next; 0 = none is asked for */
    neoq *nq;
    service_words words;
    void *worker;
    int wake; /* eventfd */
    atomic_bool changed, stopping, ended;
    pthread_t thread;
    bool begun;
} service;

/* Takes what is about this process out of the environment: it is nothing for the programs that jobs run. */
void service_prepare(service *sv, session *s);
/* Ready. Signs of life follow, as long as nq's own threads go their rounds; nq outlives service_end(). */
void service_begin(service *sv, neoq *nq, service_words words, void *worker);
void service_changed(service *sv); /* the words are others now; any thread */
void service_stopping(service *sv);
void service_end(service *sv); /* the descriptors stay, for whoever still tells of a change */

#endif
