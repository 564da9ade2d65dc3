/* SPDX-License-Identifier: MIT
 *
 * The manual page.
 */
#ifndef NEOQ_CLI_MANUAL_H
#define NEOQ_CLI_MANUAL_H

void manual_print(void); /* its source, for scdoc(1), on standard output */

#endif
