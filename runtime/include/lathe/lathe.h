/*===- lathe.h - C interface of the Lathe runtime ----------------*- C -*-===*
 *
 * Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
 *
 * A module is an artifact loaded into the process: immutable, and safe to use from any number of threads. A session
 * runs a module: sessions are cheap and independent of each other, and each is used by one thread at a time.
 *
 * Conventions, unless a function says otherwise:
 *  - every function that can fail returns a lathe_status; lathe_last_error() then describes the failure;
 *  - out-parameters are set to NULL or zero before anything else happens, and stay so on failure;
 *  - a NULL module, session or out-parameter is LATHE_INVALID_ARGUMENT; releasing NULL does nothing;
 *  - strings are UTF-8, zero-terminated, and belong to the object that returned them;
 *  - structures with a `struct_size` member must be initialised by their *_init function, which lets old callers work
 *    with newer libraries.
 *
 *===----------------------------------------------------------------------===*/
#ifndef LATHE_LATHE_H
#define LATHE_LATHE_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define LATHE_API __attribute__((visibility("default")))
#else
#define LATHE_API
#endif

/* In C every int is a value of an enumeration; in C++ only with a fixed type. */
#ifdef __cplusplus
#define LATHE_ENUM_TYPE : int
extern "C" {
#else
#define LATHE_ENUM_TYPE
#endif

/** Result of every call that can fail. */
typedef enum lathe_status LATHE_ENUM_TYPE {
  LATHE_OK = 0,
  LATHE_INVALID_ARGUMENT = 1,    /**< bad index, name, rank, type, shape or range of an argument */
  LATHE_NOT_FOUND = 2,           /**< the file does not exist, or no device or code of that name is in the artifact */
  LATHE_INVALID_ARTIFACT = 3,    /**< not an artifact, truncated or corrupt */
  LATHE_UNSUPPORTED_VERSION = 4, /**< made for another version of the format or of the runtime */
  LATHE_UNSUPPORTED_DEVICE = 5,  /**< this machine cannot execute any (or the requested) code of the artifact */
  LATHE_OUT_OF_MEMORY = 6,
  LATHE_OVER_BUDGET = 7,     /**< a limit that the caller set would be passed */
  LATHE_IO_ERROR = 8,        /**< the operating system failed to open, read or map a file */
  LATHE_EXECUTION_ERROR = 9, /**< a check of the model failed at run time, such as an index out of range */
  LATHE_INTERNAL = 10,       /**< a defect of the runtime or of the artifact's code */
  LATHE_DEVICE_LOST = 11     /**< a device failed, or a kernel on it; what the process has there can't be used any more */
} lathe_status;

/** Element types of tensors. The values are part of the artifact's code and never change. */
typedef enum lathe_dtype LATHE_ENUM_TYPE {
  LATHE_F32 = 0,
  LATHE_F16 = 1,
  LATHE_BF16 = 2,
  LATHE_F64 = 3,
  LATHE_I8 = 4,
  LATHE_I16 = 5,
  LATHE_I32 = 6,
  LATHE_I64 = 7,
  LATHE_U8 = 8,
  LATHE_U16 = 9,
  LATHE_U32 = 10,
  LATHE_U64 = 11,
  LATHE_BOOL = 12, /**< one byte, 0 or 1 */
  LATHE_F8E4M3FN = 13,
  LATHE_F8E4M3FNUZ = 14,
  LATHE_F8E5M2 = 15,
  LATHE_F8E5M2FNUZ = 16,
  LATHE_I4 = 17, /**< one value a byte, sign-extended; of an input's bytes the lower four bits count */
  LATHE_U4 = 18, /**< one value a byte; likewise */
  LATHE_I2 = 19, /**< one value a byte, sign-extended; of an input's bytes the lower two bits count */
  LATHE_U2 = 20, /**< one value a byte; likewise */
  LATHE_F8E4M3 = 21
} lathe_dtype;

typedef struct lathe_module lathe_module;
typedef struct lathe_session lathe_session;

/*===----------------------------------------------------------------------===*
 * Library. All functions here may be called from any thread.
 *===----------------------------------------------------------------------===*/

/** Version of the library, such as "0.1.0". Never NULL; static. */
LATHE_API const char *lathe_version(void);

/** Short name of a status, such as "invalid argument". Never NULL; static. */
LATHE_API const char *lathe_status_string(lathe_status status);

/** Describes the most recent failure of a call made by this thread; "" when there was none. Never NULL; valid until
 *  the next failing call of this thread. Successful calls leave it alone. */
LATHE_API const char *lathe_last_error(void);

/** Name of a data type as in the manifest, such as "f32"; NULL for a value that is none. Static. */
LATHE_API const char *lathe_dtype_name(lathe_dtype dtype);

/** Bytes of one element; 0 for a value that is none. */
LATHE_API size_t lathe_dtype_size(lathe_dtype dtype);

/*===----------------------------------------------------------------------===*
 * Modules
 *===----------------------------------------------------------------------===*/

typedef struct lathe_load_options {
  size_t struct_size;
  /** Non-zero: check every byte of the file against its hashes, which reads all of it. The header, the manifest and
   *  the code that is used are checked always. */
  int32_t verify;
  /** Device to run on: one that the artifact is for, NULL for its first; "auto" for an accelerator where the artifact is for one that works
   *  here, else the processor; "cuda-emulator" to run the kernels for "cuda" on the processor, slowly; "none" to look into the artifact on any machine: what it has
   *  for its first device is described, and no session can be created. */
  const char *device;
  /** Instruction set to use: "avx2", "avx512", "avx512_bf16" for products of bf16 weights in bf16, or "amx" for
   *  products by tiles; NULL for the best one that the machine has. The environment variable
   *  LATHE_ISA says the same where this is NULL. */
  const char *isa;
  /** Upper limit of the module's memory in bytes (the mapped file and private copies of weights); 0 for none. */
  uint64_t memory_budget;
  /** Non-zero: products of f32 may round their operands to TF32, 10 bits behind the first, where the device has faster instructions for
   *  that (GPUs; nothing changes on processors). */
  int32_t tf32;
} lathe_load_options;

/** Sets every member of `options` to its default. */
LATHE_API void lathe_load_options_init(lathe_load_options *options);

/** Loads an artifact. `options` may be NULL. On success *module is owned by the caller: lathe_module_release.
 *  The file is mapped, not read: it must not be changed while the module lives (replacing it by rename is fine).
 *  An artifact holds native code: load only files that you trust as you would trust a program. Thread-safe.
 *  Errors: NOT_FOUND, IO_ERROR, INVALID_ARTIFACT, UNSUPPORTED_VERSION, UNSUPPORTED_DEVICE, OVER_BUDGET, OUT_OF_MEMORY,
 *  INVALID_ARGUMENT. */
LATHE_API lathe_status lathe_module_load(const char *path, const lathe_load_options *options, lathe_module **module);

/** Drops the caller's reference. Sessions keep what they need of the module alive. Thread-safe; accepts NULL. */
LATHE_API void lathe_module_release(lathe_module *module);

typedef struct lathe_module_info {
  size_t struct_size;
  size_t input_count;
  size_t output_count;
  size_t symbol_count;
  size_t device_count;
  size_t kernel_count;
  const char *device;       /**< chosen device */
  const char *isa;          /**< chosen instruction set */
  const char *manifest;     /**< the manifest, JSON (docs/artifact.md) */
  size_t manifest_size;     /**< in bytes, without the terminating zero */
  uint64_t file_bytes;      /**< size of the artifact */
  uint64_t constants_bytes; /**< of them, constants */
  uint64_t private_bytes;   /**< weights copied so far: into private memory, because the machine wants another layout, or to a device */
} lathe_module_info;

/** Sets every member of `info` to zero and its size. */
LATHE_API void lathe_module_info_init(lathe_module_info *info);

/** Describes the module. Strings live as long as the module. Thread-safe. */
LATHE_API lathe_status lathe_module_get_info(const lathe_module *module, lathe_module_info *info);

/** An input or output. Pointers live as long as the module. */
typedef struct lathe_tensor_info {
  const char *name;
  lathe_dtype dtype;
  size_t rank;
  const int64_t *dims;          /**< `rank` values; -1 where the dimension is symbolic */
  const char *const *dim_texts; /**< `rank` texts: the number, symbol or expression */
} lathe_tensor_info;

/** Describes input `index`. Thread-safe. Errors: INVALID_ARGUMENT (index). */
LATHE_API lathe_status lathe_module_input(const lathe_module *module, size_t index, lathe_tensor_info *info);

/** Describes output `index`. Thread-safe. Errors: INVALID_ARGUMENT (index). */
LATHE_API lathe_status lathe_module_output(const lathe_module *module, size_t index, lathe_tensor_info *info);

/** Finds the input called `name`. Thread-safe. Errors: NOT_FOUND; the message lists the names. */
LATHE_API lathe_status lathe_module_find_input(const lathe_module *module, const char *name, size_t *index);

/** Finds the output called `name`. Thread-safe. Errors: NOT_FOUND; the message lists the names. */
LATHE_API lathe_status lathe_module_find_output(const lathe_module *module, const char *name, size_t *index);

/** A symbolic dimension. */
typedef struct lathe_symbol_info {
  const char *name;
  int64_t min; /**< smallest value, inclusive */
  int64_t max; /**< largest value, inclusive; INT64_MAX for no limit */
} lathe_symbol_info;

/** Describes symbolic dimension `index`. Thread-safe. Errors: INVALID_ARGUMENT (index). */
LATHE_API lathe_status lathe_module_symbol(const lathe_module *module, size_t index, lathe_symbol_info *info);

/** An artifact holds one program or several over the same weights: `main`, which is the model, and with index 0, and those
 *  that the compiler added, such as the steps of a generation. A session runs one of them; what above describes inputs,
 *  outputs and symbols is of `main`. */
typedef struct lathe_program_info {
  size_t struct_size;
  const char *name; /**< lives as long as the module */
  size_t input_count;
  size_t output_count;
  size_t symbol_count;
  size_t kernel_count;
} lathe_program_info;

/** Sets every member of `info` to zero and its size. */
LATHE_API void lathe_program_info_init(lathe_program_info *info);

/** Number of programs, at least 1. Thread-safe. */
LATHE_API lathe_status lathe_module_program_count(const lathe_module *module, size_t *count);

/** Describes program `index`. Thread-safe. Errors: INVALID_ARGUMENT (index). */
LATHE_API lathe_status lathe_module_program_info(const lathe_module *module, size_t index, lathe_program_info *info);

/** Finds the program called `name`. Thread-safe. Errors: NOT_FOUND; the message lists the names. */
LATHE_API lathe_status lathe_module_find_program(const lathe_module *module, const char *name, size_t *index);

/** As the functions without `program` in their names, but of program `program`. Thread-safe. Errors: INVALID_ARGUMENT
 *  (an index), NOT_FOUND (a name). */
LATHE_API lathe_status lathe_module_program_input(const lathe_module *module, size_t program, size_t index,
                                                  lathe_tensor_info *info);
LATHE_API lathe_status lathe_module_program_output(const lathe_module *module, size_t program, size_t index,
                                                   lathe_tensor_info *info);
LATHE_API lathe_status lathe_module_program_find_input(const lathe_module *module, size_t program, const char *name,
                                                       size_t *index);
LATHE_API lathe_status lathe_module_program_find_output(const lathe_module *module, size_t program, const char *name,
                                                        size_t *index);
LATHE_API lathe_status lathe_module_program_symbol(const lathe_module *module, size_t program, size_t index,
                                                   lathe_symbol_info *info);

/** A file that travels with the model: what `lathe compile --tokenizer` and `--generation-config` put into the
 * artifact. */
typedef struct lathe_document {
  const char *name;   /**< "tokenizer" or "generation_config" */
  const char *format; /**< how it is written: "tokenizer.json", "sentencepiece" or "generation_config.json" */
  const void *data;   /**< its bytes, and a zero */
  size_t size;        /**< without the zero */
} lathe_document;

/** Number of documents, which may be 0. Thread-safe. */
LATHE_API lathe_status lathe_module_document_count(const lathe_module *module, size_t *count);

/** Gives document `index`, whose pointers live as long as the module. Its bytes are compared with their hash, each
 * time. lathe_tokenizer_load_memory (tokenizer.h) takes those of a tokenizer, and the `json` of a
 * lathe_generation_config those of a generation_config. Thread-safe. Errors: INVALID_ARGUMENT (index), INVALID_ARTIFACT
 * (it is corrupt). */
LATHE_API lathe_status lathe_module_document(const lathe_module *module, size_t index, lathe_document *document);

/** Finds the document called `name`. Thread-safe. Errors: NOT_FOUND; the message lists the names. */
LATHE_API lathe_status lathe_module_find_document(const lathe_module *module, const char *name, size_t *index);

/** Name of device `index` of those the artifact was made for. Thread-safe. Errors: INVALID_ARGUMENT (index). */
LATHE_API lathe_status lathe_module_device(const lathe_module *module, size_t index, const char **name);

/*===----------------------------------------------------------------------===*
 * Sessions. A session is used by one thread at a time; different sessions are independent.
 *===----------------------------------------------------------------------===*/

typedef struct lathe_session_options {
  size_t struct_size;
  /** Threads that a run uses, the calling one included; 0 for as many as the processors that the process may use. */
  int32_t threads;
  /** Non-zero: profiling is on from the start. */
  int32_t profile;
  /** Upper limit of the session's memory in bytes (arena, outputs that the runtime owns, scratch); 0 for none. */
  uint64_t memory_budget;
  /** Upper limit of any dimension of an input; 0 for the default, 2^31 - 1. */
  int64_t max_dimension;
  /** Name of the program to run; NULL for `main`. */
  const char *program;
} lathe_session_options;

/** Sets every member of `options` to its default. */
LATHE_API void lathe_session_options_init(lathe_session_options *options);

/** Creates a session. `options` may be NULL. On success *session is owned by the caller: lathe_session_release.
 *  The session owns its worker threads. Thread-safe. Errors: INVALID_ARGUMENT, NOT_FOUND (the program), OUT_OF_MEMORY. */
LATHE_API lathe_status lathe_session_create(lathe_module *module, const lathe_session_options *options,
                                            lathe_session **session);

/** Releases the session, its threads and the outputs it owns. Accepts NULL. */
LATHE_API void lathe_session_release(lathe_session *session);

/** Binds input `index`. `data` is dense, row-major, aligned to its element type, and borrowed: it must stay valid and
 *  unchanged while a run or until another tensor is bound. It may be NULL when the tensor is empty, or to ask for
 *  shapes only. `dims` is copied. The binding stays for later runs. Errors: INVALID_ARGUMENT (index, type, rank, a
 * dimension that is fixed, negative or above the limit). */
LATHE_API lathe_status lathe_session_set_input(lathe_session *session, size_t index, lathe_dtype dtype, size_t rank,
                                               const int64_t *dims, const void *data);

/** Makes runs write output `index` to the caller's buffer of `capacity` bytes, aligned to its element type, which must
 *  stay valid while a run and must not overlap an input; NULL returns to a buffer of the runtime. A run whose output
 *  does not fit fails before anything is executed. Errors: INVALID_ARGUMENT. */
LATHE_API lathe_status lathe_session_set_output(lathe_session *session, size_t index, void *data, size_t capacity);

/** Computes the dimensions of output `index` for the inputs bound now, without a run; one that depends on what the run
 *  computes is -1 until the session has run. *dims points to *rank values and is valid until the next call on this
 *  session. Errors: as lathe_session_run before execution. */
LATHE_API lathe_status lathe_session_output_shape(lathe_session *session, size_t index, size_t *rank,
                                                  const int64_t **dims);

/** Executes the model once. Errors: INVALID_ARGUMENT (an input is missing, or shapes disagree with each other, with the
 *  model or with its ranges), OVER_BUDGET, OUT_OF_MEMORY (of a device, too; the session stays usable), EXECUTION_ERROR (a check of the model
 *  failed; outputs then hold unspecified values), DEVICE_LOST, INTERNAL. */
LATHE_API lathe_status lathe_session_run(lathe_session *session);

/** Does for the inputs bound now what the first run would do before it computes: reserves memory, plans the library's calls
 *  and copies weights that it wants in another layout. Later runs with these shapes are then as fast as any, and
 *  lathe_session_get_memory_info tells what they hold. Of a model whose run computes shapes, only what is known before is done.
 *  Errors: as lathe_session_run, but EXECUTION_ERROR. */
LATHE_API lathe_status lathe_session_prepare(lathe_session *session);

/** An output of the last successful run. */
typedef struct lathe_output {
  void *data; /**< the runtime's buffer, valid until the next run or release, or the caller's own */
  lathe_dtype dtype;
  size_t rank;
  const int64_t *dims; /**< valid until the next run or binding */
  size_t size;         /**< in bytes */
} lathe_output;

/** Gives output `index` of the last run. Errors: INVALID_ARGUMENT (index, or there was no successful run). */
LATHE_API lathe_status lathe_session_output(lathe_session *session, size_t index, lathe_output *output);

/** Bytes that the session holds now and counts against its budget. */
LATHE_API lathe_status lathe_session_memory(const lathe_session *session, uint64_t *bytes);

/** What a session holds now, in bytes. */
typedef struct lathe_memory_info {
  size_t struct_size;
  uint64_t arena_bytes;   /**< intermediate values */
  uint64_t output_bytes;  /**< outputs that the runtime owns */
  uint64_t scratch_bytes; /**< the rest: of the library, for each thread, and values whose sizes runs compute */
} lathe_memory_info;

/** Sets struct_size; required before lathe_session_get_memory_info. */
LATHE_API void lathe_memory_info_init(lathe_memory_info *info);

/** Tells what lathe_session_memory is the sum of. Errors: INVALID_ARGUMENT. */
LATHE_API lathe_status lathe_session_get_memory_info(const lathe_session *session, lathe_memory_info *info);

/** Index of the program that the session runs. */
LATHE_API lathe_status lathe_session_program(const lathe_session *session, size_t *index);

/** Number of threads that a run uses. */
LATHE_API lathe_status lathe_session_threads(const lathe_session *session, int32_t *threads);

/** Time spent in one kernel since profiling was enabled or reset. */
typedef struct lathe_kernel_profile {
  const char *name;     /**< lives as long as the module */
  const char *kind;     /**< such as "matmul"; lives as long as the module */
  uint64_t nanoseconds; /**< as seen by the calling thread */
  uint64_t calls;
} lathe_kernel_profile;

/** Turns profiling on or off for later runs. It costs two readings of a clock for each kernel when on, nothing when
 *  off. */
LATHE_API lathe_status lathe_session_set_profiling(lathe_session *session, int32_t enabled);

/** Gives the profile of kernel `index` (0 to kernel_count of the session's program). Errors: INVALID_ARGUMENT (index). */
LATHE_API lathe_status lathe_session_profile(const lathe_session *session, size_t index, lathe_kernel_profile *profile);

/** Told after each call of a kernel, from the thread that runs the session: an index as for lathe_session_profile, when
 *  the call began by a clock that only moves forward, and how long it took, both in nanoseconds. */
typedef void (*lathe_trace_fn)(void *context, size_t kernel, uint64_t start, uint64_t nanoseconds);

/** Makes runs with profiling on call `trace`, which must not use the session; NULL for none. */
LATHE_API lathe_status lathe_session_set_trace(lathe_session *session, lathe_trace_fn trace, void *context);

/** Sets all profiles to zero. */
LATHE_API lathe_status lathe_session_reset_profile(lathe_session *session);

/** An output of a node of the ONNX model, as a kernel has just computed it. */
typedef struct lathe_kernel_result {
  const char *value; /**< the output's name in the model; lives as long as the module */
  const char *node;  /**< name of the node; lives as long as the module */
  lathe_dtype dtype;
  const void *data; /**< the elements, dense and row-major; valid during the call, after which the memory may be used again */
  size_t elements;
} lathe_kernel_result;

/** Told after each call of a kernel whose result is a value of the model (the last one of several nodes that were fused; others
 *  exist nowhere), from the thread that runs the session: an index as for lathe_session_profile, and the result. A kernel in a loop
 *  is called several times. */
typedef void (*lathe_observe_fn)(void *context, size_t kernel, const lathe_kernel_result *result);

/** Makes later runs call `observe`, which must not use the session; NULL for none. Runs without an observer are those of a session
 *  that never had one: no kernel tests for it. */
LATHE_API lathe_status lathe_session_set_observer(lathe_session *session, lathe_observe_fn observe, void *context);

#ifdef __cplusplus
}
#endif

#endif /* LATHE_LATHE_H */
