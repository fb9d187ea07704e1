// SPDX-License-Identifier: Apache-2.0
// How the picture is made. lines_of() takes the training's curve and one line for each evaluation set, thinned
// to what a screen shows; a value that is not a number stays in a line as a gap, and drawn() ends a run of
// points there. The margins are computed from the labels, so that none is cut, and the names of the lines stand
// below the plot, one a row.
#include "card/plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "base/error.h"
#include "base/text.h"
#include "card/results_table.h"

namespace mu {
namespace {

struct Point {
  double x, y;  // y is NaN where nothing is known: a gap
};

struct Line {
  std::string name;  // "validation on math"
  std::string_view style;
  bool dots;
  std::vector<Point> points;
};

// Pixels. The plot keeps its width; the margins grow with their labels.
constexpr double kTop = 20, kWidth = 560, kHeight = 260, kLetter = 7, kRow = 18;
constexpr std::size_t kMaxPoints = 600;  // about one for each pixel of the width

bool is_known(const Point& point) {
  return std::isfinite(point.y);
}

// One point of each run of n: the first that is known, else a gap. The last point stays.
std::vector<Point> thinned(const std::vector<Point>& all) {
  const std::size_t stride = all.size() / kMaxPoints + 1;
  std::vector<Point> out;
  for (std::size_t i = 0; i < all.size(); i += stride) {
    const std::size_t end = std::min(i + stride, all.size());
    std::size_t at = i;
    while (at < end && !is_known(all[at])) ++at;
    out.push_back(at < end ? all[at] : Point{all[i].x, std::nan("")});
  }
  if (!all.empty() && is_known(all.back()) && out.back().x < all.back().x) out.push_back(all.back());
  return out;
}

bool has_known(const std::vector<Point>& points) {
  return std::any_of(points.begin(), points.end(), is_known);
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

Scale scale_of(const std::vector<Line>& lines, double Point::*member) {
  Scale scale{INFINITY, -INFINITY};
  for (const Line& line : lines) {
    for (const Point& point : line.points) {
      if (!is_known(point)) continue;
      scale.low = std::min(scale.low, point.*member);
      scale.high = std::max(scale.high, point.*member);
    }
  }
  // All values are the same, or as good as that for a double.
  const double size = std::max(std::abs(scale.low), std::abs(scale.high));
  if (scale.high - scale.low <= 1e-9 * size || !(scale.high > scale.low)) {
    const double half = size > 0 ? 0.5 * std::max(size * 1e-6, std::min(size, 1.0)) : 0.5;
    scale.low -= half;
    scale.high += half;
  }
  return scale;
}

struct Tick {
  double value;
  std::string label;
};

// Labels have as many digits as tell neighbours apart.
std::vector<Tick> ticks_of(const Scale& scale, int count) {
  const double step = tick_step(scale.high - scale.low, count);
  const double size = std::max(std::abs(scale.low), std::abs(scale.high));
  const int digits = std::clamp(static_cast<int>(std::ceil(std::log10(size / step))) + 1, 4, 15);
  std::vector<Tick> ticks;
  const double first = std::ceil(scale.low / step);
  for (int i = 0; i < 20; ++i) {  // never more than twice `count`
    const double value = (first + i) * step;
    if (value > scale.high + step * 1e-6) break;
    ticks.push_back({value, fmt::format("{:.{}g}", std::abs(value) < step * 1e-6 ? 0 : value, digits)});
  }
  return ticks;
}

double width_of(const std::vector<Tick>& ticks) {
  std::size_t longest = 0;
  for (const Tick& tick : ticks) longest = std::max(longest, tick.label.size());
  return kLetter * static_cast<double>(longest);
}

// Where values lie in the picture.
struct Frame {
  double left;
  Scale x, y;
  [[nodiscard]] double at_x(double value) const { return left + kWidth * x.place(value); }
  [[nodiscard]] double at_y(double value) const { return kTop + kHeight * (1 - y.place(value)); }
};

// A line for each run of points without a gap; a point alone is a dot.
std::string drawn(const Line& line, const Frame& frame) {
  std::string out, path, marks, last;
  std::size_t length = 0;
  const auto end_run = [&] {
    if (length > 1) out += fmt::format("<polyline class=\"{}\" points=\"{}\"/>\n", line.style, path);
    if (length == 1 && !line.dots) marks += last;
    path.clear();
    length = 0;
  };
  for (const Point& point : line.points) {
    if (!is_known(point)) {
      end_run();
      continue;
    }
    const double px = frame.at_x(point.x), py = frame.at_y(point.y);
    path += fmt::format("{}{:.1f},{:.1f}", path.empty() ? "" : " ", px, py);
    last =
        fmt::format("<circle class=\"{}-dot\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3\"/>\n", line.style, px, py);
    if (line.dots) marks += last;
    ++length;
  }
  end_run();
  return out + marks;
}

std::string axes(const Frame& frame, const std::vector<Tick>& across, const std::vector<Tick>& up) {
  std::string out;
  for (const Tick& tick : across)
    out += fmt::format(
        "<line class=\"grid\" x1=\"{0:.1f}\" y1=\"{1}\" x2=\"{0:.1f}\" y2=\"{2}\"/><text x=\"{0:.1f}\" "
        "y=\"{3}\" text-anchor=\"middle\">{4}</text>\n",
        frame.at_x(tick.value), kTop, kTop + kHeight, kTop + kHeight + 18, tick.label);
  for (const Tick& tick : up)
    out += fmt::format(
        "<line class=\"grid\" x1=\"{0}\" y1=\"{1:.1f}\" x2=\"{2}\" y2=\"{1:.1f}\"/><text x=\"{3}\" "
        "y=\"{4:.1f}\" text-anchor=\"end\">{5}</text>\n",
        frame.left, frame.at_y(tick.value), frame.left + kWidth, frame.left - 8, frame.at_y(tick.value) + 4,
        tick.label);
  return out + fmt::format("<path class=\"axis\" d=\"M{0},{1} V{2} H{3}\"/>\n", frame.left, kTop,
                           kTop + kHeight, frame.left + kWidth);
}

std::string xml_text(std::string_view text) {
  std::string out;
  for (const char c : text) {
    out += c == '&'   ? std::string("&amp;")
           : c == '<' ? std::string("&lt;")
           : c == '>' ? std::string("&gt;")
                      : std::string(1, c);
  }
  return out;
}

// The lines of a picture: the training, and each evaluation set.
std::vector<Line> lines_of(const CardFacts& facts) {
  static constexpr std::array<std::string_view, 4> kStyles = {"eval", "eval2", "eval3", "eval4"};
  Line train{"training", "train", false, {}};
  for (const CurvePoint& point : plotted_curve(facts))
    train.points.push_back({static_cast<double>(point.step), point.value});
  std::vector<Line> lines;
  if (has_known(train.points)) lines.push_back(std::move(train));
  std::size_t sets = 0;
  for (const PlottedColumn& column : plotted_columns(facts)) {
    Line line{column.set.empty() ? "validation" : "validation on " + escape_name(shorten(column.set, 50)),
              kStyles[sets % kStyles.size()],
              true,
              {}};
    for (const EvalRow& row : facts.evaluations) {
      // A step at which another set was evaluated is not a gap.
      if (const std::optional<double>& value = row.values[column.column])
        line.points.push_back({static_cast<double>(row.step), *value});
    }
    if (!has_known(line.points)) continue;
    lines.push_back(std::move(line));
    ++sets;
  }
  for (Line& line : lines) line.points = thinned(line.points);
  return lines;
}

constexpr std::string_view kColours =
    "text { font: 12px sans-serif; fill: #333 }\n.grid { stroke: #ccc; stroke-width: 0.5 }\n"
    ".axis { stroke: #333; fill: none }\npolyline { stroke-width: 1.5; fill: none }\n"
    ".train { stroke: #1f6feb } .train-dot { fill: #1f6feb }\n.eval { stroke: #d1242f } .eval-dot { fill: "
    "#d1242f }\n.eval2 { stroke: #1a7f37 } .eval2-dot { fill: #1a7f37 }\n.eval3 { stroke: #8250df } "
    ".eval3-dot { fill: #8250df }\n.eval4 { stroke: #9a6700 } .eval4-dot { fill: #9a6700 }\n"
    "@media (prefers-color-scheme: dark) { text { fill: #ddd } .grid { stroke: #555 } .axis { stroke: #ddd "
    "}\n"
    ".train { stroke: #79b8ff } .train-dot { fill: #79b8ff } .eval { stroke: #ff7b72 } .eval-dot { fill: "
    "#ff7b72 }\n.eval2 { stroke: #56d364 } .eval2-dot { fill: #56d364 } .eval3 { stroke: #d2a8ff } "
    ".eval3-dot "
    "{ fill: #d2a8ff }\n.eval4 { stroke: #e3b341 } .eval4-dot { fill: #e3b341 } }\n";

}  // namespace

std::string loss_svg(const CardFacts& facts) {
  const std::vector<Line> lines = lines_of(facts);
  if (lines.empty())
    throw refused("no loss to plot").hint("name a run or checkpoint folder with trainer_state.json");
  const Scale x = scale_of(lines, &Point::x), y = scale_of(lines, &Point::y);
  const std::vector<Tick> across = ticks_of(x, 6), up = ticks_of(y, 5);
  // The title of the axis, a gap, the labels.
  const Frame frame{std::max(64.0, 32 + width_of(up)), x, y};
  const double width = frame.left + kWidth + std::max(16.0, width_of(across) / 2 + 4);
  const double height = kTop + kHeight + 60 + kRow * static_cast<double>(lines.size());
  const std::string label = plotted_label(facts);
  std::string out = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0:.0f} {1:.0f}\" width=\"{0:.0f}\" "
      "height=\"{1:.0f}\" role=\"img\">\n<title>{2} over training steps</title>\n<style>\n{3}</style>\n",
      width, height, heading_of(label), kColours);
  out += axes(frame, across, up);
  for (const Line& line : lines) out += drawn(line, frame);
  out += fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">step (optimizer updates)</text>\n",
                     frame.left + kWidth / 2, kTop + kHeight + 44);
  out += fmt::format("<text transform=\"translate(16,{}) rotate(-90)\" text-anchor=\"middle\">{}</text>\n",
                     kTop + kHeight / 2, facts.has("perplexity") ? "loss (nats a token)" : label);
  double row = kTop + kHeight + 62;
  for (const Line& line : lines) {
    out += fmt::format(
        "<path class=\"{0}\" d=\"M{1},{2} h30\" stroke-width=\"1.5\"/><text x=\"{3}\" y=\"{4}\">{5}</text>\n",
        line.style, frame.left, row, frame.left + 36, row + 4, xml_text(line.name));
    row += kRow;
  }
  return out + "</svg>\n";
}

std::string loss_blocks(const CardFacts& facts, std::size_t width) {
  static constexpr std::array<std::string_view, 8> kBlocks = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  std::vector<Point> points;
  for (const CurvePoint& point : plotted_curve(facts))
    points.push_back({static_cast<double>(point.step), point.value});
  points = thinned(points);
  if (!has_known(points)) return "";
  const Scale y = scale_of({{"", "", false, points}}, &Point::y);
  std::string bars;
  const std::size_t count = std::min(std::max<std::size_t>(width, 1), points.size());
  for (std::size_t i = 0; i < count; ++i) {
    const Point& point = points[i * points.size() / count];
    const double height = is_known(point) ? y.place(point.y) : -1;
    bars += height < 0 ? std::string_view(" ")
                       : kBlocks[static_cast<std::size_t>(std::clamp(height * 8, 0.0, 7.0))];
  }
  const auto first = std::find_if(points.begin(), points.end(), is_known);
  const auto last = std::find_if(points.rbegin(), points.rend(), is_known);
  return fmt::format("{} {} {:.4g} → {:.4g}", plotted_label(facts), bars, first->y, last->y);
}

}  // namespace mu
