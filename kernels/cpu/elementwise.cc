// Embedding rows, rotary embedding, activations, residual adds, logit scaling: one pass over rows each.
#include "kernels/cpu/for_rows.h"
#include "kernels/cpu/ops.h"
#include "kernels/cpu/vec.h"

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

// Calls step(offset, count) for whole vectors, then once for the rest.
template <typename Whole, typename Part>
inline void ForVectors(int64_t dim, Whole whole, Part part) {
  int64_t i = 0;
  for (; i + kLanes <= dim; i += kLanes) {
    whole(i);
  }
  if (i < dim) {
    part(i, dim - i);
  }
}

// y[i] = f(a[i]) over a row.
template <typename F>
inline void MapRow(const float* a, float* y, int64_t dim, F f) {
  ForVectors(
      dim, [&](int64_t i) { Store(y + i, f(Load(a + i))); },
      [&](int64_t i, int64_t n) { StorePart(y + i, f(LoadPart(a + i, n)), n); });
}

// y[i] = f(a[i], b[i]) over a row.
template <typename F>
inline void MapRow(const float* a, const float* b, float* y, int64_t dim, F f) {
  ForVectors(
      dim, [&](int64_t i) { Store(y + i, f(Load(a + i), Load(b + i))); },
      [&](int64_t i, int64_t n) { StorePart(y + i, f(LoadPart(a + i, n), LoadPart(b + i, n)), n); });
}

inline Vec Silu(Vec x) { return Div(x, Add(Set1(1.0F), Exp(Sub(Zero(), x)))); }

inline Vec GeluTanh(Vec x) {
  const Vec cube = Mul(Mul(x, x), x);
  const Vec inner = Mul(Set1(0.7978845608F), Fma(Set1(0.044715F), cube, x));
  return Mul(Mul(Set1(0.5F), x), Add(Set1(1.0F), Tanh(inner)));
}

// erf by Abramowitz and Stegun 7.1.26 has an absolute error of 1.5e-7, which is float32's own.
inline Vec Gelu(Vec x) {
  const Vec z = Mul(x, Set1(0.70710678F));
  const Vec a = Max(z, Sub(Zero(), z));
  const Vec t = Div(Set1(1.0F), Fma(Set1(0.3275911F), a, Set1(1.0F)));
  Vec p = Set1(1.061405429F);
  p = Fma(p, t, Set1(-1.453152027F));
  p = Fma(p, t, Set1(1.421413741F));
  p = Fma(p, t, Set1(-0.284496736F));
  p = Fma(p, t, Set1(0.254829592F));
  const Vec tail = Mul(Mul(p, t), Exp(Sub(Zero(), Mul(a, a))));
  const Vec erf = Sub(Set1(1.0F), tail);
  const Vec signed_erf = SelectLess(z, Zero(), Sub(Zero(), erf), erf);
  return Mul(Mul(Set1(0.5F), x), Add(Set1(1.0F), signed_erf));
}

template <typename F>
void ActivateWith(Stream& stream, const ActivationArgs& args, F f) {
  ForRows(stream, args.m, args.dim, [&](int64_t row) {
    const float* const gate = args.gate + row * args.gate_stride;
    float* const y = args.y + row * args.y_stride;
    if (args.up == nullptr) {
      MapRow(gate, y, args.dim, f);
    } else {
      MapRow(gate, args.up + row * args.up_stride, y, args.dim, [&](Vec a, Vec b) { return Mul(f(a), b); });
    }
  });
}

// A row of blocks: one after the other through float32.
void EmbedBlocks(const WeightFormat& format, const std::byte* row, int64_t dim, float scale, bool accumulate,
                 float* y) {
  float values[kMaxBlockElements];
  for (int64_t i = 0; i < dim; i += format.block_elements, row += format.block_bytes) {
    format.decode(row, values, format.block_elements);
    for (int64_t j = 0; j < format.block_elements; ++j) {
      const float value = values[j] * scale;
      y[i + j] = accumulate ? y[i + j] + value : value;
    }
  }
}

