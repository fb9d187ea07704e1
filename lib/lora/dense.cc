// SPDX-License-Identifier: Apache-2.0
#include "lora/dense.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numbers>

#include "lora/eigen.h"

namespace mu {
namespace {

using Matrix = Eigen::MatrixXd;
template <class T>
using RowMajor = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

Matrix matrix_of(const std::vector<double>& values, std::size_t rows, std::size_t columns) {
  return Eigen::Map<const RowMajor<double>>(values.data(), static_cast<Eigen::Index>(rows),
                                            static_cast<Eigen::Index>(columns));
}

struct Delta {
  Matrix a, b;

  explicit Delta(const Factors& factors)
      : a(matrix_of(factors.a, factors.rank, factors.columns)),
        b(matrix_of(factors.b, factors.rows, factors.rank)) {}
};

// <B1 A1, B2 A2> without computing either product.
double inner(const Delta& x, const Delta& y) {
  return ((x.b.transpose() * y.b).array() * (x.a * y.a.transpose()).array()).sum();
}

// An orthonormal basis of the columns.
Matrix basis(const Matrix& m) {
  Eigen::ColPivHouseholderQR<Matrix> qr(m);
  qr.setThreshold(1e-7);
  return qr.householderQ() * Matrix::Identity(m.rows(), qr.rank());
}

void compare_spaces(const Delta& x, const Delta& y, DeltaComparison& out) {
  const Matrix p = basis(x.b), q = basis(y.b);
  const Eigen::Index count = std::min(p.cols(), q.cols());
  if (count == 0) return;
  const Eigen::VectorXd cosines = Eigen::JacobiSVD<Matrix>(p.transpose() * q).singularValues();
  for (Eigen::Index i = 0; i < count; ++i) {
    const double angle = std::acos(std::clamp(cosines[i], -1.0, 1.0)) * 180 / std::numbers::pi;
    out.largest_angle = std::max(out.largest_angle, angle);
    out.mean_angle += angle / static_cast<double>(count);
  }
}

// The matrix row-major in [rows, columns], padded with zeros.
std::vector<float> padded(const Matrix& m, std::size_t rows, std::size_t columns) {
  std::vector<float> values(rows * columns);
  for (Eigen::Index i = 0; i < std::min<Eigen::Index>(m.rows(), static_cast<Eigen::Index>(rows)); ++i) {
    for (Eigen::Index k = 0; k < std::min<Eigen::Index>(m.cols(), static_cast<Eigen::Index>(columns)); ++k)
      values[static_cast<std::size_t>(i) * columns + static_cast<std::size_t>(k)] =
          static_cast<float>(m(i, k));
  }
  return values;
}

}  // namespace

std::vector<double> symmetric_eigenvalues(std::span<const double> matrix, std::size_t n) {
  const auto size = static_cast<Eigen::Index>(n);
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(
      Eigen::Map<const Eigen::MatrixXd>(matrix.data(), size, size), Eigen::EigenvaluesOnly);
  const Eigen::VectorXd& ascending = solver.eigenvalues();
  return {std::reverse_iterator(ascending.data() + size), std::reverse_iterator(ascending.data())};
}

SymmetricEigen symmetric_eigen(std::span<const double> matrix, std::size_t n) {
  const auto size = static_cast<Eigen::Index>(n);
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(
      Eigen::Map<const Eigen::MatrixXd>(matrix.data(), size, size));
  SymmetricEigen result;
  result.vectors.resize(n * n);
  for (std::size_t k = 0; k < n; ++k) {
    const auto from = static_cast<Eigen::Index>(n - 1 - k);
    result.values.push_back(solver.eigenvalues()[from]);
    for (std::size_t i = 0; i < n; ++i)
      result.vectors[k * n + i] = solver.eigenvectors()(static_cast<Eigen::Index>(i), from);
  }
  return result;
}

LowRank approximate_dense(std::span<const float> a, std::size_t m, std::size_t n, std::size_t rank,
                          double total) {
  const RowMajor<double> matrix =
      Eigen::Map<const RowMajor<float>>(a.data(), static_cast<Eigen::Index>(m), static_cast<Eigen::Index>(n))
          .cast<double>();
  const bool wide = m <= n;
  const std::size_t size = std::min(m, n);
  const RowMajor<double> product =
      wide ? RowMajor<double>(matrix * matrix.transpose()) : RowMajor<double>(matrix.transpose() * matrix);
  const SymmetricEigen eigen =
      symmetric_eigen(std::span(product.data(), static_cast<std::size_t>(product.size())), size);
  LowRank result;
  result.total = total;
  for (const double value : eigen.values) result.values.push_back(std::sqrt(std::max(0.0, value)));
  std::size_t kept = std::min(rank, size);
  while (kept > 0 && result.values[kept - 1] <= 1e-7 * result.values[0]) --kept;
  result.rank = kept;
  result.left.resize(m * kept);
  result.right.resize(kept * n);
  for (std::size_t k = 0; k < kept; ++k) {
    result.captured += result.values[k] * result.values[k];
    const Eigen::Map<const Eigen::VectorXd> vector(eigen.vectors.data() + k * size,
                                                   static_cast<Eigen::Index>(size));
    const Eigen::VectorXd other =
        wide ? Eigen::VectorXd(matrix.transpose() * vector) : Eigen::VectorXd(matrix * vector);
    const double root = std::sqrt(result.values[k]);
    for (std::size_t i = 0; i < m; ++i) {
      const auto at = static_cast<Eigen::Index>(i);
      result.left[i * kept + k] = static_cast<float>(wide ? vector[at] * root : other[at] / root);
    }
    for (std::size_t i = 0; i < n; ++i) {
      const auto at = static_cast<Eigen::Index>(i);
      result.right[k * n + i] = static_cast<float>(wide ? other[at] / root : vector[at] * root);
    }
  }
  return result;
}

DeltaComparison compare_deltas(const Factors& a, const Factors& b) {
  const Delta left(a), right(b);
  const double aa = inner(left, left), bb = inner(right, right), ab = inner(left, right);
  const double largest = std::max(aa, bb);
  // aa - 2 ab + bb would cancel; the norm of [B1, -B2] [A1; A2] does not.
  Matrix columns(left.b.rows(), left.b.cols() + right.b.cols()),
      rows(left.a.rows() + right.a.rows(), left.a.cols());
  columns << left.b, -right.b;
  rows << left.a, right.a;
  const Matrix small = Matrix(Eigen::HouseholderQR<Matrix>(columns)
                                  .matrixQR()
                                  .topRows(std::min(columns.rows(), columns.cols()))
                                  .triangularView<Eigen::Upper>()) *
                       rows;
  DeltaComparison result;
  result.distance = largest > 0 ? small.norm() / std::sqrt(largest) : 0;
  result.cosine = aa > 0 && bb > 0 ? ab / std::sqrt(aa * bb) : 0;
  compare_spaces(left, right, result);
  return result;
}

CutDelta cut_delta(const Factors& factors, std::size_t rank) {
  const Delta delta(factors);
  const Eigen::HouseholderQR<Matrix> left(delta.b), right(delta.a.transpose());
  const Eigen::Index rows = std::min(delta.b.rows(), delta.b.cols()),
                     columns = std::min(delta.a.rows(), delta.a.cols());
  const Matrix r_left = left.matrixQR().topRows(rows).template triangularView<Eigen::Upper>();
  const Matrix r_right = right.matrixQR().topRows(columns).template triangularView<Eigen::Upper>();
  const Eigen::JacobiSVD<Matrix> svd(r_left * r_right.transpose(), Eigen::ComputeThinU | Eigen::ComputeThinV);
  const Eigen::VectorXd& s = svd.singularValues();
  Eigen::Index kept = std::min<Eigen::Index>(static_cast<Eigen::Index>(rank), s.size());
  while (kept > 0 && s[kept - 1] <= 1e-12 * s[0]) --kept;
  const Eigen::VectorXd roots = s.head(kept).cwiseSqrt();
  const Matrix q_left = left.householderQ() * Matrix::Identity(delta.b.rows(), rows);
  const Matrix q_right = right.householderQ() * Matrix::Identity(delta.a.cols(), columns);
  CutDelta cut;
  cut.b = padded(q_left * svd.matrixU().leftCols(kept) * roots.asDiagonal(), factors.rows, rank);
  cut.a = padded(roots.asDiagonal() * svd.matrixV().leftCols(kept).transpose() * q_right.transpose(), rank,
                 factors.columns);
  const double total = s.squaredNorm();
  cut.rank = static_cast<std::size_t>(kept);
  cut.error = total > 0 ? std::sqrt(std::max(0.0, total - s.head(kept).squaredNorm()) / total) : 0;
  return cut;
}

}  // namespace mu
