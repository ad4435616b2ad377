// Binds what NumPy-like arithmetic of tensors on a device is made of: elementwise functions, reductions, rows picked and put, products.
#include <pybind11/stl.h>

#include "bindings.h"
#include "tenon/ops/arrays.h"
#include "tenon/ops/matmul.h"

namespace tenon::python {
namespace {

using Sizes = std::vector<int64_t>;
Shape shape_of(const Sizes& dims) { return Shape(dims.begin(), dims.end()); }

constexpr std::pair<const char*, Elementwise> kFunctions[] = {
    {"copy", Elementwise::Copy},         {"negative", Elementwise::Negative},   {"absolute", Elementwise::Absolute},
    {"sign", Elementwise::Sign},         {"square", Elementwise::Square},       {"reciprocal", Elementwise::Reciprocal},
    {"sqrt", Elementwise::Sqrt},         {"rsqrt", Elementwise::Rsqrt},         {"exp", Elementwise::Exp},
    {"exp2", Elementwise::Exp2},         {"expm1", Elementwise::Expm1},         {"log", Elementwise::Log},
    {"log2", Elementwise::Log2},         {"log10", Elementwise::Log10},         {"log1p", Elementwise::Log1p},
    {"sin", Elementwise::Sin},           {"cos", Elementwise::Cos},             {"tan", Elementwise::Tan},
    {"arcsin", Elementwise::Arcsin},     {"arccos", Elementwise::Arccos},       {"arctan", Elementwise::Arctan},
    {"sinh", Elementwise::Sinh},         {"cosh", Elementwise::Cosh},           {"tanh", Elementwise::Tanh},
    {"sigmoid", Elementwise::Sigmoid},   {"erf", Elementwise::Erf},             {"floor", Elementwise::Floor},
    {"ceil", Elementwise::Ceil},         {"trunc", Elementwise::Trunc},         {"rint", Elementwise::Rint},
    {"isnan", Elementwise::IsNan},       {"isinf", Elementwise::IsInf},         {"logical_not", Elementwise::Not},
    {"add", Elementwise::Add},           {"subtract", Elementwise::Subtract},   {"multiply", Elementwise::Multiply},
    {"divide", Elementwise::Divide},     {"floor_divide", Elementwise::FloorDivide}, {"remainder", Elementwise::Remainder},
    {"fmod", Elementwise::Fmod},         {"power", Elementwise::Power},         {"maximum", Elementwise::Maximum},
    {"minimum", Elementwise::Minimum},   {"arctan2", Elementwise::Arctan2},     {"logaddexp", Elementwise::Logaddexp},
    {"equal", Elementwise::Equal},       {"not_equal", Elementwise::NotEqual},  {"less", Elementwise::Less},
    {"less_equal", Elementwise::LessEqual}, {"greater", Elementwise::Greater},  {"greater_equal", Elementwise::GreaterEqual},
    {"logical_and", Elementwise::And},   {"logical_or", Elementwise::Or},       {"logical_xor", Elementwise::Xor},
    {"where", Elementwise::Where}};
constexpr std::pair<const char*, Reduce> kReductions[] = {{"sum", Reduce::Sum}, {"prod", Reduce::Prod},     {"max", Reduce::Max},
                                                          {"min", Reduce::Min}, {"argmax", Reduce::ArgMax}, {"argmin", Reduce::ArgMin}};

template <class Table>
auto named(const Table& table, const std::string& name) {
  for (const auto& [known, value] : table)
    if (name == known) return value;
  fail(ErrorCode::Limit, "array", "no function '", name, "'");
}

Tensor elementwise(const std::string& name, const Sizes& shape, const std::vector<std::tuple<Tensor, int64_t, Sizes>>& operands, DType to) {
  check(shape.size() <= static_cast<size_t>(kMostDims), ErrorCode::Shape, "array", "expected at most ", kMostDims, " dimensions, got ", shape.size());
  std::vector<ops::Strided> x;
  for (const auto& [tensor, begin, strides] : operands) {
    check(strides.size() == shape.size(), ErrorCode::Shape, "array", "expected ", shape.size(), " strides, got ", strides.size());
    std::copy(strides.begin(), strides.end(), x.emplace_back(ops::Strided{tensor, begin}).stride.begin());
  }
  check(!x.empty(), ErrorCode::Shape, "array", "expected operands");
  BorrowedContext context(x.front().tensor.device());
  return ops::elementwise(*context, named(kFunctions, name), shape_of(shape), x, to);
}

Tensor reduce(const std::string& name, const Tensor& x, int64_t outer, int64_t n, int64_t inner) {
  BorrowedContext context(x.device());
  return ops::reduce(*context, named(kReductions, name), x, outer, n, inner);
}

Tensor argsort(const Tensor& x, int64_t C, bool descending) {
  check(C >= 1 && x.numel() % C == 0, ErrorCode::Shape, "sort", "rows of ", C, " of ", x.describe());
  BorrowedContext context(x.device());
  return ops::sort_rows(*context, x.view({x.numel() / C, C}), descending).second.view(x.shape());
}

Tensor scan(const Tensor& x, bool product, int64_t outer, int64_t n, int64_t inner) {
  BorrowedContext context(x.device());
  return ops::scan(*context, x, product, outer, n, inner);
}

/// Errors: Error(Limit) for an index outside [0, rows); Error(Type) for other indices than the host's int64.
std::span<const int64_t> checked(const Tensor& index, int64_t rows) {
  const auto numbers = index.values<int64_t>();
  ops::detail::check_index(numbers, rows, "index", "row");
  return numbers;
}

/// Copies of one address, where the device's kernels read them.
Tensor pages(Context& ctx, const void* page, size_t n) {
  const std::vector<const void*> all(n, page);
  return ctx.staged(all.data(), n * sizeof(void*));
}

/// The widest rows that the kernels may take apart at an address: of `width` elements, or single ones.
int64_t unit_of(const Tensor& x, int64_t width) {
  const int64_t item = static_cast<int64_t>(size_of(x.dtype())), bits = (width * item) | 16, lowest = bits & -bits;
  return reinterpret_cast<uintptr_t>(x.address()) % static_cast<uintptr_t>(lowest) ? 1 : width;
}
std::vector<int64_t> in_units(std::span<const int64_t> rows, int64_t width, int64_t unit) {
  std::vector<int64_t> r;
  for (const int64_t row : rows)
    for (int64_t i = 0; i < width; i += unit) r.push_back((row * width + i) / unit);
  return r;
}

/// Rows of `width` elements of x, whatever its type. Shapes: x (...), index (N) -> (N, width).
Tensor take(const Tensor& x, const Tensor& index, int64_t width) {
  check(width >= 1, ErrorCode::Shape, "index", "rows of ", width, " of ", x.describe());
  const auto numbers = checked(index, x.numel() / width);
  BorrowedContext context(x.device());
  Tensor y = (*context).empty({index.numel(), width}, x.dtype());
  if (numbers.empty()) return y;
  check(!x.device().is_cpu(), ErrorCode::Device, "index", "expected a tensor on a device, got ", x.describe());
  const int64_t unit = unit_of(x, width);
  const std::vector<int64_t> units = in_units(numbers, width, unit);
  const ops::detail::Numbers rows(*context, units);
  const Tensor page = pages(*context, x.address(), units.size());
  (*context).kernels().load_rows(y.address(), static_cast<const void* const*>(page.address()), rows.data(), 0, static_cast<int64_t>(units.size()),
                                 unit * static_cast<int64_t>(size_of(x.dtype())));
  return y;
}

/// Row index[i] of x becomes row i of `source`, or grows by it. Shapes: x (...), index (N), source (N, width).
void put(Tensor x, const Tensor& index, int64_t width, const Tensor& source, bool add) {
  check(width >= 1, ErrorCode::Shape, "index", "rows of ", width, " of ", x.describe());
  const auto numbers = checked(index, x.numel() / width);
  check(source.dtype() == x.dtype() && source.numel() == index.numel() * width && source.device() == x.device(), ErrorCode::Type, "index",
        "expected ", index.numel(), " rows of ", width, " as ", x.describe(), ", got ", source.describe());
  check(!x.device().is_cpu(), ErrorCode::Device, "index", "expected a tensor on a device, got ", x.describe());
  if (numbers.empty()) return;
  BorrowedContext context(x.device());
  if (add) {
    const ops::detail::Numbers rows(*context, numbers);
    return (*context).kernels().scatter_add_rows(x.ptr<float>(), source.ptr<float>(), rows.data(), index.numel(), width);
  }
  const int64_t unit = unit_of(x, width);
  const std::vector<int64_t> units = in_units(numbers, width, unit);
  const ops::detail::Numbers rows(*context, units);
  const Tensor page = pages(*context, x.address(), units.size());
  (*context).kernels().store_rows(const_cast<void* const*>(static_cast<const void* const*>(page.address())), rows.data(), 0, source.address(),
                                  static_cast<int64_t>(units.size()), unit * static_cast<int64_t>(size_of(x.dtype())));
}

/// Row (n, p) of `width` elements of a contiguous x (N, parts, width) goes to element begin + n * row + p * part of y.
void move(Tensor y, int64_t begin, int64_t row, int64_t part, const Tensor& x, int64_t x_row, int64_t x_part, int64_t N, int64_t parts, int64_t width) {
  BorrowedContext context(y.device());
  ops::detail::check_here(*context, "index", x, y);
  check(x.dtype() == y.dtype() && N >= 1 && parts >= 1 && width >= 1 && (N - 1) * x_row + (parts - 1) * x_part + width <= x.numel(), ErrorCode::Shape,
        "index", "expected ", N, " x ", parts, " x ", width, " elements as ", y.describe(), ", got ", x.describe());
  ops::detail::check_walk({y, begin, {row, part, 1}}, {N, parts, width}, "index");
  (*context).kernels().move_parts({.y = static_cast<char*>(y.address()) + begin * static_cast<int64_t>(size_of(y.dtype())), .x = x.address(),
                                   .y_row = row, .y_part = part, .x_row = x_row, .x_part = x_part, .N = N, .parts = parts, .width = width,
                                   .type = y.dtype()});
}

/// `stack` products of matrices that lie one behind another: a (stack, M, K), or (stack, K, M) if trans_a, and b alike, or one alone
/// (its stack is 1) -> (stack, M, N).
Tensor products(const Tensor& a, const Tensor& b, bool trans_a, bool trans_b, int64_t stack, int64_t M, int64_t N, int64_t K) {
  BorrowedContext context(a.device());
  Context& ctx = *context;
  ops::detail::check_here(ctx, "matmul", a, b);
  const auto fits = [&](int64_t numel, int64_t one) { return numel == one * stack || numel == one; };
  check(fits(a.numel(), M * K) && fits(b.numel(), K * N), ErrorCode::Shape, "matmul", "expected ", stack, " products of ", M, " x ", K, " and ", K,
        " x ", N, ", got ", a.describe(), " and ", b.describe());
  Tensor c = ctx.empty({stack, M, N}, DType::F32);
  const int64_t step_a = a.numel() == M * K ? 0 : M * K, step_b = b.numel() == K * N ? 0 : K * N;
  for (int64_t i = 0; i < stack; ++i)
    ops::detail::multiply(ctx, c.ptr<float>() + i * M * N, a.ptr<float>() + i * step_a, b.ptr<float>() + i * step_b, DType::F32, trans_a, trans_b, M, N,
                          K, false);
  return c;
}

}  // namespace

void bind_arrays(py::module_&);

void bind_arrays(py::module_& m) {
  const auto released = py::call_guard<py::gil_scoped_release>();
  m.def("_array_elementwise", &elementwise, py::arg("name"), py::arg("shape"), py::arg("operands"), py::arg("to"), released,
        "A function of elements: `operands` are tensors, where they begin, and their strides over `shape`, in elements.");
  m.def("_array_reduce", &reduce, py::arg("name"), py::arg("x"), py::arg("outer"), py::arg("n"), py::arg("inner"), released,
        "The reduction of the middle of three dimensions.");
  m.def("_array_argsort", &argsort, py::arg("x"), py::arg("C"), py::arg("descending"), released,
        "Where the elements of each row of C lie in its order; equal ones keep theirs.");
  m.def("_array_scan", &scan, py::arg("x"), py::arg("product"), py::arg("outer"), py::arg("n"), py::arg("inner"), released,
        "Running sums or products along the middle of three dimensions.");
  m.def("_array_take", &take, py::arg("x"), py::arg("index"), py::arg("width"), released, "Rows of `width` elements by their numbers.");
  m.def("_array_put", &put, py::arg("x"), py::arg("index"), py::arg("width"), py::arg("source"), py::arg("add"), released,
        "Writes rows of `width` elements to their numbers, or adds them.");
  m.def("_array_move", &move, py::arg("y"), py::arg("begin"), py::arg("row"), py::arg("part"), py::arg("x"), py::arg("x_row"), py::arg("x_part"),
        py::arg("N"), py::arg("parts"), py::arg("width"), released, "Writes rows to places that are `row` and `part` elements apart.");
  m.def("_array_zeros", [](const Sizes& shape, DType dtype, const std::string& device) { return Tensor::zeros(shape_of(shape), dtype, parse_device(device)); },
        py::arg("shape"), py::arg("dtype"), py::arg("device"), released, "Zeros on a device.");
  m.def("_array_matmul", &products, py::arg("a"), py::arg("b"), py::arg("trans_a"), py::arg("trans_b"), py::arg("stack"), py::arg("M"), py::arg("N"),
        py::arg("K"), released, "Products of stacked matrices.");
  m.def("_array_part", [](const Tensor& t, int64_t begin, const Sizes& shape) {
    check(begin >= 0, ErrorCode::Limit, "view", "expected a beginning of at least 0, got ", begin);
    const auto start = static_cast<const char*>(t.address()) - static_cast<const char*>(t.storage()->data);
    return Tensor::over(t.storage(), static_cast<size_t>(start) + static_cast<size_t>(begin) * size_of(t.dtype()), shape_of(shape), t.dtype());
  }, py::arg("x"), py::arg("begin"), py::arg("shape"), "Elements from `begin` on under another shape, sharing memory.");
}

}  // namespace tenon::python