void EmbedRow(const WeightView& table, Token token, float scale, bool accumulate, float* y) {
  const std::byte* const row = table.data + token * table.row_bytes;
  if (const WeightFormat& format = FormatOf(table.format); format.block_elements > 1) {
    return EmbedBlocks(format, row, table.columns, scale, accumulate, y);
  }
  const int64_t dim = table.columns;
  const int64_t bytes = table.format == FormatId::kF32 ? 4 : 2;
  const auto load = [&](const std::byte* p) {
    switch (table.format) {
      case FormatId::kF16: return LoadF16(p);
      case FormatId::kBF16: return LoadBF16(p);
      default: break;
    }
    return Load(reinterpret_cast<const float*>(p));
  };
  const auto combine = [&](Vec w, Vec old) { return accumulate ? Add(old, Mul(w, Set1(scale))) : Mul(w, Set1(scale)); };
  ForVectors(
      dim, [&](int64_t i) { Store(y + i, combine(load(row + i * bytes), Load(y + i))); },
      [&](int64_t i, int64_t n) {
        alignas(64) std::byte part[kLanes * 4] = {};
        std::memcpy(part, row + i * bytes, static_cast<size_t>(n * bytes));
        StorePart(y + i, combine(load(part), LoadPart(y + i, n)), n);
      });
}

void RotateHead(float* x, const float* cosine, const float* sine, int64_t half) {
  const auto rotate = [](Vec low, Vec high, Vec c, Vec s, Vec& new_low, Vec& new_high) {
    new_low = Sub(Mul(low, c), Mul(high, s));
    new_high = Add(Mul(high, c), Mul(low, s));
  };
  ForVectors(
      half,
      [&](int64_t i) {
        Vec low;
        Vec high;
        rotate(Load(x + i), Load(x + half + i), Load(cosine + i), Load(sine + i), low, high);
        Store(x + i, low);
        Store(x + half + i, high);
      },
      [&](int64_t i, int64_t n) {
        Vec low;
        Vec high;
        rotate(LoadPart(x + i, n), LoadPart(x + half + i, n), LoadPart(cosine + i, n), LoadPart(sine + i, n), low,
               high);
        StorePart(x + i, low, n);
        StorePart(x + half + i, high, n);
      });
}

}  // namespace

void Embed(Stream& stream, const EmbedArgs& args) {
  ForRows(stream, static_cast<int64_t>(args.tokens.size()), args.table.columns, [&](int64_t row) {
    EmbedRow(args.table, args.tokens.data()[row], args.scale, args.accumulate, args.y + row * args.y_stride);
  });
}

void Rope(Stream& stream, const RopeArgs& args) {
  const int64_t half = args.rotary_dim / 2;
  ForRows(stream, args.m, args.heads * args.head_dim, [&](int64_t row) {
    for (int64_t head = 0; head < args.heads; ++head) {
      RotateHead(args.x + row * args.x_stride + head * args.head_dim, args.cosine + row * half, args.sine + row * half,
                 half);
    }
  });
}

void Activate(Stream& stream, const ActivationArgs& args) {
  switch (args.activation) {
    case Activation::kSilu: return ActivateWith(stream, args, [](Vec x) { return Silu(x); });
    case Activation::kGelu: return ActivateWith(stream, args, [](Vec x) { return Gelu(x); });
    case Activation::kGeluTanh: return ActivateWith(stream, args, [](Vec x) { return GeluTanh(x); });
    case Activation::kRelu: return ActivateWith(stream, args, [](Vec x) { return Max(x, Zero()); });
  }
}

void AddScaled(Stream& stream, const AddScaledArgs& args) {
  ForRows(stream, args.m, args.dim, [&](int64_t row) {
    float* const x = args.x + row * args.x_stride;
    MapRow(x, args.y + row * args.y_stride, x, args.dim,
           [&](Vec a, Vec b) { return Add(a, Mul(Set1(args.scale), b)); });
  });
}

void ScaleCap(Stream& stream, const ScaleCapArgs& args) {
  if (args.scale == 1.0F && !(args.cap > 0)) {
    return;
  }
  ForRows(stream, args.m, args.dim, [&](int64_t row) {
    float* const x = args.x + row * args.x_stride;
    MapRow(x, x, args.dim, [&](Vec v) {
      const Vec scaled = Mul(Set1(args.scale), v);
      return args.cap > 0 ? Mul(Set1(args.cap), Tanh(Div(scaled, Set1(args.cap)))) : scaled;
    });
  });
}

}  // namespace causeway::kernels::CAUSEWAY_ISA
