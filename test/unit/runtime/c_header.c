/*===- c_header.c - The public header as C -----------------------*- C -*-===*
 *
 * Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
 *
 *===----------------------------------------------------------------------===*/
#include <lathe/generate.h>
#include <lathe/lathe.h>
#include <lathe/tokenizer.h>

int latheHeaderCompilesAsC(void);

int latheHeaderCompilesAsC(void) {
  lathe_module *module;
  return lathe_module_load("/nonexistent", NULL, &module) == LATHE_NOT_FOUND && module == NULL;
}
