/*===- main.c - Runs a compiled model from C ---------------------*- C -*-===*
 *
 * Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
 *
 * Usage: c_embed model.lathe [value]
 *
 * Prints the inputs of a model, runs it with every symbolic dimension set to `value` (1) and every element to 1, and
 * prints the shapes of the outputs with the sum of their elements.
 *
 *===----------------------------------------------------------------------===*/
#include <lathe/lathe.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(call)                                                                                                    \
  do {                                                                                                                 \
    lathe_status status_ = (call);                                                                                     \
    if (status_ != LATHE_OK) {                                                                                         \
      fprintf(stderr, "%s: %s\n", lathe_status_string(status_), lathe_last_error());                                   \
      exit(1);                                                                                                         \
    }                                                                                                                  \
  } while (0)

/* A tensor of ones of any type. */
static void *ones(lathe_dtype dtype, size_t count) {
  size_t size = lathe_dtype_size(dtype), i;
  char *data = malloc(count * size + 1);
  float f32 = 1;
  double f64 = 1;
  uint16_t f16 = 0x3c00, bf16 = 0x3f80;
  int64_t integer = 1; /* little endian: its first bytes are a smaller 1 */
  const void *one = dtype == LATHE_F32    ? (const void *)&f32
                    : dtype == LATHE_F64  ? (const void *)&f64
                    : dtype == LATHE_F16  ? (const void *)&f16
                    : dtype == LATHE_BF16 ? (const void *)&bf16
                                          : (const void *)&integer;
  if (!data)
    exit(1);
  for (i = 0; i < count; ++i)
    memcpy(data + i * size, one, size);
  return data;
}

static void print_dims(size_t rank, const int64_t *dims, const char *const *texts) {
  size_t d;
  printf("[");
  for (d = 0; d < rank; ++d) {
    fputs(d ? ", " : "", stdout);
    if (texts)
      printf("%s", texts[d]);
    else
      printf("%" PRId64, dims[d]);
  }
  printf("]");
}

static double checksum(const lathe_output *output) {
  double sum = 0;
  size_t i, count = output->size / lathe_dtype_size(output->dtype);
  for (i = 0; i < count; ++i)
    sum += output->dtype == LATHE_F32   ? ((const float *)output->data)[i]
           : output->dtype == LATHE_I64 ? (double)((const int64_t *)output->data)[i]
                                        : ((const unsigned char *)output->data)[i];
  return sum;
}

int main(int argc, char **argv) {
  lathe_module *module;
  lathe_session *session;
  lathe_module_info info;
  void **data;
  size_t i, d;
  int64_t value = argc > 2 ? atoll(argv[2]) : 1;
  if (argc < 2) {
    fprintf(stderr, "usage: c_embed model.lathe [value]\n");
    return 2;
  }
  CHECK(lathe_module_load(argv[1], NULL, &module));
  lathe_module_info_init(&info);
  CHECK(lathe_module_get_info(module, &info));
  CHECK(lathe_session_create(module, NULL, &session));
  data = calloc(info.input_count + 1, sizeof(*data));
  for (i = 0; i < info.input_count; ++i) {
    lathe_tensor_info input;
    int64_t dims[64];
    size_t count = 1;
    CHECK(lathe_module_input(module, i, &input));
    printf("input %s %s ", input.name, lathe_dtype_name(input.dtype));
    print_dims(input.rank, input.dims, input.dim_texts);
    printf("\n");
    for (d = 0; d < input.rank; ++d) {
      /* A program that knows its model knows its dimensions; this one gives all the symbolic ones the same value. */
      dims[d] = input.dims[d] >= 0 ? input.dims[d] : value;
      count *= (size_t)dims[d];
    }
    data[i] = ones(input.dtype, count);
    CHECK(lathe_session_set_input(session, i, input.dtype, input.rank, dims, data[i]));
  }
  CHECK(lathe_session_run(session));
  for (i = 0; i < info.output_count; ++i) {
    lathe_tensor_info tensor;
    lathe_output output;
    CHECK(lathe_module_output(module, i, &tensor));
    CHECK(lathe_session_output(session, i, &output));
    printf("output %s %s ", tensor.name, lathe_dtype_name(output.dtype));
    print_dims(output.rank, output.dims, NULL);
    printf(" checksum %g\n", checksum(&output));
  }
  lathe_session_release(session);
  lathe_module_release(module);
  for (i = 0; i < info.input_count; ++i)
    free(data[i]);
  free(data);
  return 0;
}
