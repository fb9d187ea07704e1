// SPDX-License-Identifier: Apache-2.0
#include "lora/low_rank.h"

#include <doctest/doctest.h>

#include <cmath>
#include <random>

#include "lora/dense.h"
#include "lora/eigen.h"

using namespace mu;

namespace {

using Float = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

std::span<const float> values_of(const Float& m) {
  return {m.data(), static_cast<std::size_t>(m.size())};
}

Eigen::MatrixXd orthonormal(Eigen::Index rows, Eigen::Index columns, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal;
  Eigen::MatrixXd m(rows, columns);
  for (Eigen::Index i = 0; i < m.size(); ++i) m.data()[i] = normal(random);
  return Eigen::HouseholderQR<Eigen::MatrixXd>(m).householderQ() * Eigen::MatrixXd::Identity(rows, columns);
}

// A matrix with these singular values.
Float with_spectrum(Eigen::Index m, Eigen::Index n, const std::vector<double>& s) {
  const auto k = static_cast<Eigen::Index>(s.size());
  return (orthonormal(m, k, 1) * Eigen::Map<const Eigen::VectorXd>(s.data(), k).asDiagonal() *
          orthonormal(n, k, 2).transpose())
      .cast<float>();
}

double error_of(const Products& products, const Float& a, const LowRank& found) {
  return std::sqrt(squared_error(products, values_of(a), static_cast<std::size_t>(a.rows()),
                                 static_cast<std::size_t>(a.cols()), found.left, found.right, found.rank, 1));
}

LowRank run(const Products& products, const Float& a, LowRankOptions options) {
  return approximate(products, values_of(a), static_cast<std::size_t>(a.rows()),
                     static_cast<std::size_t>(a.cols()), options);
}

}  // namespace

TEST_CASE("known spectra are met to the requested gap, in every shape") {
  const Products products("auto");
  for (const auto& [m, n] :
       {std::pair<Eigen::Index, Eigen::Index>{400, 300}, {300, 700}, {37, 5}, {1, 50}, {50, 1}}) {
    for (const double power : {1.0, 0.5, 0.25, 0.0}) {
      std::vector<double> s;
      for (Eigen::Index i = 1; i <= std::min(m, n); ++i)
        s.push_back(std::pow(static_cast<double>(i), -power));
      const Float a = with_spectrum(m, n, s);
      for (const std::size_t rank : {1U, 8U, 16U, 64U}) {
        CAPTURE(m);
        CAPTURE(n);
        CAPTURE(power);
        CAPTURE(rank);
        const LowRank found = run(products, a, {.rank = rank});
        double tail = 0, total = 0;
        for (std::size_t i = 0; i < s.size(); ++i) total += s[i] * s[i], tail += i >= rank ? s[i] * s[i] : 0;
        CHECK(found.rank == std::min<std::size_t>(rank, s.size()));
        CHECK(found.total == doctest::Approx(total).epsilon(1e-4));
        CHECK(error_of(products, a, found) <= std::sqrt(tail) * 1.005 + 2e-6 * std::sqrt(total));
        CHECK(found.captured <= (total - tail) * (1 + 1e-4));
      }
    }
  }
}

TEST_CASE("a matrix of low rank is found exactly, with no more than its rank") {
  const Products products("auto");
  const Float a = with_spectrum(500, 400, {3, 2, 1, 0.5, 0.25, 0.1, 0.01});
  for (const std::size_t rank : {7U, 32U, 64U}) {
    const LowRank found = run(products, a, {.rank = rank});
    CHECK(found.rank == 7);
    CHECK(found.values[6] == doctest::Approx(0.01).epsilon(1e-3));
    CHECK(error_of(products, a, found) <= 4e-6 * std::sqrt(found.total));
    CHECK(found.gap <= 0.0025);
  }
  CHECK(run(products, Float::Zero(300, 200), {.rank = 8}).rank == 0);
}

TEST_CASE("any number of threads gives the same bits, every seed its own") {
  const Products products("auto");
  std::vector<double> s;
  for (int i = 1; i <= 600; ++i) s.push_back(1.0 / std::sqrt(i));
  const Float a = with_spectrum(1100, 600, s);
  const LowRank one = run(products, a, {.rank = 32, .threads = 1});
  for (const unsigned threads : {2U, 5U}) {
    const LowRank many = run(products, a, {.rank = 32, .threads = threads});
    CHECK(many.left == one.left);
    CHECK(many.right == one.right);
    CHECK(many.values == one.values);
  }
  CHECK(run(products, a, {.rank = 32, .seed = 1}).left != one.left);
}

TEST_CASE("kernels agree, and --kernel names the one that runs") {
  std::vector<double> s;
  for (int i = 1; i <= 200; ++i) s.push_back(1.0 / i);
  const Float a = with_spectrum(300, 200, s);
  for (const std::string_view kernel : {"baseline", "avx2", "avx512", "neon"}) {
    try {
      const Products products(kernel);
      CHECK(products.name() == kernel);
      CHECK(error_of(products, a, run(products, a, {.rank = 16})) ==
            doctest::Approx(error_of(Products("baseline"), a, run(Products("baseline"), a, {.rank = 16})))
                .epsilon(1e-3));
    } catch (const std::exception&) {  // not on this machine
      CHECK(kernel != "baseline");
    }
  }
  CHECK_THROWS(Products("sse9"));
}

TEST_CASE("eigenpairs of a symmetric matrix, largest first; the spectral norm from below") {
  const Eigen::MatrixXd q = orthonormal(20, 20, 3);
  Eigen::VectorXd values(20);
  for (Eigen::Index i = 0; i < 20; ++i) values[i] = 10 - static_cast<double>(i);
  const Eigen::MatrixXd matrix = q * values.asDiagonal() * q.transpose();
  const SymmetricEigen eigen = symmetric_eigen({matrix.data(), 400}, 20);
  const std::vector<double> alone = symmetric_eigenvalues({matrix.data(), 400}, 20);
  for (std::size_t k = 0; k < 20; ++k) {
    CHECK(eigen.values[k] == doctest::Approx(10.0 - static_cast<double>(k)));
    CHECK(alone[k] == doctest::Approx(10.0 - static_cast<double>(k)));
    const Eigen::Map<const Eigen::VectorXd> v(eigen.vectors.data() + k * 20, 20);
    CHECK((matrix * v - eigen.values[k] * v).norm() < 1e-9);
  }
  const Products products("auto");
  const Float a = with_spectrum(300, 200, {5, 3, 1});
  CHECK(spectral_norm(products, values_of(a), 300, 200, 0, 6, 1) == doctest::Approx(5).epsilon(1e-4));
}
