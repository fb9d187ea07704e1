// SPDX-License-Identifier: Apache-2.0
// Given A [m, n] and a rank r, find the r largest singular values and their vectors. A block of random signs
// is multiplied by A, and then again and again by A A^T. All blocks together, made orthonormal against each
// other, are a basis Q of a Krylov space, in which the large singular directions appear after a few blocks.
// With Z = A^T Q, the eigenpairs of the small Gram matrix Z^T Z give the singular values; U and V are Q and Z
// times small matrices.
//
// Why so: each block costs two products with A, in fp32 and at full speed, and nothing else is large. On 4096
// x 4096 with r = 64, six blocks come within 0.12 % of the optimal error in 0.15 s on two cores, where
// LAPACK's full decomposition takes 9 s. The iteration stops when the captured energy has converged
// (is_done). Small matrices, and ranks above a third of the short side, go to approximate_dense(), which is
// faster there and exact.
//
// Every sum runs over panels of fixed size in a fixed order, so any number of threads gives the same bits.

#include "lora/low_rank.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "lora/dense.h"
#include "lora/random.h"
#include "os/interrupt.h"
#include "os/threads.h"

namespace mu {
namespace {

// Random signs do as well as normal values here, and are the same on every machine.
std::vector<float> random_signs(std::size_t count, std::uint64_t seed) {
  std::vector<float> signs(count);
  for (std::size_t i = 0; i < count; ++i) signs[i] = random_sign(seed, i) ? 1.0F : -1.0F;
  return signs;
}

// Adds the sums of panels of fixed size, in their order.
template <class Sum>
double sum_of_panels(std::size_t count, unsigned threads, Sum panel_sum) {
  constexpr std::size_t kPanel = 1U << 20;  // elements, 4 MiB: work for a thread, many in a matrix
  std::vector<double> sums((count + kPanel - 1) / kPanel);
  parallel_for(sums.size(), threads, [&](std::size_t panel) {
    sums[panel] = panel_sum(panel * kPanel, std::min(count, (panel + 1) * kPanel));
  });
  double sum = 0;
  for (const double one : sums) sum += one;
  return sum;
}

// The number of columns of a block: half the rank, in whole vectors of 16 floats. With it five or six blocks
// came within 0.25 % of the optimal error on every spectrum that was measured.
std::size_t block_of(std::size_t rank) {
  return std::clamp<std::size_t>((rank / 2 + 15) / 16 * 16, 16, 128);
}

// The columns of a growing basis, kept block by block, each [rows, width] row-major.
struct Blocks {
  std::size_t rows = 0;
  std::vector<std::vector<float>> blocks{};
  std::vector<std::size_t> widths{};

  [[nodiscard]] std::size_t width() const {
    std::size_t sum = 0;
    for (const std::size_t w : widths) sum += w;
    return sum;
  }
};

class Krylov {
 public:
  Krylov(const Products& products, std::span<const float> a, std::size_t m, std::size_t n,
         const LowRankOptions& options)
      : p_(products), a_(a), m_(m), n_(n), o_(options), q_{.rows = m}, z_{.rows = n} {}

  LowRank run(double total) {
    LowRank result;
    result.total = total;
    const std::size_t rank = std::min({o_.rank, m_, n_});
    const std::size_t block = std::min({block_of(rank), m_, n_});
    std::vector<float> y(m_ * block);
    p_.multiply(a_, m_, n_, random_signs(n_ * block, o_.seed), block, y, o_.threads);
    std::size_t width = orthonormalise(y, block, total);
    std::vector<double> captured;
    result.gap = 1;
    for (std::size_t j = 0; width > 0; ++j) {
      check_interrupt();
      q_.blocks.push_back(std::move(y));
      q_.widths.push_back(width);
      std::vector<float> z(n_ * width);
      p_.multiply_transposed(a_, m_, n_, q_.blocks.back(), width, z, o_.threads);
      z_.blocks.push_back(std::move(z));
      z_.widths.push_back(width);
      extend_gram();
      const bool full = q_.width() >= std::min(m_, n_);
      if (j >= 2 || full) {
        const std::vector<double> values = symmetric_eigenvalues(gram(), q_.width());
        double sum = 0;
        for (std::size_t i = 0; i < std::min(rank, values.size()); ++i) sum += std::max(0.0, values[i]);
        captured.push_back(sum);
        if (full || j + 1 >= o_.max_blocks ||
            (captured.size() >= 2 && is_done(captured, total, result.gap))) {
          if (full) result.gap = 0;
          break;
        }
      }
      y.assign(m_ * width, 0);
      p_.multiply(a_, m_, n_, z_.blocks.back(), width, y, o_.threads);
      width = orthonormalise(y, width, total);
      if (width == 0) result.gap = 0;  // the space holds the whole matrix
    }
    finish(result, rank);
    return result;
  }

