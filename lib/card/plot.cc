// SPDX-License-Identifier: Apache-2.0
#include "card/plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "base/error.h"

namespace mu {
namespace {

struct Point {
  double x, y;
};

constexpr double kLeft = 64, kTop = 20, kWidth = 560, kHeight = 260;  // pixels; the rest holds labels
constexpr std::size_t kMaxPoints = 600;                               // about one for each pixel of the width

// Takes every n-th point and the last; values that are not finite are left out.
std::vector<Point> thinned(const std::vector<Point>& all) {
  std::vector<Point> finite;
  std::copy_if(all.begin(), all.end(), std::back_inserter(finite),
               [](const Point& p) { return std::isfinite(p.y); });
  const std::size_t stride = finite.size() / kMaxPoints + 1;
  std::vector<Point> out;
  for (std::size_t i = 0; i < finite.size(); i += stride) out.push_back(finite[i]);
  if (!finite.empty() && (finite.size() - 1) % stride != 0) out.push_back(finite.back());
  return out;
}

// A round step; about `count` of them fill the range.
double tick_step(double range, int count) {
  const double raw = range / count;
  const double power = std::pow(10, std::floor(std::log10(raw)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (raw <= factor * power) return factor * power;
  }
  return 10 * power;
}

struct Scale {
  double low, high;
  [[nodiscard]] double place(double value) const { return (value - low) / (high - low); }
};

Scale scale_of(const std::vector<Point>& a, const std::vector<Point>& b, double Point::*member) {
  Scale scale{INFINITY, -INFINITY};
  for (const std::vector<Point>* list : {&a, &b}) {
    for (const Point& point : *list) {
      scale.low = std::min(scale.low, point.*member);
      scale.high = std::max(scale.high, point.*member);
    }
  }
  if (scale.high - scale.low < 1e-9 * std::max(1.0, std::abs(scale.high))) {
    scale.low -= 0.5;
    scale.high += 0.5;
  }
  return scale;
}

std::string polyline(const std::vector<Point>& points, const Scale& x, const Scale& y, std::string_view name,
                     bool dots) {
  std::string path, marks;
  for (const Point& point : points) {
    const double px = kLeft + kWidth * x.place(point.x), py = kTop + kHeight * (1 - y.place(point.y));
    path += fmt::format("{}{:.1f},{:.1f}", path.empty() ? "" : " ", px, py);
    if (dots)
      marks += fmt::format("<circle class=\"{}-dot\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3\"/>\n", name, px, py);
  }
  return points.empty() ? "" : fmt::format("<polyline class=\"{}\" points=\"{}\"/>\n{}", name, path, marks);
}

std::string ticks(const Scale& x, const Scale& y) {
  std::string out;
  const double sx = tick_step(x.high - x.low, 6), sy = tick_step(y.high - y.low, 5);
  for (double v = std::ceil(x.low / sx) * sx; v <= x.high + sx * 1e-6; v += sx) {
    const double px = kLeft + kWidth * x.place(v);
    out += fmt::format(
        "<line class=\"grid\" x1=\"{0:.1f}\" y1=\"{1}\" x2=\"{0:.1f}\" y2=\"{2}\"/><text x=\"{0:.1f}\" "
        "y=\"{3}\" text-anchor=\"middle\">{4:.6g}</text>\n",
        px, kTop, kTop + kHeight, kTop + kHeight + 18, v);
  }
  for (double v = std::ceil(y.low / sy) * sy; v <= y.high + sy * 1e-6; v += sy) {
    const double py = kTop + kHeight * (1 - y.place(v));
    out += fmt::format(
        "<line class=\"grid\" x1=\"{0}\" y1=\"{1:.1f}\" x2=\"{2}\" y2=\"{1:.1f}\"/><text x=\"{3}\" "
        "y=\"{4:.1f}\" text-anchor=\"end\">{5:.4g}</text>\n",
        kLeft, py, kLeft + kWidth, kLeft - 8, py + 4, std::abs(v) < sy * 1e-6 ? 0 : v);
  }
  return out;
}

std::vector<Point> train_points(const CardFacts& facts) {
  std::vector<Point> points;
  for (const CurvePoint& point : facts.train_curve)
    points.push_back({static_cast<double>(point.step), point.loss});
  return points;
}

}  // namespace

std::string loss_svg(const CardFacts& facts) {
  std::vector<Point> evals;
  const bool has_loss = !facts.eval_columns.empty() && facts.eval_columns.front().ends_with("_loss");
  for (const EvalRow& row : facts.evaluations) {
    if (has_loss && row.values.front()) evals.push_back({static_cast<double>(row.step), *row.values.front()});
  }
  const std::vector<Point> train = thinned(train_points(facts)), eval = thinned(evals);
  if (train.empty() && eval.empty())
    throw refused("no loss to plot").hint("name a run or checkpoint folder with trainer_state.json");
  const Scale x = scale_of(train, eval, &Point::x), y = scale_of(train, eval, &Point::y);
  std::string out =
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 640 340\" width=\"640\" height=\"340\" "
      "role=\"img\">\n"
      "<title>Loss over training steps</title>\n<style>\n"
      "text { font: 12px sans-serif; fill: #333 }\n.grid { stroke: #ccc; stroke-width: 0.5 }\n"
      ".axis { stroke: #333; fill: none }\n.train { stroke: #1f6feb; stroke-width: 1.5; fill: none }\n"
      ".eval { stroke: #d1242f; stroke-width: 1.5; fill: none }\n.eval-dot { fill: #d1242f }\n.train-dot { "
      "fill: #1f6feb }\n"
      "@media (prefers-color-scheme: dark) { text { fill: #ddd } .grid { stroke: #555 } .axis { stroke: #ddd "
      "} "
      ".train { stroke: #79b8ff } .eval { stroke: #ff7b72 } .eval-dot { fill: #ff7b72 } .train-dot { fill: "
      "#79b8ff } }\n</style>\n";
  out += ticks(x, y);
  out += fmt::format("<path class=\"axis\" d=\"M{0},{1} V{2} H{3}\"/>\n", kLeft, kTop, kTop + kHeight,
                     kLeft + kWidth);
  out += polyline(train, x, y, "train", train.size() == 1) + polyline(eval, x, y, "eval", true);
  out += fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">step (optimizer updates)</text>\n",
                     kLeft + kWidth / 2, kTop + kHeight + 44);
  out += fmt::format("<text transform=\"translate(16,{}) rotate(-90)\" text-anchor=\"middle\">{}</text>\n",
                     kTop + kHeight / 2, facts.has("perplexity") ? "loss (nats a token)" : "loss");
  if (!train.empty())
    out += fmt::format(
        "<line class=\"train\" x1=\"480\" y1=\"32\" x2=\"510\" y2=\"32\"/><text x=\"516\" "
        "y=\"36\">training</text>\n");
  if (!eval.empty())
    out += fmt::format(
        "<line class=\"eval\" x1=\"480\" y1=\"50\" x2=\"510\" y2=\"50\"/><text x=\"516\" "
        "y=\"54\">validation</text>\n");
  return out + "</svg>\n";
}

std::string loss_blocks(const CardFacts& facts, std::size_t width) {
  static constexpr std::array<std::string_view, 8> kBlocks = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  const std::vector<Point> points = thinned(train_points(facts));
  if (points.empty()) return "";
  const Scale y = scale_of(points, {}, &Point::y);
  std::string bars;
  const std::size_t count = std::min(std::max<std::size_t>(width, 1), points.size());
  for (std::size_t i = 0; i < count; ++i) {
    const double height = y.place(points[i * points.size() / count].y);
    bars += kBlocks[static_cast<std::size_t>(std::clamp(height * 8, 0.0, 7.0))];
  }
  return fmt::format("loss {} {:.4g} → {:.4g}", bars, points.front().y, points.back().y);
}

}  // namespace mu
