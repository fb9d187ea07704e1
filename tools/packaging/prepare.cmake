# SPDX-License-Identifier: Apache-2.0
# Run by CPack over the staged tree, before it is packed, for what Debian's policy asks for: compressed manual pages and
# changelog, a copyright file, why lintian may pass, zsh completions where Debian looks.
set(usr ${CPACK_TEMPORARY_INSTALL_DIRECTORY}/usr)
file(RENAME ${usr}/share/zsh/site-functions ${usr}/share/zsh/vendor-completions)

set(doc ${usr}/share/doc/modelutils)
set(here ${CPACK_MU_SOURCE}/tools/packaging)
file(MAKE_DIRECTORY ${doc})
configure_file(${here}/copyright ${doc}/copyright COPYONLY)
file(STRINGS ${CPACK_MU_SOURCE}/CHANGELOG.md RELEASE REGEX "^## [0-9]" LIMIT_COUNT 1)
string(REGEX REPLACE ".*\\((.*)\\)" "\\1" RELEASE "${RELEASE}")
execute_process(COMMAND date --utc --rfc-email --date=${RELEASE} OUTPUT_VARIABLE RELEASE OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
configure_file(${here}/changelog.in ${doc}/changelog @ONLY)
file(MAKE_DIRECTORY ${usr}/share/lintian/overrides)
configure_file(${here}/lintian-overrides ${usr}/share/lintian/overrides/modelutils COPYONLY)
file(GLOB pages ${usr}/share/man/man*/*)
foreach(file ${pages} ${doc}/changelog)
  execute_process(COMMAND gzip -9n ${file} COMMAND_ERROR_IS_FATAL ANY)
endforeach()