 private:
  // Estimates from the convergence of the sums how much more blocks would add. The last two steps give the
  // ratio of a geometric series. The estimate was within a factor of about three of the true gap from the
  // fourth block on, but 20 times too optimistic before; so it needs four blocks and must be three times
  // below the goal.
  bool is_done(const std::vector<double>& captured, double total, double& gap) const {
    const std::size_t last = captured.size() - 1;
    const double step = std::max(0.0, captured[last] - captured[last - 1]);
    const double before = last >= 2 ? std::max(0.0, captured[last - 1] - captured[last - 2]) : 0;
    const double ratio = before > 0 ? std::min(step / before, 0.95) : 0.95;
    const double remaining = step * ratio / (1 - ratio), error = total - captured[last];
    if (error <= total * 1e-12) return gap = 0, true;
    gap = remaining >= error ? 1 : 1 - std::sqrt((error - remaining) / error);
    return last >= 2 && 3 * gap <= o_.gap;
  }

  // Makes the columns of y orthonormal, to each other and to the basis. Columns that are only rounding are
  // dropped. Returns how many are left. Two passes, since after one the columns are orthonormal only up to
  // the cancellation in it.
  std::size_t orthonormalise(std::vector<float>& y, std::size_t width, double total) const {
    for (int pass = 0; pass < 2 && width > 0; ++pass) {
      std::vector<std::vector<float>> overlaps = overlaps_with(q_, y, width);
      for (std::vector<float>& overlap : overlaps) {
        for (float& value : overlap) value = -value;
      }
      add_products(q_, overlaps, width, y);
      width = whiten(y, width, pass == 0 ? total : 0);
    }
    return width;
  }

  // For each block its transpose times y[rows, width]: [width of the block, width].
  std::vector<std::vector<float>> overlaps_with(const Blocks& basis, std::span<const float> y,
                                                std::size_t width) const {
    std::vector<std::vector<float>> overlaps(basis.blocks.size());
    parallel_for(overlaps.size(), o_.threads, [&](std::size_t i) {
      overlaps[i].resize(basis.widths[i] * width);
      p_.multiply_transposed(basis.blocks[i], basis.rows, basis.widths[i], y, width, overlaps[i], 1);
    });
    return overlaps;
  }

  // y[rows, width] += the sum of the blocks, each times its factors [width of the block, width].
  void add_products(const Blocks& basis, const std::vector<std::vector<float>>& factors, std::size_t width,
                    std::span<float> y) const {
    // As in products.cc: few enough for many panels, and many enough for the kernel to reuse its tiles.
    constexpr std::size_t kRows = 512;
    parallel_for((basis.rows + kRows - 1) / kRows, o_.threads, [&](std::size_t panel) {
      const std::size_t row = panel * kRows, rows = std::min(kRows, basis.rows - row);
      std::vector<float> product(rows * width);
      for (std::size_t i = 0; i < basis.blocks.size(); ++i) {
        const std::size_t inner = basis.widths[i];
        p_.multiply(std::span(basis.blocks[i]).subspan(row * inner, rows * inner), rows, inner, factors[i],
                    width, product, 1);
        for (std::size_t k = 0; k < product.size(); ++k) y[row * width + k] += product[k];
      }
    });
  }

