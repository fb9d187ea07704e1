// SPDX-License-Identifier: Apache-2.0
#include "lora/compare.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numbers>

#define EIGEN_MPL2_ONLY
#define EIGEN_DONT_PARALLELIZE
#include <Eigen/Dense>

#include "base/error.h"
#include "base/text.h"
#include "os/interrupt.h"
#include "tensor/cast.h"
#include "tensor/decode.h"
#include "weights/layout.h"

namespace mu {
namespace {

using Matrix = Eigen::MatrixXd;

Matrix load(const Adapter& adapter, const Tensor& tensor) {
  std::vector<std::byte> bytes(static_cast<std::size_t>(tensor.size));
  adapter.weights.read(tensor, 0, bytes);
  std::vector<double> values(static_cast<std::size_t>(tensor.element_count()));
  decode(tensor.dtype, bytes, std::span(values));
  if (!std::all_of(values.begin(), values.end(), [](double v) { return std::isfinite(v); }))
    throw malformed(fmt::format("'{}' holds NaN or infinity", escape_name(tensor.name)))
        .in_file(escape_name(adapter.name));
  return Eigen::Map<const Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>>(
      values.data(), static_cast<Eigen::Index>(tensor.shape[0]), static_cast<Eigen::Index>(tensor.shape[1]));
}

// A delta s B A as its factors.
struct Delta {
  Matrix a, b;  // [r, in], [out, r] with the scale in it

