# SPDX-License-Identifier: Apache-2.0
# What `cpack -G DEB` makes of the installed tree; prepare.cmake adds what Debian's policy asks for. Wheels and archives are
# made of the builds for many systems, by the scripts beside this file.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_VENDOR "modelutils")
set(CPACK_PACKAGE_CONTACT "modelutils maintainers <maintainers@modelutils.invalid>" CACHE STRING "maintainer named by packages")
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "coreutils for fine-tuned models")
set(CPACK_PACKAGE_DIRECTORY ${PROJECT_BINARY_DIR}/packages)
set(CPACK_PRE_BUILD_SCRIPTS ${CMAKE_CURRENT_LIST_DIR}/prepare.cmake)
set(CPACK_MU_SOURCE ${PROJECT_SOURCE_DIR})
set(CPACK_MU_LICENCES ${PROJECT_BINARY_DIR}/stage/licences)

set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
# Loaded when the first URL is seen, so that no tool finds it among the linked libraries.
set(CPACK_DEBIAN_PACKAGE_DEPENDS "libcurl4 (>= 7.66)")
if(MU_ARCH STREQUAL "aarch64")  # the linker has stripped, and dpkg-shlibdeps knows libraries of this machine only: this build needs libc alone
  set(CPACK_DEBIAN_PACKAGE_ARCHITECTURE arm64)
  string(PREPEND CPACK_DEBIAN_PACKAGE_DEPENDS "libc6 (>= 2.28), ")
else()
  set(CPACK_STRIP_FILES ON)
  set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
endif()
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_PACKAGE_DESCRIPTION
"Small programs that do what has to be done with model weights once training
has written them: look into them, pack them as safetensors, write the model
card, publish on the Hugging Face Hub, and delete checkpoints that are not
worth keeping. No Python and no framework is needed.")
include(CPack)
