// SPDX-License-Identifier: Apache-2.0
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <csignal>

int main(int argc, char** argv) {
  // Under nohup, or as a background job of a shell, some signals come ignored; tests that send them to
  // themselves need their usual meaning.
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) std::signal(signal, SIG_DFL);
  return doctest::Context(argc, argv).run();
}