  // Y <- Y D^-1/2 V L^-1/2 with the eigenpairs of the scaled Gram matrix (Stathopoulos and Wu 2002).
  std::size_t whiten(std::vector<float>& y, std::size_t width, double total) const {
    std::vector<float> small(width * width);
    p_.multiply_transposed(y, m_, width, y, width, small, 1);
    std::vector<double> scale(width), scaled(width * width);
    double largest = 0;
    for (std::size_t i = 0; i < width; ++i)
      largest = std::max(largest, static_cast<double>(small[i * width + i]));
    // The columns are those of A Z, which has the size of A A^T Q: below 1e-11 of ||A||_F^2 (1e-6 of the
    // largest column) they are rounding of fp32.
    const double floor = std::max(largest * 1e-12, total * total * 1e-22);
    for (std::size_t i = 0; i < width; ++i) {
      const double d = small[i * width + i];
      scale[i] = d > floor ? 1 / std::sqrt(d) : 0;
    }
    for (std::size_t i = 0; i < width; ++i) {
      for (std::size_t k = 0; k < width; ++k)
        scaled[i * width + k] = scale[i] * small[i * width + k] * scale[k];
    }
    const SymmetricEigen eigen = symmetric_eigen(scaled, width);
    std::size_t kept = 0;
    while (kept < width && eigen.values[kept] > 3e-6 * std::max(eigen.values[0], 1e-300)) ++kept;
    if (kept == 0 || eigen.values[0] <= 0) return 0;
    std::vector<float> turn(width * kept);
    for (std::size_t i = 0; i < width; ++i) {
      for (std::size_t k = 0; k < kept; ++k)
        turn[i * kept + k] =
            static_cast<float>(scale[i] * eigen.vectors[k * width + i] / std::sqrt(eigen.values[k]));
    }
    std::vector<float> next(m_ * kept);
    p_.multiply(y, m_, width, turn, kept, next, o_.threads);
    y = std::move(next);
    return kept;
  }

  // The products of the newest block of Z with all blocks.
  void extend_gram() { gram_.push_back(overlaps_with(z_, z_.blocks.back(), z_.widths.back())); }

  std::vector<double> gram() const {
    const std::size_t size = q_.width();
    std::vector<double> full(size * size);
    std::size_t column = 0;
    for (std::size_t j = 0; j < gram_.size(); ++j) {
      std::size_t row = 0;
      for (std::size_t i = 0; i <= j; ++i) {
        for (std::size_t r = 0; r < z_.widths[i]; ++r) {
          for (std::size_t c = 0; c < z_.widths[j]; ++c) {
            const double value = gram_[j][i][r * z_.widths[j] + c];
            full[(row + r) * size + column + c] = value;
            full[(column + c) * size + row + r] = value;
          }
        }
        row += z_.widths[i];
      }
      column += z_.widths[j];
    }
    return full;
  }

  void finish(LowRank& result, std::size_t rank) const {
    const std::size_t size = q_.width();
    if (size == 0) return;
    const SymmetricEigen eigen = symmetric_eigen(gram(), size);
    for (const double value : eigen.values) result.values.push_back(std::sqrt(std::max(0.0, value)));
    std::size_t kept = std::min(rank, size);
    while (kept > 0 && result.values[kept - 1] <= 1e-6 * result.values[0]) --kept;
    result.rank = kept;
    for (std::size_t i = 0; i < kept; ++i) result.captured += result.values[i] * result.values[i];
    // U = Q Y and W = Z Y; left = U sqrt(s), right = (W / sqrt(s))^T.
    std::vector<std::vector<float>> to_left, to_right;
    std::size_t first = 0;
    for (const std::size_t width : q_.widths) {
      std::vector<float>& left = to_left.emplace_back(width * kept);
      std::vector<float>& right = to_right.emplace_back(width * kept);
      for (std::size_t i = 0; i < width; ++i) {
        for (std::size_t k = 0; k < kept; ++k) {
          const double y = eigen.vectors[k * size + first + i], root = std::sqrt(result.values[k]);
          left[i * kept + k] = static_cast<float>(y * root);
          right[i * kept + k] = static_cast<float>(y / root);
        }
      }
      first += width;
    }
    std::vector<float> w(n_ * kept);
    result.left.assign(m_ * kept, 0);
    add_products(q_, to_left, kept, result.left);
    add_products(z_, to_right, kept, w);
    result.right.resize(kept * n_);
    for (std::size_t i = 0; i < n_; ++i) {
      for (std::size_t k = 0; k < kept; ++k) result.right[k * n_ + i] = w[i * kept + k];
    }
  }

