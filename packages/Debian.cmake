# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
# The Debian packages `lathe` (commands and what programs load) and `liblathe-dev` (what these are compiled with): make deb.

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_VENDOR "Lathe")
set(CPACK_PACKAGE_CONTACT "the developers of Lathe <lathe@localhost>")
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_RESOURCE_FILE_LICENSE ${PROJECT_SOURCE_DIR}/LICENSE)
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)

set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_COMPONENTS_GROUPING ONE_PER_GROUP)
set(CPACK_COMPONENTS_ALL runtime tools dev)
set(CPACK_COMPONENT_RUNTIME_GROUP lathe)
set(CPACK_COMPONENT_TOOLS_GROUP lathe)
set(CPACK_COMPONENT_DEV_GROUP dev)

set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_COMPRESSION_TYPE zstd)
set(CPACK_DEBIAN_LATHE_PACKAGE_NAME lathe)
set(CPACK_DEBIAN_LATHE_PACKAGE_SECTION science)
set(CPACK_DEBIAN_LATHE_DESCRIPTION "graph compiler for Transformer inference
 Compiles ONNX Transformers, quantized, pruned or factorized where asked for,
 to one file that a small library runs on x86-64 processors and NVIDIA GPUs.")
set(CPACK_DEBIAN_DEV_PACKAGE_NAME liblathe-dev)
set(CPACK_DEBIAN_DEV_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEV_PACKAGE_DEPENDS "lathe (= ${PROJECT_VERSION})")
set(CPACK_DEBIAN_DEV_DESCRIPTION "runs compiled Transformer models (development files)
 Headers for C and C++, and what find_package(lathe) and pkg-config need.")

# What Debian has becomes a dependency. oneDNN travels along, in a folder of its own (Debian's is too old).
set(CPACK_DEBIAN_LATHE_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS ${LATHE_DNNL_LIBRARY_DIR} ${PROJECT_BINARY_DIR}/lib)
include(CPack)
