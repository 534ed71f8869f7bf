# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
# Run when the wheel is put together: fills CMAKE_INSTALL_PREFIX from LATHE_BUILD_DIR.

set(native ${CMAKE_INSTALL_PREFIX})
foreach(component runtime tools)
  execute_process(COMMAND ${CMAKE_COMMAND} --install ${LATHE_BUILD_DIR} --prefix ${native} --component ${component} --strip
    OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)
endforeach()
file(REMOVE ${native}/bin/lathe-opt) # for those who write passes, who have a build
file(REMOVE_RECURSE ${native}/share)

file(GLOB_RECURSE installed ${native}/*)
set(programs "")
set(libraries "")
set(folders ${native}/lib ${native}/lib/lathe)
foreach(file ${installed})
  if(IS_SYMLINK ${file})
    continue()
  elseif(file MATCHES "\\.so")
    list(APPEND libraries ${file})
  elseif(file MATCHES "/bin/")
    list(APPEND programs ${file})
  endif()
endforeach()

# A wheel has no links: one file for each name by which it is loaded.
file(GLOB links ${native}/lib/*.so.*)
foreach(link ${links})
  if(IS_SYMLINK ${link})
    get_filename_component(target ${link} REALPATH)
    file(REMOVE ${link})
    file(RENAME ${target} ${link})
    list(REMOVE_ITEM libraries ${target})
    list(APPEND libraries ${link})
  endif()
endforeach()

# What every Linux has, by the list of manylinux (PEP 600); all else travels along.
set(everywhere "^lib(c|m|dl|rt|pthread|gcc_s|stdc\\+\\+|util|resolv|atomic)\\.so" "^ld-linux" "^linux-vdso")
file(GET_RUNTIME_DEPENDENCIES EXECUTABLES ${programs} LIBRARIES ${libraries} DIRECTORIES ${folders}
  RESOLVED_DEPENDENCIES_VAR needed UNRESOLVED_DEPENDENCIES_VAR missing PRE_EXCLUDE_REGEXES ${everywhere})
if(missing)
  message(FATAL_ERROR "the wheel needs libraries that were not found: ${missing}")
endif()
foreach(file ${needed})
  string(FIND ${file} ${native}/ inside)
  if(inside EQUAL 0)
    continue()
  endif()
  get_filename_component(name ${file} NAME)
  get_filename_component(real ${file} REALPATH)
  file(COPY_FILE ${real} ${native}/lib/${name})
  file(CHMOD ${native}/lib/${name} PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ WORLD_READ)
  list(APPEND libraries ${native}/lib/${name})
endforeach()

# Each finds the others wherever the wheel is installed.
foreach(file ${libraries})
  set(rpath "$ORIGIN")
  if(file MATCHES "/lib/lathe/")
    set(rpath "$ORIGIN/..")
  elseif(file MATCHES "/liblathe")
    set(rpath "$ORIGIN:$ORIGIN/lathe")
  endif()
  execute_process(COMMAND ${PATCHELF} --set-rpath ${rpath} ${file} COMMAND_ERROR_IS_FATAL ANY)
endforeach()
foreach(file ${programs})
  execute_process(COMMAND ${PATCHELF} --set-rpath "$ORIGIN/../lib" ${file} COMMAND_ERROR_IS_FATAL ANY)
endforeach()
