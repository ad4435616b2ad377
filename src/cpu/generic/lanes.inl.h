// Loops over lanes. Included inside the unnamed namespace of a file compiled for one instruction set, after its vec.h.

/// body(i, Full) for each whole vector of n elements, body(i, Part) for what is left.
template <class Body>
inline void for_lanes(int64_t n, Body&& body) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) body(i, Full{});
  if (i < n) body(i, Part(n - i));
}

/// Lanes folded with `join` over n elements, in four chains so that no addition waits for the one before it.
template <class Join, class Body>
inline vf fold_lanes(int64_t n, vf start, Join&& join, Body&& body) {
  vf a = start, b = start, c = start, d = start;
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    a = join(a, body(i, Full{}));
    b = join(b, body(i + kLanes, Full{}));
    c = join(c, body(i + 2 * kLanes, Full{}));
    d = join(d, body(i + 3 * kLanes, Full{}));
  }
  for (; i + kLanes <= n; i += kLanes) a = join(a, body(i, Full{}));
  if (i < n) b = join(b, body(i, Part(n - i)));
  return join(join(a, b), join(c, d));
}

/// Sum of body over n elements; body's lanes outside a Part must be 0.
template <class Body>
inline float sum_lanes(int64_t n, Body&& body) {
  return reduce_add(fold_lanes(
      n, zero(), [](vf a, vf b) { return a + b; }, body));
}

/// Largest of body over n elements, -inf for none.
template <class Body>
inline float max_lanes(int64_t n, Body&& body) {
  const vf low = bits1(0xff800000u);
  return reduce_max(fold_lanes(
      n, low, [](vf a, vf b) { return max(a, b); }, [&](int64_t i, auto part) { return keep(body(i, part), part, low); }));
}

/// body(pointer) with a null pointer to the element type: F32 or BF16.
template <class Body>
inline void with_activation_type(DType type, Body&& body) {
  if (type == DType::BF16)
    body(static_cast<bfloat16*>(nullptr));
  else
    body(static_cast<float*>(nullptr));
}

/// The same with F16 as well.
template <class Body>
inline void with_float_type(DType type, Body&& body) {
  if (type == DType::F16)
    body(static_cast<float16*>(nullptr));
  else
    with_activation_type(type, body);
}

// Traits of our own: <type_traits> would do, but this folder uses nothing of the standard library.
template <class T>
struct Pointee;
template <class T>
struct Pointee<T*> {
  using type = T;
};
template <class T>
using pointee = typename Pointee<T>::type;
template <class A, class B>
constexpr bool same_type = false;
template <class A>
constexpr bool same_type<A, A> = true;