  const Products& p_;
  std::span<const float> a_;
  std::size_t m_, n_;
  LowRankOptions o_;
  Blocks q_, z_;
  std::vector<std::vector<std::vector<float>>> gram_;  // [j][i]: Z_i^T Z_j, i <= j
};

}  // namespace

LowRank approximate(const Products& products, std::span<const float> a, std::size_t m, std::size_t n,
                    const LowRankOptions& options) {
  const double total = sum_of_panels(a.size(), options.threads, [&](std::size_t first, std::size_t last) {
    double sum = 0;
    for (std::size_t i = first; i < last; ++i) sum += static_cast<double>(a[i]) * static_cast<double>(a[i]);
    return sum;
  });
  if (total == 0) return {};
  const std::size_t size = std::min(m, n);
  if (3 * options.rank >= size || size <= 96) return approximate_dense(a, m, n, options.rank, total);
  return Krylov(products, a, m, n, options).run(total);
}

double work_of(std::size_t m, std::size_t n, std::size_t rank) {
  constexpr double kBlocks = 6;  // the usual number
  const auto area = static_cast<double>(m) * static_cast<double>(n);
  const auto size = static_cast<double>(std::min(m, n));
  if (3 * static_cast<double>(rank) >= size) return area * size + 9 * size * size * size;
  return area * (4 * kBlocks * static_cast<double>(block_of(rank)) + 2 * static_cast<double>(rank));
}

double squared_error(const Products& products, std::span<const float> a, std::size_t m, std::size_t n,
                     std::span<const float> left, std::span<const float> right, std::size_t rank,
                     unsigned threads) {
  constexpr std::size_t kRows = 64;  // bounds the buffer of a thread: 64 rows of the product
  std::vector<double> sums((m + kRows - 1) / kRows);
  parallel_for(sums.size(), threads, [&](std::size_t panel) {
    const std::size_t row = panel * kRows, rows = std::min(kRows, m - row);
    thread_local std::vector<float> product;
    product.assign(rows * n, 0.0F);
    if (rank > 0) products.multiply(left.subspan(row * rank, rows * rank), rows, rank, right, n, product, 1);
    const float* values = a.data() + row * n;
    // In eight lanes, so that additions don't wait for each other.
    double lanes[8] = {};
    const std::size_t count = rows * n, whole = count / 8 * 8;
    for (std::size_t i = 0; i < whole; i += 8) {
      for (std::size_t k = 0; k < 8; ++k) {
        const double difference = static_cast<double>(values[i + k]) - static_cast<double>(product[i + k]);
        lanes[k] += difference * difference;
      }
    }
    for (std::size_t i = whole; i < count; ++i) {
      const double difference = static_cast<double>(values[i]) - static_cast<double>(product[i]);
      lanes[0] += difference * difference;
    }
    for (const double lane : lanes) sums[panel] += lane;
  });
  double sum = 0;
  for (const double one : sums) sum += one;
  return sum;
}

double spectral_norm(const Products& products, std::span<const float> a, std::size_t m, std::size_t n,
                     std::uint64_t seed, unsigned rounds, unsigned threads) {
  const std::size_t width = std::min<std::size_t>({8, m, n});
  std::vector<float> x = random_signs(n * width, seed), y(m * width);
  double norm = 0;
  for (unsigned round = 0; round < rounds; ++round) {
    products.multiply(a, m, n, x, width, y, threads);
    products.multiply_transposed(a, m, n, y, width, x, threads);
    // Rayleigh: the largest eigenvalue of Y^T Y for an orthonormal X. The Gram matrix of X makes it
    // orthonormal.
    std::vector<float> small(width * width);
    products.multiply_transposed(x, n, width, x, width, small, 1);
    const std::vector<double> wide(small.begin(), small.end());
    const SymmetricEigen eigen = symmetric_eigen(wide, width);
    if (eigen.values[0] <= 0) return 0;
    std::vector<float> turn(width * width);
    for (std::size_t i = 0; i < width; ++i) {
      for (std::size_t k = 0; k < width; ++k)
        turn[i * width + k] =
            eigen.values[k] > 1e-12 * eigen.values[0]
                ? static_cast<float>(eigen.vectors[k * width + i] / std::sqrt(eigen.values[k]))
                : 0.0F;
    }
    std::vector<float> next(n * width);
    products.multiply(x, n, width, turn, width, next, threads);
    x = std::move(next);
    products.multiply(a, m, n, x, width, y, threads);
    products.multiply_transposed(y, m, width, y, width, small, 1);
    const std::vector<double> last(small.begin(), small.end());
    norm = std::sqrt(std::max(0.0, symmetric_eigenvalues(last, width)[0]));
  }
  return norm;
}

}  // namespace mu