  Delta(const Adapter& adapter, const LoraModule& module)
      : a(load(adapter, *module.a)), b(load(adapter, *module.b)) {
    b *= module.scale;
  }
};

// <B1 A1, B2 A2> without either product.
double inner(const Delta& x, const Delta& y) {
  return ((x.b.transpose() * y.b).array() * (x.a * y.a.transpose()).array()).sum();
}

// An orthonormal basis of the columns.
Matrix basis(const Matrix& m) {
  Eigen::ColPivHouseholderQR<Matrix> qr(m);
  qr.setThreshold(1e-7);
  return qr.householderQ() * Matrix::Identity(m.rows(), qr.rank());
}

void compare_spaces(const Delta& x, const Delta& y, ModuleComparison& out) {
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

std::vector<float> row_major(const Matrix& m, std::uint64_t rows, std::uint64_t columns) {
  std::vector<float> values(static_cast<std::size_t>(rows * columns));
  for (Eigen::Index i = 0; i < std::min<Eigen::Index>(m.rows(), static_cast<Eigen::Index>(rows)); ++i) {
    for (Eigen::Index k = 0; k < std::min<Eigen::Index>(m.cols(), static_cast<Eigen::Index>(columns)); ++k)
      values[static_cast<std::size_t>(i) * columns + static_cast<std::size_t>(k)] =
          static_cast<float>(m(i, k));
  }
  return values;
}

// The largest singular values of a delta, split over both factors and padded with zeros.
struct Cut {
  Matrix a, b;
  ResizedModule report;
};
Cut cut_delta(const Delta& delta, std::uint64_t rank) {
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
  Cut cut;
  cut.b = q_left * svd.matrixU().leftCols(kept) * roots.asDiagonal();
  cut.a = roots.asDiagonal() * svd.matrixV().leftCols(kept).transpose() * q_right.transpose();
  const double total = s.squaredNorm();
  cut.report.rank = static_cast<std::uint64_t>(kept);
  cut.report.error = total > 0 ? std::sqrt(std::max(0.0, total - s.head(kept).squaredNorm()) / total) : 0;
  return cut;
}

Tensor made_tensor(const Tensor& old, std::vector<std::uint64_t> shape, std::vector<float> values) {
  Tensor tensor = old;
  tensor.shape = std::move(shape);
  tensor.size = tensor.element_count() * bits(tensor.dtype) / 8;
  std::vector<std::byte> bytes(static_cast<std::size_t>(tensor.size));
  CastReport report;
  cast(Dtype::kF32, tensor.dtype, std::as_bytes(std::span(values)), bytes, report);
  auto layout = std::make_shared<Layout>();
  layout->compute = [bytes = std::make_shared<const std::vector<std::byte>>(std::move(bytes))](
                        std::uint64_t at, std::span<std::byte> out) {
    std::copy_n(bytes->begin() + static_cast<std::ptrdiff_t>(at), out.size(), out.begin());
  };
  tensor.layout = std::move(layout);
  return tensor;
}

}  // namespace

std::vector<ModuleComparison> compare_adapters(const Adapter& a, const Adapter& b) {
  std::map<std::string, std::pair<const LoraModule*, const LoraModule*>> modules;
  for (const LoraModule& module : a.modules) modules[module.name].first = &module;
  for (const LoraModule& module : b.modules) modules[module.name].second = &module;
  std::vector<ModuleComparison> list;
  for (const auto& [name, pair] : modules) {
    check_interrupt();
    ModuleComparison one{.name = name, .in_a = pair.first != nullptr, .in_b = pair.second != nullptr};
    one.rank_a = one.in_a ? pair.first->rank : 0;
    one.rank_b = one.in_b ? pair.second->rank : 0;
    if (one.in_a && one.in_b) {
      const LoraModule &x = *pair.first, &y = *pair.second;
      if (x.a->shape[1] != y.a->shape[1] || x.b->shape[0] != y.b->shape[0])
        throw malformed(fmt::format("{}: the adapters' deltas differ in shape", escape_name(name)))
            .in_file(escape_name(b.name));
      const Delta left(a, x), right(b, y);
      const double aa = inner(left, left), bb = inner(right, right), ab = inner(left, right);
      const double largest = std::max(aa, bb);
      // In place of aa - 2 ab + bb, which cancels: the norm of [B1, -B2] [A1; A2].
      Matrix columns(left.b.rows(), left.b.cols() + right.b.cols()),
          rows(left.a.rows() + right.a.rows(), left.a.cols());
      columns << left.b, -right.b;
      rows << left.a, right.a;
      const Matrix small = Matrix(Eigen::HouseholderQR<Matrix>(columns)
                                      .matrixQR()
                                      .topRows(std::min(columns.rows(), columns.cols()))
                                      .triangularView<Eigen::Upper>()) *
                           rows;
      one.distance = largest > 0 ? small.norm() / std::sqrt(largest) : 0;
      one.cosine = aa > 0 && bb > 0 ? ab / std::sqrt(aa * bb) : 0;
      compare_spaces(left, right, one);
    } else {
      one.distance = 1;
    }
    list.push_back(std::move(one));
  }
  return list;
}

Resized resize_adapter(const std::shared_ptr<const Adapter>& adapter, Input input, std::uint64_t rank) {
  Resized result;
  std::map<const Tensor*, Tensor> made;
  for (const LoraModule& module : adapter->modules) {
    check_interrupt();
    if (module.a == nullptr || module.b == nullptr || !adapter->config.target_parameters.empty())
      throw malformed(fmt::format("{}: stacks of experts are not resized", escape_name(module.name)))
          .in_file(escape_name(adapter->name));
    Cut cut = cut_delta(Delta(*adapter, module), rank);
    cut.report.name = module.name;
    cut.report.old_rank = module.rank;
    made.emplace(module.a, made_tensor(*module.a, {rank, module.a->shape[1]},
                                       row_major(cut.a, rank, module.a->shape[1])));
    made.emplace(module.b, made_tensor(*module.b, {module.b->shape[0], rank},
                                       row_major(cut.b, module.b->shape[0], rank)));
    // The bias of lora_bias is scaled as the delta is.
    if (module.bias != nullptr && module.scale != 1) {
      std::vector<std::byte> bytes(static_cast<std::size_t>(module.bias->size));
      adapter->weights.read(*module.bias, 0, bytes);
      std::vector<double> values(static_cast<std::size_t>(module.bias->element_count()));
      decode(module.bias->dtype, bytes, std::span(values));
      std::vector<float> scaled;
      for (const double value : values) scaled.push_back(static_cast<float>(value * module.scale));
      made.emplace(module.bias, made_tensor(*module.bias, module.bias->shape, std::move(scaled)));
    }
    result.modules.push_back(std::move(cut.report));
  }
  std::vector<std::pair<std::string, std::string>> values = {{"r", std::to_string(rank)},
                                                             {"lora_alpha", std::to_string(rank)},
                                                             {"rank_pattern", "{}"},
                                                             {"alpha_pattern", "{}"}};
  if (adapter->config.use_rslora) values.emplace_back("use_rslora", "false");
  result.config_text = with_config_values(adapter->config.text, values);
  input.weights.tensors.clear();
  for (const Tensor& tensor : adapter->weights.tensors) {
    const auto at = made.find(&tensor);
    input.weights.tensors.push_back(at == made.end() ? tensor : std::move(at->second));
  }
  input.weights.files = adapter->weights.files;
  result.input = std::move(input);
  return result;
}

}  // namespace mu
