// Memory shared with other libraries: the buffer protocol (NumPy) and DLPack (PyTorch, JAX, CuPy).
#include <cstring>
#include <vector>

#include "bindings.h"
#include "tenon/core/cuda.h"

namespace tenon::python {
namespace {

// The structures of DLPack 1.0, https://dmlc.github.io/dlpack/latest/c_api.html. Their layout is the interface.
struct DlTensor {
  void* data;
  int32_t device_type, device_id;
  int32_t ndim;
  uint8_t code, bits;
  uint16_t lanes;
  int64_t* shape;
  int64_t* strides;
  uint64_t byte_offset;
};
struct DlManaged {
  DlTensor tensor;
  void* context;
  void (*deleter)(DlManaged*);
};
struct DlManagedVersioned {
  uint32_t major, minor;
  void* context;
  void (*deleter)(DlManagedVersioned*);
  uint64_t flags;
  DlTensor tensor;
};
constexpr int32_t kDlCpu = 1, kDlCuda = 2;
constexpr uint64_t kDlReadOnly = 1;
constexpr uint8_t kDlInt = 0, kDlUInt = 1, kDlFloat = 2, kDlBFloat = 4, kDlBool = 6;
constexpr const char* kName = "dltensor";
constexpr const char* kVersionedName = "dltensor_versioned";

struct DlType {
  DType dtype;
  uint8_t code, bits;
};
constexpr DlType kDlTypes[] = {
    {DType::F64, kDlFloat, 64}, {DType::F32, kDlFloat, 32}, {DType::F16, kDlFloat, 16}, {DType::BF16, kDlBFloat, 16},
    {DType::I64, kDlInt, 64},   {DType::I32, kDlInt, 32},   {DType::I16, kDlInt, 16},   {DType::I8, kDlInt, 8},
    {DType::U64, kDlUInt, 64},  {DType::U32, kDlUInt, 32},  {DType::U16, kDlUInt, 16},  {DType::U8, kDlUInt, 8},
    {DType::Bool, kDlBool, 8}};

/// Keeps a tensor alive for a consumer of its memory.
template <class Managed>
struct Export {
  Tensor tensor;
  std::vector<int64_t> shape, strides;
  Managed managed;
};

template <class Managed>
Managed* export_tensor(const Tensor& t) {
  const DlType* type = nullptr;
  for (const DlType& row : kDlTypes)
    if (row.dtype == t.dtype()) type = &row;
  check(type != nullptr, ErrorCode::Type, "dlpack", "no such element type there: ", name_of(t.dtype()));
  auto* e = new Export<Managed>{t, {t.shape().begin(), t.shape().end()}, std::vector<int64_t>(static_cast<size_t>(t.rank())), {}};
  int64_t stride = 1;
  for (int i = t.rank() - 1; i >= 0; --i) e->strides[i] = stride, stride *= t.size(i);
  const Device where = t.device();
  if (!where.is_cpu()) cuda::Stream::current(where.index).synchronize();  // the consumer's stream knows nothing of ours
  e->managed.tensor = {const_cast<void*>(static_cast<const Tensor&>(e->tensor).address()), where.is_cpu() ? kDlCpu : kDlCuda,
                       where.index, t.rank(), type->code, type->bits, 1,
                       e->shape.data(), e->strides.data(), 0};
  e->managed.context = e;
  e->managed.deleter = [](Managed* m) { delete static_cast<Export<Managed>*>(m->context); };
  return &e->managed;
}

template <class Managed>
void delete_unused(PyObject* capsule) {  // a consumer renames the capsule and takes the deleter over
  const char* name = std::is_same_v<Managed, DlManaged> ? kName : kVersionedName;
  if (!PyCapsule_IsValid(capsule, name)) return;
  auto* m = static_cast<Managed*>(PyCapsule_GetPointer(capsule, name));
  m->deleter(m);
}

bool is_contiguous(const int64_t* shape, const int64_t* strides, int rank) {
  int64_t expected = 1;
  for (int i = rank - 1; i >= 0; --i) {
    if (shape[i] != 1 && strides[i] != expected) return false;
    expected *= shape[i];
  }
  return true;
}

/// Copies a strided array, strides in bytes, row by row of the last dimension.
void copy_strided(char* to, const char* from, const int64_t* shape, const int64_t* strides, int rank, size_t item) {
  if (rank == 0) {
    std::memcpy(to, from, item);
    return;
  }
  size_t block = item;
  for (int i = 1; i < rank; ++i) block *= static_cast<size_t>(shape[i]);
  for (int64_t i = 0; i < shape[0]; ++i)
    copy_strided(to + static_cast<size_t>(i) * block, from + i * strides[0], shape + 1, strides + 1, rank - 1, item);
}

/// A tensor over foreign memory that `owner` keeps alive, or a copy if it is strided or not aligned.
Tensor adopt(void* data, const Shape& shape, const std::vector<int64_t>& strides, DType dtype, bool read_only, std::shared_ptr<void> owner,
             Device device = {}) {
  const size_t item = size_of(dtype);
  const bool shared = is_contiguous(shape.begin(), strides.data(), shape.rank()) && reinterpret_cast<uintptr_t>(data) % item == 0;
  check(shared || device.is_cpu(), ErrorCode::Type, "from_dlpack", "expected a contiguous tensor on ", device);
  if (!shared) {
    Tensor copy = Tensor::empty(shape, dtype);
    std::vector<int64_t> in_bytes(strides);
    for (int64_t& s : in_bytes) s *= static_cast<int64_t>(item);
    if (copy.numel()) copy_strided(static_cast<char*>(copy.raw()), static_cast<const char*>(data), shape.begin(), in_bytes.data(), shape.rank(), item);
    return copy;
  }
  auto storage = std::make_shared<Storage>();
  storage->data = data;
  storage->bytes = static_cast<size_t>(shape.numel()) * item;
  storage->device = device;
  storage->read_only = read_only;
  storage->owner = std::move(owner);
  return Tensor::over(std::move(storage), 0, shape, dtype);
}

/// The element type of a buffer's format character and size ('l' is 4 or 8 bytes long, depending on the system).
DType dtype_of_format(const char* format, Py_ssize_t item) {
  const char* f = format ? format : "B";
  check(*f != '>' && *f != '!', ErrorCode::Type, "tensor", "expected elements in this machine's byte order, got format ", f);
  if (*f == '<' || *f == '=' || *f == '@') ++f;
  const bool known = *f != '\0' && f[1] == '\0';
  if (known && *f == '?') return DType::Bool;
  const char kind = !known ? ' ' : std::strchr("efd", *f) ? 'f' : std::strchr("bhilqn", *f) ? 'i' : std::strchr("BHILQNc", *f) ? 'u' : ' ';
  for (const DlType& row : kDlTypes) {
    const char c = row.code == kDlFloat ? 'f' : row.code == kDlInt ? 'i' : row.code == kDlUInt ? 'u' : '-';
    if (c == kind && row.bits == 8 * item) return row.dtype;
  }
  fail(ErrorCode::Type, "tensor", "expected numbers, got elements of buffer format ", format ? format : "(none)");
}

template <class Managed>
Tensor import_tensor(py::capsule& capsule, const char* name, const char* used, bool read_only) {
  auto* m = static_cast<Managed*>(PyCapsule_GetPointer(capsule.ptr(), name));
  check(m != nullptr, ErrorCode::Type, "from_dlpack", "an empty capsule");
  const DlTensor& d = m->tensor;
  check(d.device_type == kDlCpu || d.device_type == kDlCuda, ErrorCode::Device, "from_dlpack",
        "expected a tensor on the CPU or on a CUDA device, got DLPack device type ", d.device_type);
  const Device device = d.device_type == kDlCpu ? Device{} : Device{Device::Kind::Cuda, d.device_id};
  if (!device.is_cpu()) parse_device(device.str());  // says why there is none
  const DType* dtype = nullptr;
  for (const DlType& row : kDlTypes)
    if (row.code == d.code && row.bits == d.bits && d.lanes == 1) dtype = &row.dtype;
  check(dtype != nullptr, ErrorCode::Type, "from_dlpack", "unknown element type: code ", int{d.code}, ", ", int{d.bits}, " bits");
  check(d.ndim >= 0 && d.ndim <= Shape::kMaxRank, ErrorCode::Limit, "from_dlpack", d.ndim, " dimensions");
  const Shape shape(d.shape, d.shape + d.ndim);
  std::vector<int64_t> strides(static_cast<size_t>(d.ndim));
  int64_t stride = 1;
  for (int i = d.ndim - 1; i >= 0; --i) strides[i] = d.strides ? d.strides[i] : stride, stride *= shape[i];
  PyCapsule_SetName(capsule.ptr(), used);
  std::shared_ptr<void> owner(m, [](void* p) {
    auto* managed = static_cast<Managed*>(p);
    if (!managed->deleter || !Py_IsInitialized()) return;
    py::gil_scoped_acquire gil;  // the producer may be Python
    managed->deleter(managed);
  });
  return adopt(static_cast<char*>(d.data) + d.byte_offset, shape, strides, *dtype, read_only, std::move(owner), device);
}

}  // namespace

Tensor from_buffer(const py::buffer& object) {
  auto* view = new Py_buffer;
  if (PyObject_GetBuffer(object.ptr(), view, PyBUF_RECORDS_RO) != 0) {
    delete view;
    throw py::error_already_set();
  }
  std::shared_ptr<void> owner(view, [](void* p) {
    auto* v = static_cast<Py_buffer*>(p);
    if (Py_IsInitialized()) {
      py::gil_scoped_acquire gil;
      PyBuffer_Release(v);
    }
    delete v;
  });
  check(view->ndim <= Shape::kMaxRank, ErrorCode::Limit, "tensor", view->ndim, " dimensions");
  const DType dtype = dtype_of_format(view->format, view->itemsize);
  Shape shape;
  std::vector<int64_t> strides;
  bool whole = true;
  for (int i = 0; i < view->ndim; ++i) {
    shape.append(view->shape[i]);
    whole &= view->strides[i] % view->itemsize == 0;
    strides.push_back(view->strides[i] / view->itemsize);
  }
  if (!whole) {  // fields of a record: strides that are no multiples of the element
    Tensor copy = Tensor::empty(shape, dtype);
    const std::vector<int64_t> in_bytes(view->strides, view->strides + view->ndim);
    if (copy.numel()) copy_strided(static_cast<char*>(copy.raw()), static_cast<const char*>(view->buf), shape.begin(), in_bytes.data(), shape.rank(), size_of(dtype));
    return copy;
  }
  return adopt(view->buf, shape, strides, dtype, view->readonly != 0, std::move(owner));
}

Tensor from_dlpack(const py::object& object) {
  py::dict asked;
  if (py::hasattr(object, "__dlpack_device__")) {
    const auto [type, index] = object.attr("__dlpack_device__")().cast<std::pair<int, int>>();
    if (type == kDlCuda && index >= 0 && index < cuda::device_count()) {  // the producer's work is done before what this thread does next
      const auto handle = reinterpret_cast<uintptr_t>(cuda::Stream::current(index).handle());
      asked["stream"] = handle ? handle : 1;  // 1: CUDA's default stream
    }
  }
  py::object capsule_object;
  try {
    capsule_object = object.attr("__dlpack__")(**asked, py::arg("max_version") = py::make_tuple(1, 0));
  } catch (py::error_already_set& e) {  // producers from before DLPack 1.0 do not know max_version
    if (!e.matches(PyExc_TypeError)) throw;
    capsule_object = object.attr("__dlpack__")(**asked);
  }
  auto capsule = capsule_object.cast<py::capsule>();
  if (PyCapsule_IsValid(capsule.ptr(), kVersionedName)) {
    const auto* m = static_cast<DlManagedVersioned*>(PyCapsule_GetPointer(capsule.ptr(), kVersionedName));
    check(m->major == 1, ErrorCode::Type, "from_dlpack", "expected DLPack version 1, got ", m->major);
    return import_tensor<DlManagedVersioned>(capsule, kVersionedName, "used_dltensor_versioned", (m->flags & kDlReadOnly) != 0);
  }
  check(PyCapsule_IsValid(capsule.ptr(), kName), ErrorCode::Type, "from_dlpack", "expected an unused DLPack capsule");
  return import_tensor<DlManaged>(capsule, kName, "used_dltensor", false);
}

py::capsule to_dlpack(const Tensor& t, bool versioned) {
  if (versioned) {
    auto* m = export_tensor<DlManagedVersioned>(t);
    m->major = 1;
    m->minor = 0;
    m->flags = t.read_only() ? kDlReadOnly : 0;
    return py::reinterpret_steal<py::capsule>(PyCapsule_New(m, kVersionedName, delete_unused<DlManagedVersioned>));
  }
  check(!t.read_only(), ErrorCode::Type, "dlpack", "the memory is read-only (a mapped file), which DLPack before 1.0 cannot say; clone() it");
  return py::reinterpret_steal<py::capsule>(PyCapsule_New(export_tensor<DlManaged>(t), kName, delete_unused<DlManaged>));
}

}  // namespace tenon::python
