# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
#
# One way to compile and link against MLIR: the shared libraries MLIR and LLVM, and only those, since mixing in static
# archives gives two copies of the registries. One precompiled header of MLIR's core serves every target.

add_library(lathe_mlir INTERFACE)
target_include_directories(lathe_mlir SYSTEM INTERFACE ${MLIR_INCLUDE_DIRS} ${LLVM_INCLUDE_DIRS})
target_link_libraries(lathe_mlir INTERFACE lathe_options MLIR LLVM)
target_compile_options(lathe_mlir INTERFACE -fno-exceptions
  "$<$<COMPILE_LANG_AND_ID:CXX,Clang>:SHELL:-Xclang -fno-pch-timestamp>") # else no two precompiled headers are the same
target_compile_definitions(lathe_mlir INTERFACE ${LLVM_DEFINITIONS_LIST})

file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/lathe_pch.cpp CONTENT "// Carrier of the precompiled header.\n") # kept where it is the same
add_library(lathe_pch OBJECT ${CMAKE_BINARY_DIR}/lathe_pch.cpp)
target_link_libraries(lathe_pch PRIVATE lathe_mlir)
target_precompile_headers(lathe_pch PRIVATE
  <mlir/Dialect/Arith/IR/Arith.h> <mlir/Dialect/Func/IR/FuncOps.h> <mlir/IR/BuiltinOps.h> <mlir/IR/Builders.h>
  <mlir/IR/OpImplementation.h> <mlir/IR/PatternMatch.h> <mlir/Pass/Pass.h> <mlir/Dialect/Linalg/IR/Linalg.h>
  <mlir/Dialect/SCF/IR/SCF.h> <mlir/Dialect/MemRef/IR/MemRef.h> <mlir/Dialect/Tensor/IR/Tensor.h>)

# lathe_mlir_library(NAME file.cpp… [DEPENDS targets…] [LINK targets…]): a static library of MLIR code.
function(lathe_mlir_library name)
  cmake_parse_arguments(ARG "" "" "DEPENDS;LINK" ${ARGN})
  add_library(${name} STATIC ${ARG_UNPARSED_ARGUMENTS})
  target_link_libraries(${name} PUBLIC lathe_mlir ${ARG_LINK})
  target_precompile_headers(${name} REUSE_FROM lathe_pch)
  if(ARG_DEPENDS)
    add_dependencies(${name} ${ARG_DEPENDS})
  endif()
endfunction()

# lathe_tablegen(TARGET source.td  output.inc -gen-flag …  output.inc -gen-flag …)
function(lathe_tablegen target source)
  set(LLVM_TARGET_DEFINITIONS ${source})
  list(LENGTH ARGN count)
  set(i 0)
  while(i LESS count)
    list(GET ARGN ${i} output)
    math(EXPR j "${i}+1")
    list(GET ARGN ${j} flags)
    separate_arguments(flags)
    mlir_tablegen(${output} ${flags} EXTRA_INCLUDES ${CMAKE_SOURCE_DIR} ${MLIR_INCLUDE_DIRS})
    math(EXPR i "${i}+2")
  endwhile()
  add_public_tablegen_target(${target})
endfunction()
