/* SPDX-License-Identifier: MIT */
#ifndef SEALED_H
#define SEALED_H

#include <neoq/backend.h>

/* The table of "sealed:PATH", for neoq_register_backend(): as "sqlite:PATH", with payloads that nobody reads without the
 * passphrase. NULL: there is nothing to seal them with. */
const neoq_backend *sealed_backend(const char *passphrase);

#endif
