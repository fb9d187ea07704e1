// SPDX-License-Identifier: Apache-2.0
// Eigen, with the same order of every sum on any machine. Left to itself, Eigen uses the vectors of the machine, whose
// lengths differ and some of which round a product and a sum together, and it cuts products by the sizes of the machine's
// caches. Here vectors are two doubles, as SSE2 and NEON have them, in the compiler's own type; products and sums stay
// apart; and the sizes are constants. All code that needs Eigen includes this file.
#pragma once

#define EIGEN_MPL2_ONLY
#define EIGEN_DONT_PARALLELIZE
#define EIGEN_NO_CPUID
#define EIGEN_DEFAULT_L1_CACHE_SIZE (48 * 1024)
#define EIGEN_DEFAULT_L2_CACHE_SIZE (1024 * 1024)
#define EIGEN_DEFAULT_L3_CACHE_SIZE (32 * 1024 * 1024)
// No vectors of the machine; those below instead.
#define EIGEN_DONT_VECTORIZE
#define EIGEN_VECTORIZE
#define EIGEN_MAX_STATIC_ALIGN_BYTES 16
#define EIGEN_MAX_ALIGN_BYTES 16
#define EIGEN_ARCH_DEFAULT_NUMBER_OF_REGISTERS 16

#include <Eigen/Core>

// What Eigen's arch/*/PacketMath.h define for a machine. For the rest, Eigen's generic code with operators does.
namespace Eigen::internal {

using TwoDoubles [[gnu::vector_size(16)]] = double;

template <>
struct packet_traits<double> : default_packet_traits {
  using type = TwoDoubles;
  using half = TwoDoubles;
  enum { Vectorizable = 1, AlignedOnScalar = 1, size = 2, HasHalfPacket = 0, HasDiv = 1, HasSqrt = 1 };
};
template <>
struct unpacket_traits<TwoDoubles> {
  using type = double;
  using half = TwoDoubles;
  enum {
    size = 2,
    alignment = Aligned16,
    vectorizable = true,
    masked_load_available = false,
    masked_store_available = false
  };
};

template <>
inline TwoDoubles pset1<TwoDoubles>(const double& a) {
  return TwoDoubles{a, a};
}
template <>
inline TwoDoubles plset<TwoDoubles>(const double& a) {
  return TwoDoubles{a, a + 1};
}
template <>
inline TwoDoubles pload<TwoDoubles>(const double* from) {
  return TwoDoubles{from[0], from[1]};
}
template <>
inline TwoDoubles ploadu<TwoDoubles>(const double* from) {
  return TwoDoubles{from[0], from[1]};
}
template <>
inline TwoDoubles ploaddup<TwoDoubles>(const double* from) {
  return TwoDoubles{from[0], from[0]};
}
template <>
inline TwoDoubles pgather<double, TwoDoubles>(const double* from, Index stride) {
  return TwoDoubles{from[0], from[stride]};
}
template <>
inline void pstore<double>(double* to, const TwoDoubles& from) {
  std::memcpy(to, &from, sizeof from);
}
template <>
inline void pstoreu<double>(double* to, const TwoDoubles& from) {
  std::memcpy(to, &from, sizeof from);
}
template <>
inline void pscatter<double, TwoDoubles>(double* to, const TwoDoubles& from, Index stride) {
  to[0] = from[0];
  to[stride] = from[1];
}
template <>
inline double pfirst<TwoDoubles>(const TwoDoubles& a) {
  return a[0];
}
template <>
inline TwoDoubles preverse(const TwoDoubles& a) {
  return TwoDoubles{a[1], a[0]};
}
template <>
inline TwoDoubles pconj(const TwoDoubles& a) {
  return a;
}
template <>
inline TwoDoubles pabs(const TwoDoubles& a) {
  return TwoDoubles{std::abs(a[0]), std::abs(a[1])};
}
template <>
inline TwoDoubles psqrt<TwoDoubles>(const TwoDoubles& a) {
  return TwoDoubles{std::sqrt(a[0]), std::sqrt(a[1])};
}
template <>
inline TwoDoubles pmin<TwoDoubles>(const TwoDoubles& a, const TwoDoubles& b) {
  return b < a ? b : a;
}
template <>
inline TwoDoubles pmax<TwoDoubles>(const TwoDoubles& a, const TwoDoubles& b) {
  return a < b ? b : a;
}
template <>
inline double predux<TwoDoubles>(const TwoDoubles& a) {
  return a[0] + a[1];
}
template <>
inline double predux_mul<TwoDoubles>(const TwoDoubles& a) {
  return a[0] * a[1];
}
template <>
inline double predux_min<TwoDoubles>(const TwoDoubles& a) {
  return a[1] < a[0] ? a[1] : a[0];
}
template <>
inline double predux_max<TwoDoubles>(const TwoDoubles& a) {
  return a[0] < a[1] ? a[1] : a[0];
}
inline void ptranspose(PacketBlock<TwoDoubles, 2>& block) {
  const TwoDoubles first = block.packet[0], second = block.packet[1];
  block.packet[0] = TwoDoubles{first[0], second[0]};
  block.packet[1] = TwoDoubles{first[1], second[1]};
}

}  // namespace Eigen::internal

#include <Eigen/Dense>
